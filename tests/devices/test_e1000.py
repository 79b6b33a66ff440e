from __future__ import annotations

from typing import get_args

import pytest

from asyncirq import Machine, Task, UsageError, preset
from asyncirq.sim import ExecutorName
from devices import E1000, At, E1000Driver, Exponential, TimerCard, TimerCardDriver
from devices import e1000_regs as regs
from devices.e1000 import BottomHalf
from tests.conftest import HostRun
from tests.devices.harness import BOOT, NIC_COSTS, US, Body, make, play, texts, times

ARRIVAL = [
    "0 device_raise: device=eth0 source=RXT0",
    "0 line_level: line=gsi16 level=1",
    "500 ioapic_deliver: ioapic=0 pin=16 vector=32 dest=0 dest_mode=physical delivery_mode=fixed trigger=level",
    "500 lapic_irr: vector=32 trigger=level coalesced=0",
    "500 lapic_inta: vector=32",
    "700 vector_entry: vector=32",
    "700 irq_handler_entry: irq=16 name=eth0",
]
HARD_END = [
    "2330 irq_handler_exit: irq=16 ret=handled",
    "2330 lapic_eoi: vector=32",
    "2330 ioapic_eoi: ioapic=0 pin=16 vector=32",
    "2330 vector_exit: vector=32",
]
# Behind the handler's entry: ICR 800, which lets go of the wire, IMC 30, STATUS 800. Behind the bottom half's: packet 1000, RDT 30, IMS 30.
EXPECTED: dict[BottomHalf, list[str]] = {
    "softirq": [
        *ARRIVAL,
        "1500 line_level: line=gsi16 level=0",
        "2330 softirq_raise: vec=3 [action=NET_RX]",
        *HARD_END,
        "2330 softirq_entry: vec=3 [action=NET_RX]",
        "3330 netif_receive_skb: dev=eth0 len=1500",
        "3390 napi_poll: napi poll on napi struct eth0 for device eth0 work 1 budget 64",
        "3390 softirq_exit: vec=3 [action=NET_RX]",
    ],
    "napi-threaded": [
        *ARRIVAL,
        "1500 line_level: line=gsi16 level=0",
        "2330 sched_waking: comm=napi/eth0-1 pid=5 prio=120 target_cpu=000",
        "2330 sched_wakeup: comm=napi/eth0-1 pid=5 prio=120 target_cpu=000",
        *HARD_END,
        "2330 sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=napi/eth0-1 next_pid=5 next_prio=120",
        "3330 netif_receive_skb: dev=eth0 len=1500",
        "3390 napi_poll: napi poll on napi struct eth0 for device eth0 work 1 budget 64",
        "3390 sched_switch: prev_comm=napi/eth0-1 prev_pid=5 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120",
    ],
    "tasklet": [
        *ARRIVAL,
        "1500 line_level: line=gsi16 level=0",
        "2330 softirq_raise: vec=6 [action=TASKLET]",
        *HARD_END,
        "2330 softirq_entry: vec=6 [action=TASKLET]",
        "2330 tasklet_entry: tasklet=eth0 function=e1000_tasklet",
        "3330 netif_receive_skb: dev=eth0 len=1500",
        "3390 tasklet_exit: tasklet=eth0 function=e1000_tasklet",
        "3390 softirq_exit: vec=6 [action=TASKLET]",
    ],
    "workqueue": [
        *ARRIVAL,
        "1500 line_level: line=gsi16 level=0",
        "2330 workqueue_queue_work: work struct=eth0 function=e1000_work workqueue=events req_cpu=8192 cpu=0",
        "2330 workqueue_activate_work: work struct eth0 function=e1000_work",
        "2330 sched_waking: comm=kworker/0:0 pid=2 prio=120 target_cpu=000",
        "2330 sched_wakeup: comm=kworker/0:0 pid=2 prio=120 target_cpu=000",
        *HARD_END,
        "2330 sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=kworker/0:0 next_pid=2 next_prio=120",
        "2330 timer_start: timer=pool2.mayday_timer function=pool_mayday_timeout expires=2 [timeout=2] bucket_expiry=3 cpu=0 idx=3 flags=",
        "2330 task_newtask: pid=5 comm=kworker/0:1 clone_flags=0 oom_score_adj=0",
        "2330 sched_waking: comm=kworker/0:1 pid=5 prio=120 target_cpu=000",
        "2330 sched_wakeup_new: comm=kworker/0:1 pid=5 prio=120 target_cpu=000",
        "2330 sched_switch: prev_comm=kworker/0:0 prev_pid=2 prev_prio=120 prev_state=D ==> next_comm=kworker/0:1 next_pid=5 next_prio=120",
        "2330 sched_waking: comm=kworker/0:0 pid=2 prio=120 target_cpu=000",
        "2330 sched_wakeup: comm=kworker/0:0 pid=2 prio=120 target_cpu=000",
        "2330 sched_switch: prev_comm=kworker/0:1 prev_pid=5 prev_prio=120 prev_state=D ==> next_comm=kworker/0:0 next_pid=2 next_prio=120",
        "2330 sched_waking: comm=kworker/0:1 pid=5 prio=120 target_cpu=000",
        "2330 sched_wakeup: comm=kworker/0:1 pid=5 prio=120 target_cpu=000",
        "2330 timer_cancel: timer=pool2.mayday_timer",
        "2330 workqueue_execute_start: work struct eth0: function e1000_work",
        "3330 netif_receive_skb: dev=eth0 len=1500",
        "3390 workqueue_execute_end: work struct eth0: function e1000_work",
        "3390 sched_switch: prev_comm=kworker/0:0 prev_pid=2 prev_prio=120 prev_state=I ==> next_comm=kworker/0:1 next_pid=5 next_prio=120",
        "3390 sched_switch: prev_comm=kworker/0:1 prev_pid=5 prev_prio=120 prev_state=I ==> next_comm=swapper/0 next_pid=0 next_prio=120",
    ],
    "irq-thread": [
        *ARRIVAL,
        "700 irq_handler_exit: irq=16 ret=handled",
        "700 sched_waking: comm=irq/16-eth0 pid=5 prio=49 target_cpu=000",
        "700 sched_wakeup: comm=irq/16-eth0 pid=5 prio=49 target_cpu=000",
        "700 lapic_eoi: vector=32",
        "700 ioapic_eoi: ioapic=0 pin=16 vector=32",
        "700 vector_exit: vector=32",
        "700 sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=irq/16-eth0 next_pid=5 next_prio=49",
        "700 irq_thread_entry: irq=16 name=eth0",
        "1500 line_level: line=gsi16 level=0",
        "2500 netif_receive_skb: dev=eth0 len=1500",
        "2530 irq_thread_exit: irq=16 name=eth0",
        "2530 sched_switch: prev_comm=irq/16-eth0 prev_pid=5 prev_prio=49 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120",
    ],
}


