"""Put a recorded interrupt line on the machine: the device that raises it, the driver whose handler is recorded code.

The device holds what it has raised and not yet been served for. A level line stays asserted while anything is held. A
message or an edge is sent for one arrival at a time, the next one once the CPU has taken the last, so that none is lost
to coalescing and the count of interrupts is that of the arrivals.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncirq.analysis.names import TIMER_LINES
from asyncirq.hw.cpu import Cpu
from asyncirq.hw.msi import MsiMessage
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQF_SHARED, IRQF_TIMER, IrqAction, IrqDesc
from asyncirq.whatif.bodies import Body
from asyncirq.whatif.wiring import Wiring

if TYPE_CHECKING:
    from asyncirq.whatif.replay import Replay


class ReplayLine:
    """One line of the recording: ``irq``, its actions in the order of their calls, and the wire or message."""

    can_mask: Final = False

    def __init__(self, replay: Replay, irq: int, names: list[str], wiring: Wiring) -> None:
        self.irq = irq
        self.names = names
        self.raised = 0
        self._replay = replay
        self._wiring = wiring
        self._held: deque[int] = deque()
        self._sent = False
        self._todo: dict[str, deque[tuple[int, Body]]] = {name: deque() for name in names}
        self._actions: dict[str, IrqAction] = {}
        self._served = -1
        self._message: MsiMessage | None = None
        arch = replay.machine.kernel.arch
        if wiring.pin >= 0:
            arch.line_irq(wiring.pin, level=wiring.level, irq=irq)
            self._wire = replay.machine.board.line(wiring.pin)
        else:
            arch.map_msi(self, irq=irq)

    async def request(self) -> None:
        """Request the line for each of its handlers, as their drivers did."""
        flags = IRQF_SHARED if len(self.names) > 1 else 0
        for name in self.names:
            extra = IRQF_TIMER if name in TIMER_LINES else 0
            handler = partial(self._handler, name)
            self._actions[name] = await self._replay.machine.irq.request_irq(None, self.irq, handler, flags | extra, name, self)

    # --- the device's side

    def write_msi(self, message: MsiMessage) -> None:
        """Take over address and data."""
        self._message = message

    def mask_msi(self, masked: bool) -> None:
        """Do nothing: the message has no mask bit."""

    def raise_arrival(self, index: int) -> None:
        """Hold one more arrival and tell the CPU."""
        self._held.append(index)
        self.raised += 1
        self._signal()

    @property
    def busy(self) -> bool:
        """Tell whether an arrival waits for its handler."""
        return bool(self._held) or any(self._todo.values())

    def _signal(self) -> None:
        machine = self._replay.machine
        if not self._held or (self._sent and not self._wiring.level):
            return
        cause = machine.trace.device_raise(0, self.names[0], self.names[0]) if machine.trace is not None else 0
        self._sent = True
        if self._wiring.level:
            self._wire.set(True, cause)
        elif self._wiring.pin >= 0:
            self._wire.pulse(cause)
        elif self._message is not None:
            machine.board.send_msi(self._message, cause)

    def _take(self) -> int:
        """Hand the oldest arrival to the handlers that it had."""
        index = self._held.popleft()
        base = 0
        for body in self._replay.phase.arrivals[index].handlers:
            todo = self._todo.get(body.name)
            if todo is not None:
                todo.append((index, Body("hard", index, body.ops, base)))
            base += len(body.ops)
        self._sent = False
        if self._wiring.level:
            if not self._held:
                self._wire.set(False)
        else:
            self._signal()
        return index

    # --- the driver's side

    async def _handler(self, name: str, cpu: Cpu, irq: int, dev_id: Any) -> int:
        """Run the recorded code of one arrival; a forced thread of an edge line serves all that its interrupts announced."""
        todo = self._todo[name]
        threaded = self._actions[name].forced
        if not todo and self._held and (self._wiring.level or not threaded):
            self._served = self._take()
        costs = self._replay.costs
        skip = costs.draw("trace_event", "irq_thread") if threaded else 0
        result = IRQ_NONE
        while todo:
            index, body = todo.popleft()
            handler = next(one for one in self._replay.phase.arrivals[index].handlers if one.name == name)
            await self._replay.bodies.run(cpu, body, timer=name in TIMER_LINES, skip=skip)
            if handler.ret != "unhandled":
                result = IRQ_HANDLED
            if not threaded or self._wiring.level:
                break
        return result

    async def after_actions(self, cpu: Cpu, desc: IrqDesc) -> None:
        """Run the hard interrupt's tail, which stays there when the handler is moved to a thread."""
        replay = self._replay
        replay.costs.after_timer.discard(cpu.id)
        threaded = any(action.forced for action in self._actions.values())
        if not threaded:
            index, self._served = self._served, -1
        elif self._wiring.level:
            index = self._held[0] if self._held else -1
        else:
            index = self._take() if self._held else -1
        if index < 0:
            return
        arrival = replay.phase.arrivals[index]
        replay.note_hit(cpu, arrival.hit)
        if arrival.tail:
            base = sum(len(handler.ops) for handler in arrival.handlers)
            await replay.bodies.run(cpu, Body("hard", index, arrival.tail, base))
