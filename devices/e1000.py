"""Drive an Intel 8254x Ethernet controller: the driver half; ``devices/e1000_hw.py`` is the hardware half.

The same driver with its bottom half chosen:

| ``bottom_half`` | the hard handler | who takes the packets |
| --- | --- | --- |
| ``softirq`` | reads ICR, masks the chip, schedules NAPI | NET_RX |
| ``napi-threaded`` | the same | the instance's own kthread |
| ``tasklet`` | reads ICR, masks the chip, schedules a tasklet | TASKLET |
| ``workqueue`` | reads ICR, masks the chip, queues a work item | a kworker |
| ``irq-thread`` | none: the line stays masked (ONESHOT) | the irq thread reads ICR |

Linux: drivers/net/ethernet/intel/e1000/e1000_main.c. Model: no statistics timer, no smart speed, one queue.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from asyncirq.bottom_half.napi import Napi
from asyncirq.bottom_half.tasklet import Tasklet
from asyncirq.bottom_half.work import Work
from asyncirq.drivers import Driver
from asyncirq.errors import UsageError
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQF_ONESHOT, IRQF_SHARED
from asyncirq.sched.task import Task
from devices import e1000_regs as regs
from devices.e1000_hw import E1000
from devices.e1000_regs import Descriptor

BottomHalf = Literal["softirq", "napi-threaded", "tasklet", "workqueue", "irq-thread"]

IMS_ENABLE_MASK: Final = regs.INT_RXT0 | regs.INT_TXDW | regs.INT_LSC
RX_BUFFER_WRITE: Final = 16
"""How many descriptors are given back to the chip at once."""
DEFAULT_ITR_NS: Final = 128_000
DEFAULT_RING: Final = 256


class E1000Driver(Driver[E1000]):
    """The driver of one chip. ``await driver.bind(machine)`` starts it.

    ``itr_ns`` is the least distance of two interrupts, rounded down to 256 ns (0: no throttle). ``ring`` is the number of
    descriptors of both rings. ``reply`` sends each received packet back. ``carrier`` is the link as last looked at.
    """

    def __init__(
        self,
        device: E1000,
        bottom_half: BottomHalf = "softirq",
        *,
        itr_ns: int = DEFAULT_ITR_NS,
        ring: int = DEFAULT_RING,
        budget: int = 64,
        reply: bool = False,
    ) -> None:
        super().__init__(device)
        name = device.name
        if bottom_half not in get_args(BottomHalf):
            raise UsageError(f"{name}: no bottom half is called {bottom_half!r}; there are {', '.join(get_args(BottomHalf))}")
        if ring % 8 or not 8 <= ring <= 4096:
            raise UsageError(f"{name}: a ring of {ring} descriptors; it has 8 to 4096, in steps of 8")
        if not 0 <= itr_ns // regs.ITR_UNIT_NS <= 0xFFFF:
            raise UsageError(f"{name}: interrupts cannot be {itr_ns} ns apart")
        if budget < 1:
            raise UsageError(f"{name}: a budget of {budget} packets")
        self.bottom_half = bottom_half
        self.itr_ns = itr_ns
        self.ring = ring
        self.budget = budget
        self.reply = reply
        self.carrier = False
        self.interrupts = self.polls = self.rx_packets = self.rx_bytes = self.tx_packets = self.tx_dropped = 0
        self._rx_ring = [Descriptor() for _ in range(ring)]
        self._tx_ring = [Descriptor() for _ in range(ring)]
        self._rx_next = self._rx_refill = self._tx_next = self._tx_clean = 0
        self._rings = (0, 0)
        self._napi = Napi(self._poll, budget, name, name)
        self._tasklet = Tasklet(self._e1000_tasklet, name)
        self._work = Work(self._e1000_work, name)
        self._watchdog = Work(self._e1000_watchdog, f"{name}-watchdog")

    # --- probing

    async def probe(self, task: Task | None) -> None:
        """Reset the chip, give it its rings, request the interrupt, then let it speak."""
        m, chip, window = self.m, self.device, self.device.regs
        await window.write(task, regs.CTRL, regs.CTRL_RST)
        self._rings = (chip.dma.map(self._rx_ring), chip.dma.map(self._tx_ring))
        for base, address in zip((regs.RDBAL, regs.TDBAL), self._rings, strict=True):
            await window.write(task, base, address)
            await window.write(task, base + 8, self.ring * regs.DESCRIPTOR_BYTES)
        # One descriptor stays with the driver: head and tail are equal in an empty ring alone.
        await window.write(task, regs.RDT, self.ring - 1)
        await window.write(task, regs.ITR, self.itr_ns // regs.ITR_UNIT_NS)
        if self.bottom_half in ("softirq", "napi-threaded"):
            m.napi.netif_napi_add(self._napi, threaded=self.bottom_half == "napi-threaded")
            m.napi.napi_enable(self._napi)
        try:
            if self.bottom_half == "irq-thread":
                await m.irq.request_threaded_irq(task, chip.irq, None, self._thread, IRQF_ONESHOT, chip.name, self)
            else:
                await m.irq.request_irq(task, chip.irq, self._interrupt, IRQF_SHARED, chip.name, self)
        except UsageError:
            self._unmap()
            raise
        await window.write(task, regs.TCTL, regs.TCTL_EN)
        await window.write(task, regs.RCTL, regs.RCTL_EN)
        self.carrier = bool(await window.read(task, regs.STATUS) & regs.STATUS_LU)
        await window.write(task, regs.IMS, IMS_ENABLE_MASK)

    async def remove(self, task: Task) -> None:
        """Silence the chip, wait for what still runs, give everything back."""
        m, window = self.m, self.device.regs
        await window.write(task, regs.IMC, regs.INT_ALL)
        await window.write(task, regs.RCTL, 0)
        await window.write(task, regs.TCTL, 0)
        await m.irq.free_irq(task, self.device.irq, self)
        if self.bottom_half in ("softirq", "napi-threaded"):
            await m.napi.napi_disable(task, self._napi)
        elif self.bottom_half == "tasklet":
            await m.tasklets.tasklet_kill(task, self._tasklet)
        await m.workqueues.cancel_work_sync(task, self._work)
        await m.workqueues.cancel_work_sync(task, self._watchdog)
        await window.write(task, regs.CTRL, regs.CTRL_RST)
        self._unmap()

    def _unmap(self) -> None:
        for address in self._rings:
            self.device.dma.unmap(address)

    # --- the hard handler

    async def _interrupt(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        window = self.device.regs
        icr = await window.read(cpu, regs.ICR)
        if not icr:
            return IRQ_NONE
        self.interrupts += 1
        if icr & regs.INT_LSC:
            await self.m.workqueues.queue_work(cpu, self.m.workqueues.system_wq, self._watchdog)
        await window.write(cpu, regs.IMC, regs.INT_ALL)
        # Reading any register pushes the posted write out: from here on the chip is silent.
        await window.read(cpu, regs.STATUS)
        if self.bottom_half == "tasklet":
            await self.m.tasklets.tasklet_schedule(cpu, self._tasklet)
        elif self.bottom_half == "workqueue":
            await self.m.workqueues.queue_work(cpu, self.m.workqueues.system_wq, self._work)
        else:
            await self.m.napi.napi_schedule(cpu, self._napi)
        return IRQ_HANDLED

    # --- the bottom halves

    async def _poll(self, cpu: Cpu, napi: Napi, budget: int) -> int:
        work = await self._clean(cpu, budget)
        if work < budget and await self.m.napi.napi_complete_done(cpu, napi, work):
            await self.device.regs.write(cpu, regs.IMS, IMS_ENABLE_MASK)
        return work

    async def _e1000_tasklet(self, cpu: Cpu, tasklet: Tasklet) -> None:
        if await self._clean(cpu, self.budget) < self.budget:
            await self.device.regs.write(cpu, regs.IMS, IMS_ENABLE_MASK)
        else:
            await self.m.tasklets.tasklet_schedule(cpu, tasklet)

    async def _e1000_work(self, task: Task, work: Work) -> None:
        await self._clean_in_task(task)
        await self.device.regs.write(task, regs.IMS, IMS_ENABLE_MASK)

    async def _thread(self, task: Task, irq: int, dev_id: object) -> int:
        icr = await self.device.regs.read(task, regs.ICR)
        if not icr:
            return IRQ_NONE
        self.interrupts += 1
        if icr & regs.INT_LSC:
            await self._e1000_watchdog(task, self._watchdog)
        await self._clean_in_task(task)
        return IRQ_HANDLED

    async def _clean_in_task(self, task: Task) -> None:
        """Clean until a round is not full, with softirqs off during each: the stack wants it."""
        softirq = self.m.softirq
        again = True
        while again:
            cpu = await softirq.local_bh_disable(task)
            again = await self._clean(cpu, self.budget) == self.budget
            await softirq.local_bh_enable(task)
            if again:
                await self.m.sched.cond_resched(task)

    async def _e1000_watchdog(self, task: Task, work: Work) -> None:
        self.carrier = bool(await self.device.regs.read(task, regs.STATUS) & regs.STATUS_LU)

    # --- packets

    async def _clean(self, cpu: Cpu, budget: int) -> int:
        """Free what was sent and pass up to ``budget`` received packets up; return their number."""
        self.polls += 1
        await self._clean_tx(cpu)
        costs = self.m.costs
        softnet = self.m.napi.softnet
        name = self.device.name
        ring = self._rx_ring
        done = 0
        while done < budget:
            descriptor = ring[self._rx_next]
            if not descriptor.done:
                break
            length = descriptor.length
            cost = costs.rx_packet_ns
            if cost:
                await cpu.spend(cost)
            softnet.netif_receive_skb(cpu, name, length)
            self.rx_packets += 1
            self.rx_bytes += length
            descriptor.done = False
            self._rx_next = self._rx_next + 1 if self._rx_next + 1 < self.ring else 0
            self._rx_refill += 1
            done += 1
            if self._rx_refill == RX_BUFFER_WRITE:
                await self._refill(cpu)
            if self.reply:
                await self.xmit(cpu, length)
        if self._rx_refill:
            await self._refill(cpu)
        return done

    async def _refill(self, cpu: Cpu) -> None:
        """Give the descriptors that were taken back to the chip: all but the one before the next to take."""
        self._rx_refill = 0
        await self.device.regs.write(cpu, regs.RDT, (self._rx_next or self.ring) - 1)

    async def _clean_tx(self, cpu: Cpu) -> None:
        freed = 0
        while self._tx_ring[self._tx_clean].done:
            self._tx_ring[self._tx_clean].done = False
            self._tx_clean = self._tx_clean + 1 if self._tx_clean + 1 < self.ring else 0
            freed += 1
        if freed:
            self.tx_packets += freed
            await cpu.spend(freed * self.m.costs.tx_clean_ns)

    async def xmit(self, cpu: Cpu, length: int) -> bool:
        """Send a packet, from a context with bottom halves off; return False, and count a drop, when the ring is full."""
        if length <= 0:
            raise UsageError(f"{self.device.name}: a packet of {length} bytes")
        following = self._tx_next + 1 if self._tx_next + 1 < self.ring else 0
        if following == self._tx_clean:
            self.tx_dropped += 1
            return False
        self._tx_ring[self._tx_next].length = length
        self._tx_next = following
        if self.m.costs.tx_packet_ns:
            await cpu.spend(self.m.costs.tx_packet_ns)
        await self.device.regs.write(cpu, regs.TDT, following)
        return True

    def counters(self) -> dict[str, int]:
        """Return what was counted; ``missed`` and ``raises`` are the chip's own counts since power-on."""
        return {
            "raises": self.device.raises,
            "interrupts": self.interrupts,
            "polls": self.polls,
            "rx_packets": self.rx_packets,
            "rx_bytes": self.rx_bytes,
            "missed": self.device.missed,
            "tx_packets": self.tx_packets,
            "tx_dropped": self.tx_dropped,
        }