def nic_body(driver: E1000Driver, *at: int, burst: int = 1, ns: int = BOOT) -> Body:
    """Return a body that binds the driver and lets packets arrive at instants behind ``BOOT``."""

    async def body(m: Machine) -> None:
        await driver.bind(m)
        driver.device.start(At([BOOT + when for when in at]), burst=burst)
        await m.run_for(BOOT + ns)

    return body


def nic(bottom_half: BottomHalf = "softirq", gsi: int | None = 16, **options: int | bool) -> E1000Driver:
    return E1000Driver(E1000("eth0", gsi, dma_ns=0), bottom_half, **options)  # type: ignore[arg-type]


@pytest.mark.covers("S4-10")
@pytest.mark.parametrize("bottom_half", get_args(BottomHalf))
def test_one_interrupt(bottom_half: BottomHalf) -> None:
    driver = nic(bottom_half)
    m = play(make(NIC_COSTS), nic_body(driver, 0))
    assert texts(m) == EXPECTED[bottom_half]
    assert driver.counters() == {
        "raises": 1,
        "interrupts": 1,
        "polls": 1,
        "rx_packets": 1,
        "rx_bytes": 1500,
        "missed": 0,
        "tx_packets": 0,
        "tx_dropped": 0,
    }


@pytest.mark.parametrize("bottom_half", get_args(BottomHalf))
def test_same_digest_on_every_executor_and_host(bottom_half: BottomHalf, host_run: HostRun) -> None:
    async def digest(executor: ExecutorName) -> str:
        async with Machine(cpus=2, seed=5, executor=executor) as m:
            driver = E1000Driver(E1000("eth0", 16), bottom_half, reply=True, itr_ns=20 * US)
            await driver.bind(m)
            driver.device.start(Exponential(15 * US), burst=3)
            await m.run_for(2 * BOOT)
            assert driver.rx_packets > 50
            return m.digest

    assert host_run(digest, "native") == host_run(digest, "anyio")


