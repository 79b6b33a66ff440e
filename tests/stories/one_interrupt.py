"""Let one interrupt of a wired card go all the way: the story that the map in ``asyncirq/__init__.py`` tells."""

from __future__ import annotations

from asyncirq import (
    IRQ_HANDLED,
    IRQ_WAKE_THREAD,
    IRQF_ONESHOT,
    NET_RX_SOFTIRQ,
    Cpu,
    Machine,
    Record,
    Task,
    ms,
    preset,
    us,
)


class Card:
    """A card on IO-APIC pin 9: its handler lowers the wire, raises NET_RX and asks for its thread."""

    def __init__(self, m: Machine) -> None:
        self.m = m
        self.line, self.irq = m.line(9)

    async def hardware(self) -> None:
        await self.m.engine.sleep(us(100))
        trace = self.m.trace
        self.line.set(True, trace.device_raise(0, "card", "rx") if trace is not None else 0)

    async def handler(self, cpu: Cpu, irq: int, dev_id: object) -> int:
        self.line.set(False, cpu.cause)
        await cpu.spend(us(1))
        self.m.softirq.raise_softirq_nowake(cpu, NET_RX_SOFTIRQ)
        return IRQ_WAKE_THREAD

    async def net_rx(self, cpu: Cpu) -> None:
        await cpu.spend(us(5))

    async def thread_fn(self, task: Task, irq: int, dev_id: object) -> int:
        await task.spend(us(10))
        return IRQ_HANDLED


async def hog(task: Task) -> None:
    await task.spend(ms(1))


async def one_interrupt() -> list[Record]:
    """Return every record from the card's raise until the interrupted task has its CPU back."""
    async with Machine(1, preset("linux-6.12", preemption="full"), debug=True, check=True) as m:
        card = Card(m)
        m.softirq.open_softirq(NET_RX_SOFTIRQ, card.net_rx)
        await m.irq.request_threaded_irq(None, card.irq, card.handler, card.thread_fn, IRQF_ONESHOT, "card", card)
        await m.run_for(us(50))
        m.start_thread(hog, "hog", cpu=0)
        m.spawn(card.hardware(), "card")
        await m.run_for(us(90))
        before = len(m.records)
        await m.run_for(us(60))
        return m.records[before:]
