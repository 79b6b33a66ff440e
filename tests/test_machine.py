"""Use a machine as its users do: make it, run it, read it, break it off."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncirq import (
    IRQ_HANDLED,
    IRQF_ONESHOT,
    SCHED_FIFO,
    Cpu,
    FileSink,
    KernelBug,
    Machine,
    MemorySink,
    Task,
    UsageError,
    assert_balanced,
    ms,
    preset,
    read_jsonl,
    us,
)
from asyncirq.sim import ExecutorName
from asyncirq.trace import tag_of
from asyncirq.trace.events_hw import MsiWrite
from asyncirq.trace.events_irq import IrqHandlerEntry
from asyncirq.trace.events_sched import SchedSwitch
from tests.conftest import HAVE_UVLOOP, HostRun
from tests.determinism.scene import Scene
from tests.source_tree import ROOT

pytestmark = pytest.mark.usefixtures("every_controller")
smp = pytest.mark.smp
apic = pytest.mark.controllers("apic")
plain = pytest.mark.asyncio(loop_factories=["asyncio"])


async def handled(cpu: Cpu, irq: int, dev_id: object) -> int:
    await cpu.spend(500)
    return IRQ_HANDLED


async def hog(task: Task) -> None:
    while True:
        await task.spend(us(10))


# --- boot


@plain
async def test_boot_takes_no_time_and_ends_in_the_idle_loop() -> None:
    await boot_and_idle(1)


@smp
@plain
async def test_boot_takes_no_time_and_ends_in_the_idle_loops() -> None:
    await boot_and_idle(3)


async def boot_and_idle(cpus: int) -> None:
    async with Machine(cpus, check=True) as m:
        assert (m.now, len(m.cpus)) == (0, cpus)
        assert {record.ts for record in m.records} <= {0}
        await m.run_for(ms(1))
        assert [(cpu.current.pid, cpu.irqs_off, cpu.preempt_count) for cpu in m.cpus] == [(0, False, 1)] * cpus
        # Every thread of the kernel has had its first turn and sleeps; its tick is stopped.
        ran = {record.next_comm for record in m.records if isinstance(record, SchedSwitch)}
        for number in range(cpus):
            assert {f"ksoftirqd/{number}", f"kworker/{number}:0"} <= ran | {task.comm for task in m.sched.tasks.values()}
            assert m.kernel.tick.stopped(m.cpus[number])
        before = len(m.records)
        await m.run_for(ms(50))
        assert len(m.records) == before
        assert_balanced(m.records, rt=False)


@smp
@plain
async def test_boot_on_rt_starts_its_threads() -> None:
    async with Machine(2, preset("linux-6.12", rt=True), check=True) as m:
        await m.run_for(ms(1))
        comms = {task.comm for task in m.sched.tasks.values()}
        assert {"ktimers/0", "ktimers/1", "ksoftirqd/0", "ksoftirqd/1"} <= comms


@pytest.mark.parametrize(("cpus", "words"), [(0, "a machine has 1 to 1024 CPUs, not 0"), (1025, "a machine has 1 to 1024 CPUs, not 1025")])
def test_impossible_machines_are_refused(cpus: int, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        Machine(cpus)
    assert refused.value.errno == 22
    with pytest.raises(UsageError, match="no kernel preset is named 'linux-1.0'"):
        Machine(kernel="linux-1.0")


# --- running and ending


@plain
async def test_run_for_ends_exactly_then() -> None:
    async with Machine() as m:
        for ns in (0, 1, 1234, ms(7)):
            start = m.now
            await m.run_for(ns)
            assert m.now == start + ns
        with pytest.raises(UsageError, match="cannot run for -1 ns"):
            await m.run_for(-1)


@plain
async def test_run_until_looks_after_every_step() -> None:
    async with Machine() as m:
        ticks: list[int] = []

        async def count(task: Task) -> None:
            for _ in range(10):
                await task.spend(us(10))
                ticks.append(m.now)

        m.start_thread(count, "count")
        assert await m.run_until(lambda: True) is True
        assert (m.now, ticks) == (0, [])
        assert await m.run_until(lambda: len(ticks) == 3) is True
        assert (len(ticks), m.now) == (3, ticks[-1])
        assert await m.run_until(lambda: len(ticks) > 10, timeout_ns=ms(1)) is False
        assert (len(ticks), m.now) == (10, ticks[2] + ms(1))


@smp
@plain
async def test_closed_machine_keeps_its_trace_and_refuses_to_run() -> None:
    async with Machine(2) as m:
        m.start_thread(hog, "hog")
        await m.run_for(ms(1))
        open_digest = m.digest
    await m.close()
    assert m.records
    assert m.digest == open_digest
    with pytest.raises(UsageError, match="this machine is closed: make another one"):
        await m.run_for(1)
    assert await m.run_until(lambda: True) is True


@smp
@plain
async def test_machine_can_be_made_and_closed_without_running() -> None:
    m = Machine(4)
    await m.close()
    await m.close()
    assert m.now == 0


@plain
async def test_dead_machine_says_what_it_died_of() -> None:
    async def fails(task: Task) -> None:
        await task.spend(100)
        raise ValueError("nobody checks this")

    async with Machine() as m:
        m.start_thread(fails, "fails")
        with pytest.raises(ValueError, match="nobody checks this"):
            await m.run_for(ms(1))
        with pytest.raises(UsageError, match="the machine is dead and cannot run on: ValueError: nobody checks this") as refused:
            await m.run_for(ms(1))
        assert isinstance(refused.value.__cause__, ValueError)
        assert m.records


# --- what is on it


@apic
@plain
@pytest.mark.controllers("apic")
async def test_describe_shows_the_three_tables() -> None:
    async with Machine() as m:
        msi = m.msi("eth0")
        await m.irq.request_irq(None, msi.irq, handled, 0, "eth0")
        _, unused = m.line(9)
        lines = m.describe().splitlines()
        gates, descriptors, vectors = (lines.index(title) for title in ("gates:", "descriptors:", "softirq_vec:"))
        assert gates < descriptors < vectors
        shown = dict(line.split(maxsplit=1) for line in lines[gates + 1 : descriptors])
        assert (shown["0x0e"], shown["0x20"]) == ("asm_exc_page_fault (X86_TRAP_PF)", "asm_common_interrupt")
        assert shown["0xec"] == "asm_sysvec_apic_timer_interrupt (LOCAL_TIMER_VECTOR)"
        assert shown["0xeb"] == "asm_spurious_interrupt (POSTED_MSI_NOTIFICATION_VECTOR)"
        assert f"  irq {msi.irq}: handle_edge_irq, chip PCI-MSI, eth0" in lines[descriptors:vectors]
        assert f"  irq {unused}: handle_fasteoi_irq, chip IO-APIC, no action" in lines[descriptors:vectors]
        assert [line.split(":")[0] for line in lines[vectors + 1 :]][:2] == ["  0 HI", "  1 TIMER"]


@smp
@plain
async def test_proc_paths_and_errors() -> None:
    async with Machine(2) as m:
        msi = m.msi("eth0")
        await m.irq.request_irq(None, msi.irq, handled, 0, "eth0")
        for path in ("interrupts", "softirqs", "net/softnet_stat", f"irq/{msi.irq}/smp_affinity"):
            assert m.proc(path) == m.proc(f"/proc/{path}") != ""
        assert m.proc(f"irq/{msi.irq}/smp_affinity") == "3\n"
        for path in ("", "meminfo", "irq", "irq/x/smp_affinity", f"irq/{msi.irq}", f"irq/{msi.irq}/nothing", "irq/99999/smp_affinity"):
            with pytest.raises(UsageError) as refused:
                m.proc(path)
            assert (refused.value.errno, path in str(refused.value)) == (2, True)


@smp
@plain
async def test_thread_started_in_the_middle_wakes_a_halted_cpu() -> None:
    async with Machine(2, check=True) as m:
        await m.run_for(ms(3))
        started: list[tuple[int, int]] = []

        async def fn(task: Task) -> None:
            started.append((m.now, task.cpu.id))

        for number, policy in ((1, SCHED_FIFO), (0, 0)):
            m.start_thread(fn, f"late{number}", cpu=number, policy=policy, rt_priority=1 if policy else 0)
        await m.run_for(us(20))
        assert sorted(cpu for _, cpu in started) == [0, 1]
        assert max(when for when, _ in started) < ms(3) + us(5)


@pytest.mark.monitor_rule("stall")  # asked for by no task: its thread is started by hand, without a waker
@smp
@plain
async def test_irq_thread_requested_in_the_middle_serves_the_first_interrupt() -> None:
    async with Machine(2, check=True) as m:
        await m.run_for(ms(3))
        msi = m.msi("late")
        ran: list[int] = []

        async def thread_fn(task: Task, irq: int, dev_id: object) -> int:
            ran.append(m.now)
            return IRQ_HANDLED

        action = await m.irq.request_threaded_irq(None, msi.irq, None, thread_fn, IRQF_ONESHOT, "late")
        await m.run_for(us(20))
        assert action.ready
        msi.send()
        await m.run_for(us(20))
        assert len(ran) == 1
        assert await m.irq.free_irq(None, msi.irq) == "late"
        await m.run_for(us(20))
        assert [task.comm for task in m.sched.tasks.values() if task.comm.startswith("irq/")] == []


@apic
@plain
async def test_masked_message_is_kept_once() -> None:
    async with Machine() as m:
        msi = m.msi("eth0")

        def sent() -> int:
            return sum(isinstance(record, MsiWrite) for record in m.records)

        msi.send()
        assert (msi.pending, sent()) == (True, 0)
        await m.irq.request_irq(None, msi.irq, handled, 0, "eth0")
        assert (msi.pending, msi.masked, sent()) == (False, False, 1)
        await m.run_for(us(10))
        msi.mask_msi(True)
        for _ in range(3):
            msi.send()
        await m.run_for(us(10))
        assert (msi.pending, sent()) == (True, 1)
        msi.mask_msi(False)
        msi.mask_msi(False)
        await m.run_for(us(10))
        assert (msi.pending, sent(), m.irq.desc(msi.irq).tot_count) == (False, 2, 2)


@apic
@plain
@pytest.mark.controllers("apic")
async def test_pin_is_wired_once() -> None:
    async with Machine() as m:
        line, irq = m.line(9, level=True, active_low=True)
        assert m.line(9, level=True, active_low=True) == (line, irq)
        assert line.level is True
        for level, active_low in ((False, True), (True, False)):
            with pytest.raises(UsageError, match=f"gsi 9 is wired otherwise already \\(irq {irq}\\)") as refused:
                m.line(9, level=level, active_low=active_low)
            assert refused.value.errno == 22
        for gsi in (-1, 24):
            with pytest.raises(UsageError, match=f"has pins 0 to 23, not {gsi}"):
                m.line(gsi)
        assert m.line(9, level=True, active_low=True) == (line, irq)


@plain
async def test_spawned_device_task_raises_interrupts() -> None:
    async with Machine(check=True) as m:
        line, irq = m.line(20)

        async def serve(cpu: Cpu, number: int, dev_id: object) -> int:
            line.set(False)
            return IRQ_HANDLED

        async def device() -> None:
            for _ in range(3):
                await m.engine.sleep(us(100))
                line.set(True)

        await m.irq.request_irq(None, irq, serve, 0, "dev")
        m.spawn(device(), "device")
        await m.run_for(ms(1))
        assert [record.ts // 10_000 for record in m.records if isinstance(record, IrqHandlerEntry)] == [10, 20, 30]


# --- where it runs


async def scene(executor: ExecutorName = "native", seed: int = 3) -> Machine:
    m = Machine(2, seed=seed, executor=executor, check=True)
    await m.__aenter__()
    await Scene(m).start()
    return m


async def digest_of(executor: ExecutorName = "native", seed: int = 3, pieces: int = 1) -> str:
    m = await scene(executor, seed)
    for _ in range(pieces):
        await m.run_for(ms(2) // pieces)
    digest = m.digest
    await m.close()
    return digest


@smp
def test_anyio_executor_in_a_program_of_ones_own(host_run: HostRun) -> None:
    async def program() -> str:
        turns = 0

        async def progress() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(progress)
            digest = await digest_of("anyio")
            group.cancel_scope.cancel()
        assert turns > 1
        return digest

    assert host_run(program) == asyncio.run(digest_of())


@apic
@plain
@pytest.mark.controllers("apic")
async def test_contexts_are_tasks_of_the_host_on_the_anyio_executor() -> None:
    m = await scene("anyio")
    seen: set[str] = set()
    m.engine.timer(lambda: seen.update(task.get_name().split("-")[0] for task in asyncio.all_tasks()), "look").arm(ms(1))
    await m.run_for(ms(2))
    assert {"swapper/0", "swapper/1", "ioapic", "hog0", "nic"} <= seen
    await m.close()
    assert len(asyncio.all_tasks()) == 1


@smp
@plain
async def test_two_machines_know_nothing_of_each_other() -> None:
    alone = [await digest_of(seed=seed, pieces=4) for seed in (3, 4)]
    assert alone[0] != alone[1]
    first, second = await scene(seed=3), await scene(seed=4)
    for _ in range(4):
        await first.run_for(ms(2) // 4)
        await second.run_for(ms(2) // 4)
    assert [first.digest, second.digest] == alone
    await first.close()
    await second.close()
    # At the same time, as two tasks of one program.
    assert list(await asyncio.gather(digest_of(seed=3, pieces=4), digest_of(seed=4, pieces=4))) == alone


@smp
@plain
async def test_live_run_is_the_same_run() -> None:
    m = await scene()
    m.driver.live(1000)
    await m.run_for(ms(2))
    assert (m.now, m.digest) == (ms(2), await digest_of())
    assert m.driver.lag_ns >= 0
    with pytest.raises(UsageError, match="live speed 0 is not above 0"):
        m.driver.live(0)
    await m.close()


# --- what it records


@plain
async def test_untraced_machine_has_neither_records_nor_digest() -> None:
    async with Machine(trace=False) as m:
        m.start_thread(hog, "hog")
        await m.run_for(ms(1))
        assert m.trace is None
        for ask in (lambda: m.records, lambda: m.digest):
            with pytest.raises(UsageError):
                ask()


@plain
async def test_sinks_of_ones_own(tmp_path: Path) -> None:
    file, memory = tmp_path / "trace.jsonl", MemorySink()
    async with Machine(sinks=[FileSink(file), memory]) as m:
        await Scene(m).start()
        await m.run_for(ms(1))
        with pytest.raises(UsageError, match="keeps no records in memory"):
            _ = m.records
    assert m.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert list(read_jsonl(file)) == memory.records
    async with Machine(sinks=()) as other:
        await Scene(other).start()
        await other.run_for(ms(1))
        assert other.digest == m.digest
        with pytest.raises(UsageError, match="keeps no records in memory"):
            _ = other.records


# --- what goes wrong in a driver


@plain
@pytest.mark.controllers("apic")
@pytest.mark.parametrize("executor", ["native", "anyio"])
async def test_traceback_reads_from_the_interrupted_context_to_the_handler(executor: ExecutorName) -> None:
    async def broken_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        await cpu.spend(10)
        raise LookupError("no such ring")

    async def busy_task(task: Task) -> None:
        await task.spend(ms(1))

    async with Machine(executor=executor) as m:
        msi = m.msi("eth0")
        await m.irq.request_irq(None, msi.irq, broken_handler, 0, "eth0")
        m.start_thread(busy_task, "busy")
        m.engine.timer(msi.send, "raise").arm(us(100))
        with pytest.raises(LookupError, match="no such ring") as caught:
            await m.run_for(ms(1))
        names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        flow = getattr(m.irq.desc(msi.irq).handle_irq, "__name__", "")
        wanted = ["busy_task", "spend", "interrupt_window", "common_interrupt", flow, "handle_irq_event", "broken_handler"]
        assert [name for name in names if name in wanted] == wanted
        assert names[-1] == "broken_handler"
        # It died in the handler: nothing after it is in the trace.
        assert isinstance(m.records[-1], IrqHandlerEntry)
        assert any(tag_of(type(record)).endswith("_inta") for record in m.records)


@plain
async def test_handler_that_blocks_is_named() -> None:
    async def sleepy_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
        task = cpu.current
        assert isinstance(task, Task)
        await task.schedule()
        return IRQ_HANDLED

    async with Machine() as m:
        msi = m.msi("eth0")
        await m.irq.request_irq(None, msi.irq, sleepy_handler, 0, "eth0")
        m.start_thread(hog, "hog")
        m.engine.timer(msi.send, "raise").arm(us(100))
        with pytest.raises(KernelBug, match="scheduling while atomic: hog/") as caught:
            await m.run_for(ms(1))
        assert "sleepy_handler" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


# --- Ctrl-C

SCRIPT = textwrap.dedent(
    """
    import asyncio
    import sys

    from asyncirq import FileSink, Machine, ms, run, us


    async def hog(task):
        await task.spend(ms(5))
        print("ready", flush=True)
        while True:
            await task.spend(us(3))


    async def main():
        m = Machine(sinks=[FileSink(sys.argv[2])])
        try:
            async with m:
                m.start_thread(hog, "hog")
                await m.run_for(10**18)
        finally:
            print(m.trace.seq, m.digest, m.now, flush=True)


    if sys.argv[1] == "asyncio":
        asyncio.run(main())
    else:
        run(main)
    """
)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize("loop", ["asyncio", "asyncirq"])
def test_interrupted_script_keeps_everything_it_traced(loop: str, tmp_path: Path) -> None:
    if loop == "asyncirq" and not HAVE_UVLOOP:
        pytest.skip("there is no uvloop here")
    script, file = tmp_path / "script.py", tmp_path / "trace.jsonl"
    script.write_text(SCRIPT)
    command = [sys.executable, "-X", "dev", "-W", "error", str(script), loop, str(file)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=60)
    assert child.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert re.search("never awaited|was destroyed|Warning", errors) is None
    seq, digest, now = out.split()
    records = list(read_jsonl(file))
    assert [record.seq for record in records] == list(range(1, int(seq) + 1))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    # The hog has run 5 ms when it says that it is ready; the tick before that is the last record that must be there.
    assert ms(4) <= records[-1].ts <= int(now)
    assert ms(5) <= int(now) < 10**18
