"""Model an Intel 8254x Ethernet controller: the hardware half of ``devices/e1000.py``.

Two descriptor rings in memory, head and tail registers, an interrupt cause that reading clears, a mask, and a throttle:
after an interrupt the next one waits for ITR times 256 ns. While a cause is unmasked and not read the wire stays
asserted; with a message instead of a wire, each time the cause becomes non-zero is one message.

Model: one queue; no packet buffer on the chip, so a packet without a descriptor is lost at once; no receive or transmit
delay timers, no checksums, no filters. Trace: device_raise, with the causes that led to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Final

from asyncirq.drivers import Device, Platform
from asyncirq.errors import UsageError
from asyncirq.sim import Timer
from devices import e1000_regs as regs
from devices.arrivals import Arrivals, arrive
from devices.e1000_regs import Descriptor

MAX_RING: Final = 4096


class E1000(Device):
    """The chip. ``receive(lengths)`` lets packets arrive now, ``start(arrivals)`` a stream of them.

    ``dma_ns`` passes from a packet's arrival to its descriptor and its interrupt cause; ``mbps`` is the speed at which it
    sends. ``received``, ``missed`` and ``sent`` count since power-on; the registers MPC, GPRC and GPTC start anew when read.
    """

    def __init__(self, name: str = "eth0", gsi: int | None = None, *, dma_ns: int = 1_000, mbps: int = 1_000) -> None:
        super().__init__(name, gsi)
        if dma_ns < 0:
            raise UsageError(f"{name}: DMA cannot take {dma_ns} ns")
        if mbps <= 0:
            raise UsageError(f"{name}: a link of {mbps} Mbit/s carries nothing")
        self.dma_ns = dma_ns
        self.mbps = mbps
        self.received = self.missed = self.sent = 0
        self._link = True
        self._ctrl = self._icr = self._ims = self._itr = self._rctl = self._tctl = 0
        self._mpc = self._gprc = self._gptc = 0
        self._rx = [0, 0, 0, 0]
        self._tx = [0, 0, 0, 0]
        self._fetched = 0
        self._under_way: deque[tuple[int, int]] = deque()
        self._tx_cause = 0
        self._not_before = 0
        self._held_cause = 0
        self._timers: tuple[Timer, Timer, Timer] | None = None
        self._define()

    def _define(self) -> None:
        define = self.regs.define
        define(regs.CTRL, "CTRL", lambda: self._ctrl, self._write_ctrl)
        define(regs.STATUS, "STATUS", self._read_status)
        define(regs.ICR, "ICR", self._read_icr)
        define(regs.ICS, "ICS", None, self._write_ics)
        define(regs.IMS, "IMS", lambda: self._ims, self._write_ims)
        define(regs.IMC, "IMC", None, self._write_imc)
        define(regs.ITR, "ITR", lambda: self._itr, self._write_itr)
        define(regs.RCTL, "RCTL", lambda: self._rctl, self._write_rctl)
        define(regs.TCTL, "TCTL", lambda: self._tctl, self._write_tctl)
        for index, name in enumerate(("BAL", "LEN", "H", "T")):
            offset = regs.RDBAL + 8 * index
            define(offset, f"RD{name}", partial(self._rx.__getitem__, index), partial(self._write_rx, index))
            offset = regs.TDBAL + 8 * index
            define(offset, f"TD{name}", partial(self._tx.__getitem__, index), partial(self._write_tx, index))
        define(regs.MPC, "MPC", self._read_mpc)
        define(regs.GPRC, "GPRC", self._read_gprc)
        define(regs.GPTC, "GPTC", self._read_gptc)

    def connect(self, m: Platform) -> None:
        """Put the device into a machine."""
        super().connect(m)
        timer = m.engine.timer
        self._timers = (
            timer(self._written_back, f"{self.name}-dma"),
            timer(self._transmitted, f"{self.name}-tx"),
            timer(self._throttle_over, f"{self.name}-itr"),
        )

    # --- decide

    @property
    def pending(self) -> int:
        """Return the causes that ask for an interrupt: set and not masked."""
        return self._icr & self._ims

    # --- recompute

    def _recompute(self, cause: int) -> None:
        """Drive the interrupt output; a rise waits for the throttle."""
        pending = self.pending
        assert self._timers is not None
        throttle = self._timers[2]
        if not pending:
            throttle.disarm()
            self.drive(False, "", cause)
        elif not self.asserted:
            now = self.platform.engine.now
            if now < self._not_before:
                if not throttle.armed:
                    self._held_cause = cause
                    throttle.arm(self._not_before)
                return
            throttle.disarm()
            self._not_before = now + self._itr * regs.ITR_UNIT_NS
            self.drive(True, regs.interrupt_names(pending), cause)

    def _throttle_over(self) -> None:
        self._recompute(self._held_cause)

    def _set_cause(self, bits: int, cause: int = 0) -> None:
        self._icr |= bits
        self._recompute(cause)

    # --- inputs: the wire

    def receive(self, lengths: Iterable[int]) -> None:
        """Let packets of these lengths arrive now, one after the other. A packet without a descriptor is lost and counted."""
        engine = self.platform.engine
        assert self._timers is not None
        for length in lengths:
            if length <= 0:
                raise UsageError(f"{self.name}: a packet of {length} bytes")
            if not self._rctl & regs.RCTL_EN or not self._link:
                continue
            if self._fetched == self._rx[3]:
                self.missed += 1
                self._mpc += 1
                self._set_cause(regs.INT_RXO)
                continue
            size = self._size(self._rx)
            self._fetched = self._fetched + 1 if self._fetched + 1 < size else 0
            self._under_way.append((engine.now + self.dma_ns, length))
            if len(self._under_way) == 1:
                self._timers[0].arm(engine.now + self.dma_ns)

    def start(self, arrivals: Arrivals, length: int = 1_500, burst: int = 1) -> None:
        """Let ``burst`` packets of ``length`` bytes arrive at each arrival, from now on."""
        if length <= 0 or burst <= 0:
            raise UsageError(f"{self.name}: bursts of {burst} packets of {length} bytes")
        packets = (length,) * burst
        m = self.platform
        m.spawn(arrive(m.engine, self.name, arrivals, lambda: self.receive(packets)), f"{self.name}-wire")

    def set_link(self, up: bool) -> None:
        """Plug the cable in, or pull it: packets are lost without a trace meanwhile."""
        if up != self._link:
            self._link = up
            self._set_cause(regs.INT_LSC)

    def _written_back(self) -> None:
        """Write back every descriptor whose DMA is over."""
        assert self._timers is not None
        now = self.platform.engine.now
        under_way = self._under_way
        ring = self.dma.at(self._rx[0])
        size = self._size(self._rx)
        while under_way and under_way[0][0] <= now:
            descriptor: Descriptor = ring[self._rx[2]]
            descriptor.length = under_way.popleft()[1]
            descriptor.done = True
            self._rx[2] = self._rx[2] + 1 if self._rx[2] + 1 < size else 0
            self.received += 1
            self._gprc += 1
        if under_way:
            self._timers[0].arm(under_way[0][0])
        self._set_cause(regs.INT_RXT0)

    # --- inputs: transmission

    def _send_next(self) -> None:
        """Send the packet at the head, unless one is being sent or there is none."""
        assert self._timers is not None
        timer = self._timers[1]
        if timer.armed or self._tx[2] == self._tx[3] or not self._tctl & regs.TCTL_EN:
            return
        descriptor: Descriptor = self.dma.at(self._tx[0])[self._tx[2]]
        wire_ns = descriptor.length * 8 * 1_000 // self.mbps
        timer.arm(self.platform.engine.now + self.dma_ns + wire_ns)

    def _transmitted(self) -> None:
        descriptor: Descriptor = self.dma.at(self._tx[0])[self._tx[2]]
        descriptor.done = True
        self._tx[2] = (self._tx[2] + 1) % self._size(self._tx)
        self.sent += 1
        self._gptc += 1
        empty = self._tx[2] == self._tx[3]
        self._send_next()
        self._set_cause(regs.INT_TXDW | regs.INT_TXQE if empty else regs.INT_TXDW, self._tx_cause)

    def _size(self, ring: list[int]) -> int:
        return ring[1] // regs.DESCRIPTOR_BYTES

    # --- registers

    def _read_status(self) -> int:
        return regs.STATUS_FD | (regs.STATUS_LU if self._link else 0)

    def _read_icr(self) -> int:
        value = self._icr
        self._icr = 0
        self._recompute(0)
        return value

    def _read_mpc(self) -> int:
        value, self._mpc = self._mpc, 0
        return value

    def _read_gprc(self) -> int:
        value, self._gprc = self._gprc, 0
        return value

    def _read_gptc(self) -> int:
        value, self._gptc = self._gptc, 0
        return value

    def _write_ctrl(self, value: int, cause: int) -> None:
        self._ctrl = value & ~regs.CTRL_RST
        if value & regs.CTRL_RST:
            self._reset(cause)

    def _reset(self, cause: int) -> None:
        """Forget rings, causes, mask and throttle; the link stays."""
        assert self._timers is not None
        for timer in self._timers:
            timer.disarm()
        self._icr = self._ims = self._itr = self._rctl = self._tctl = 0
        self._rx[:] = self._tx[:] = [0, 0, 0, 0]
        self._fetched = self._not_before = 0
        self._under_way.clear()
        self._recompute(cause)

    def _write_ics(self, value: int, cause: int) -> None:
        self._set_cause(value, cause)

    def _write_ims(self, value: int, cause: int) -> None:
        self._ims |= value
        self._recompute(cause)

    def _write_imc(self, value: int, cause: int) -> None:
        self._ims &= ~value
        self._recompute(cause)

    def _write_itr(self, value: int, cause: int) -> None:
        self._itr = value & 0xFFFF

    def _write_rctl(self, value: int, cause: int) -> None:
        self._rctl = value

    def _write_tctl(self, value: int, cause: int) -> None:
        self._tctl = value
        self._send_next()

    def _write_rx(self, index: int, value: int, cause: int) -> None:
        self._write_ring(self._rx, index, value)
        if index == 2:
            self._fetched = value

    def _write_tx(self, index: int, value: int, cause: int) -> None:
        self._write_ring(self._tx, index, value)
        if index == 3:
            self._tx_cause = cause
            self._send_next()

    def _write_ring(self, ring: list[int], index: int, value: int) -> None:
        if index == 1 and (value % 128 or not 0 < value <= MAX_RING * regs.DESCRIPTOR_BYTES):
            raise UsageError(
                f"{self.name}: a ring of {value} bytes; it has 128 at least, in whole steps of 128, at most {MAX_RING} entries"
            )
        if index > 1 and not 0 <= value < max(1, self._size(ring)):
            raise UsageError(f"{self.name}: descriptor {value} of a ring of {self._size(ring)}")
        ring[index] = value