@pytest.mark.covers("S4-16")
@pytest.mark.parametrize("bottom_half", get_args(BottomHalf))
def test_burst_is_one_interrupt_then_polling(bottom_half: BottomHalf) -> None:
    driver = nic(bottom_half)
    m = play(make(NIC_COSTS), nic_body(driver, 0, burst=150))
    assert (driver.interrupts, driver.polls, driver.rx_packets) == (1, 3, 150)
    assert len(times(m, "irq_handler_entry", name="eth0")) == 1


def test_packets_beyond_the_ring_are_missed_and_counted() -> None:
    driver = nic(ring=8)
    play(make(NIC_COSTS), nic_body(driver, 0, burst=10))
    assert driver.counters()["missed"] == 3
    assert (driver.rx_packets, driver.device.received) == (7, 7)


def test_ring_is_used_round_and_round() -> None:
    driver = nic(ring=8, itr_ns=0)
    play(make(NIC_COSTS), nic_body(driver, *range(0, 400 * US, 20 * US), burst=9))
    assert (driver.rx_packets, driver.device.missed) == (20 * 7, 20 * 2)


def test_interrupts_are_throttled() -> None:
    driver = nic()
    m = play(make(NIC_COSTS), nic_body(driver, 0, 10 * US, 20 * US, 300 * US))
    assert [when - BOOT for when in times(m, "device_raise")] == [0, 128 * US, 300 * US]
    assert (driver.rx_packets, driver.polls) == (4, 3)


def test_without_throttle_every_packet_interrupts() -> None:
    driver = nic(itr_ns=0)
    m = play(make(NIC_COSTS), nic_body(driver, 0, 10 * US, 20 * US))
    assert [when - BOOT for when in times(m, "device_raise")] == [0, 10 * US, 20 * US]


def test_packet_before_the_unmasking_is_not_lost() -> None:
    """The ring is looked at for the last time at 3330; the packet of 3350 interrupts when IMS is written at 3390."""
    driver = nic(itr_ns=0)
    m = play(make(NIC_COSTS), nic_body(driver, 0, 3350))
    assert [when - BOOT for when in times(m, "device_raise")] == [0, 3390]
    assert driver.rx_packets == 2
    second = next(record for record in m.records if record.ts == BOOT + 3390 and type(record).__name__ == "DeviceRaise")
    entry = next(record for record in m.records if record.ts == BOOT + 2330 and type(record).__name__ == "SoftirqEntry")
    assert second.cause == entry.seq


@pytest.mark.covers("S4-13")
def test_interrupt_of_the_other_device_on_the_wire_is_none_of_ours() -> None:
    driver = nic()
    card = TimerCardDriver(TimerCard("card", 16))

    async def body(m: Machine) -> None:
        await driver.bind(m)
        await card.bind(m)
        card.device.start(At([BOOT]))
        await m.run_for(2 * BOOT)

    m = play(make(NIC_COSTS), body)
    assert [text for text in texts(m) if "handler" in text] == [
        "700 irq_handler_entry: irq=16 name=eth0",
        "1500 irq_handler_exit: irq=16 ret=unhandled",
        "1500 irq_handler_entry: irq=16 name=card",
        "2300 irq_handler_exit: irq=16 ret=handled",
    ]
    assert (driver.interrupts, card.interrupts) == (0, 1)


def test_message_instead_of_a_wire() -> None:
    driver = nic(gsi=None)
    m = play(make(NIC_COSTS), nic_body(driver, 0))
    assert texts(m)[:5] == [
        "0 device_raise: device=eth0 source=RXT0",
        "0 msi_write: address=0xfee00000 data=0x00000020",
        "0 lapic_irr: vector=32 trigger=edge coalesced=0",
        "0 lapic_inta: vector=32",
        "200 vector_entry: vector=32",
    ]
    assert driver.rx_packets == 1


def test_reply_completes_with_a_poll_of_no_packets() -> None:
    """A packet of 1500 bytes is on a wire of 1 Gbit/s for 12 us."""
    driver = nic(itr_ns=0, reply=True)
    m = play(make(NIC_COSTS | {"tx_packet_ns": 600, "tx_clean_ns": 150}), nic_body(driver, 0))
    sent = 3330 + 600 + 30
    assert [text for text in texts(m) if "device_raise" in text or "napi_poll" in text] == [
        "0 device_raise: device=eth0 source=RXT0",
        f"{sent + 60} napi_poll: napi poll on napi struct eth0 for device eth0 work 1 budget 64",
        f"{sent + 12_000} device_raise: device=eth0 source=TXDW",
        f"{sent + 12_000 + 2330 + 150 + 30} napi_poll: napi poll on napi struct eth0 for device eth0 work 0 budget 64",
    ]
    assert (driver.tx_packets, driver.device.sent) == (1, 1)


def test_full_transmit_ring_drops() -> None:
    """At 1 Mbit/s no packet has left when the second burst comes."""
    driver = E1000Driver(E1000("eth0", 16, mbps=1), ring=8, itr_ns=0, reply=True)
    play(make(NIC_COSTS), nic_body(driver, 0, 20 * US, burst=7))
    assert (driver.rx_packets, driver.tx_packets, driver.tx_dropped) == (14, 0, 7)


@pytest.mark.parametrize("bottom_half", ["softirq", "irq-thread"])
def test_link_change_is_looked_at_by_a_task(bottom_half: BottomHalf) -> None:
    driver = nic(bottom_half)

    async def body(m: Machine) -> None:
        await driver.bind(m)
        assert driver.carrier
        await m.run_for(BOOT)
        driver.device.set_link(False)
        driver.device.receive([1500])
        await m.run_for(BOOT)

    play(make(NIC_COSTS), body)
    assert not driver.carrier
    assert (driver.interrupts, driver.rx_packets) == (1, 0)


@pytest.mark.parametrize("bottom_half", get_args(BottomHalf))
def test_unbound_chip_is_silent_and_can_be_bound_again(bottom_half: BottomHalf) -> None:
    driver = nic(bottom_half)
    done = []

    async def thread(task: Task) -> None:
        await driver.unbind(task)
        driver.device.receive([1500])
        again = E1000Driver(driver.device, bottom_half)
        await again.bind(driver.device.platform, task)
        driver.device.receive([1500])
        done.append(again)

    async def body(m: Machine) -> None:
        await driver.bind(m)
        driver.device.start(At([BOOT - 10 * US]))
        await m.run_for(BOOT)
        m.start_thread(thread, "ip")
        await m.run_for(100 * BOOT)

    play(make(NIC_COSTS), body)
    # The first packet is being handled when the unbinding begins, the second one finds the chip switched off.
    assert (driver.rx_packets, done[0].rx_packets) == (1, 1)
    assert driver.device.driver is done[0]


def test_forced_thread_runs_the_handler_and_its_net_rx() -> None:
    driver = nic()
    m = play(make(NIC_COSTS, kernel=preset("linux-6.12", threadirqs=True)), nic_body(driver, 0))
    comm = "irq/16-eth0"
    [thread] = [task.pid for task in m.sched.tasks.values() if task.comm == comm]
    assert [record.pid for record in m.records if type(record).__name__ in ("SoftirqEntry", "IrqThreadEntry")] == [thread, thread]
    assert driver.rx_packets == 1


def test_bad_options_are_refused() -> None:
    chip = E1000("eth0")
    with pytest.raises(UsageError, match="eth0: no bottom half is called 'magic'"):
        E1000Driver(chip, "magic")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="eth0: a ring of 12 descriptors"):
        E1000Driver(chip, ring=12)
    with pytest.raises(UsageError, match="eth0: interrupts cannot be 100000000 ns apart"):
        E1000Driver(chip, itr_ns=100_000_000)
    with pytest.raises(UsageError, match="eth0: a budget of 0 packets"):
        E1000Driver(chip, budget=0)


def test_packet_without_bytes_is_refused() -> None:
    driver = nic()

    async def body(m: Machine) -> None:
        await driver.bind(m)
        with pytest.raises(UsageError, match="eth0: a packet of 0 bytes"):
            await driver.xmit(m.cpus[0], 0)
        with pytest.raises(UsageError, match="eth0: a packet of -1 bytes"):
            driver.device.receive([-1])

    play(make(), body)


def test_failed_request_leaves_the_chip_free() -> None:
    """The wire belongs to a one-shot line already, which does not share."""
    first, second = nic("irq-thread"), E1000Driver(E1000("eth1", 16))

    async def body(m: Machine) -> None:
        await first.bind(m)
        with pytest.raises(UsageError, match="Flags mismatch irq 16.*EBUSY"):
            await second.bind(m)
        assert second.device.driver is None
        assert second.device.regs.peek(regs.IMS) == 0

    play(make(), body)
