"""Run handlers in kernel threads: one thread for each action that has a thread function, or was forced to have one.

The primary handler marks its thread to run (a wake-up while the mark stands changes nothing) and, on a one-shot line,
leaves the line masked; the thread unmasks it when it is the last one woken to finish. Where forced threading moved the
primary handler here, it runs with softirqs off, with interrupts off too unless the kernel is PREEMPT_RT, and the line
is unmasked before softirqs may run.

Linux: kernel/irq/manage.c. Trace: irq_thread_entry and irq_thread_exit round each thread function (ours).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from asyncirq.costs import Costs
from asyncirq.errors import AsyncIrqError, KernelBug
from asyncirq.hw.cpu import Cpu
from asyncirq.irq.desc import IRQ_HANDLED, IRQ_NONE, IRQ_WAKE_THREAD, IRQF_NO_THREAD, IRQF_ONESHOT, IRQF_PERCPU, IrqAction, IrqDesc
from asyncirq.irq.handle import follow_affinity, irq_wake_thread
from asyncirq.irq.spurious import note_interrupt, stall_in_progress
from asyncirq.irq.state import unmask_threaded_irq
from asyncirq.locking.completion import Completion
from asyncirq.sched.task import SCHED_FIFO, SCHED_NORMAL, TASK_INTERRUPTIBLE, TASK_RUNNING, TASK_UNINTERRUPTIBLE, Task

if TYPE_CHECKING:
    from asyncirq.irq.core import IrqTable


class ThreadDies(AsyncIrqError):
    """Raised by a thread function to end its thread, as an oops in it would: the line survives."""


def setup_irq_thread(core: IrqTable, desc: IrqDesc, action: IrqAction, secondary: bool, live: bool) -> None:
    """Make the thread of an action; it starts once the action is linked. ``live`` is False at boot.

    A running kernel makes it with the default priority, and it raises itself when it first runs.
    """
    name = f"irq/{desc.irq}-{'s-' if secondary else ''}{action.name}"
    prio = core.config.forced_secondary_prio if secondary else core.config.fifo_irq_prio
    function = partial(irq_thread, core, desc, action, secondary, prio)
    if live:
        action.thread = core.sched.new_task(function, name, kthread=True)
        action.created = Completion(f"{name} created")
    else:
        action.thread = core.sched.new_task(function, name, kthread=True, policy=SCHED_FIFO, rt_priority=prio)
    mask = desc.effective_affinity & core.sched.all_cpus
    if mask:
        action.thread.allowed = mask
        action.thread.cpu = core.cpus[(mask & -mask).bit_length() - 1]
    action.affinity_changed = True


async def create_irq_thread(task: Task, action: IrqAction) -> None:
    """Let an action's new thread run up to its first sleep and wait for that: a running kernel does this before it looks at the line.

    Linux: kernel/kthread.c kthread_create().
    """
    thread = action.thread
    if thread is None:
        return
    await task.sched.kthreadd.start(task, thread)
    assert action.created is not None
    await action.created.wait(task)


async def start_irq_thread(core: IrqTable, task: Task | None, desc: IrqDesc, action: IrqAction) -> None:
    """Start an action's thread and wait until it is ready for work; at boot it becomes ready by itself.

    Linux: wake_up_and_wait_for_irq_thread_ready().
    """
    thread = action.thread
    if thread is None:
        return
    if task is None:
        _start_now(core, thread)
        return
    await task.wake(thread)
    await desc.wait_for_threads.wait_event(task, lambda: action.ready)


def _start_now(core: IrqTable, thread: Task) -> None:
    """Make a thread ready from outside the model; on a machine that has run already its CPU may be halted."""
    core.sched.start_now(thread)
    if core.engine.now:
        core.sched.send_reschedule(core.cpus[0], thread.cpu.id)


async def stop_irq_thread(core: IrqTable, task: Task | None, action: IrqAction) -> None:
    """Tell an action's thread to stop and wait until it has; a wake-up still marked is served first. Linux: kthread_stop()."""
    thread = action.thread
    if thread is None:
        return
    action.should_stop = True
    if task is None:
        if not thread.on_rq:
            _start_now(core, thread)
        return
    action.stopper = task
    await task.wake(thread)
    await core.sched.might_resched(task)
    while action.stopper is not None and not thread.exited:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        if action.stopper is not None and not thread.exited:
            await task.schedule()
        task.set_current_state(TASK_RUNNING)
    action.thread = None


async def irq_thread(core: IrqTable, desc: IrqDesc, action: IrqAction, secondary: bool, prio: int, task: Task) -> None:
    """Wait for wake-ups and run the thread function for each, until told to stop: the body of every irq thread."""
    if action.created is not None:
        await _announce(action.created, task)
    if not action.should_stop:
        await _serve(core, desc, action, prio, task)
    stopper = action.stopper
    action.stopper = None
    if stopper is not None:
        await task.wake(stopper)
        await core.sched.might_resched(task)


async def _announce(created: Completion, task: Task) -> None:
    """Tell the requester that the thread exists, and sleep until it is started or stopped. Linux: kernel/kthread.c kthread()."""
    task.set_current_state(TASK_UNINTERRUPTIBLE)
    cpu = task.preempt_disable()
    await created.complete(cpu)
    cpu.preempt_count -= 1
    await task.schedule()


async def _serve(core: IrqTable, desc: IrqDesc, action: IrqAction, prio: int, task: Task) -> None:
    """Run the thread function for every wake-up, until told to stop. Linux: irq_thread()."""
    action.ready = True
    await desc.wait_for_threads.wake_up(task)
    if task.policy == SCHED_NORMAL:
        cpu = task.preempt_disable()
        core.sched.set_scheduler(cpu, task, SCHED_FIFO, prio)
        await task.preempt_enable()
    forced = action.forced
    while await _wait_for_interrupt(desc, action, task):
        cost = core.costs.irq_thread_fn_ns
        if cost:
            await task.spend(cost)
        try:
            ret = await (_forced_thread_fn(core, desc, action, task) if forced else _thread_fn(core, desc, action, task))
        except ThreadDies:
            await _dying_thread(core, desc, action, task)
            break
        if ret == IRQ_WAKE_THREAD and action.secondary is not None:
            cpu = task.preempt_disable()
            was_off = cpu.irq_disable()
            await irq_wake_thread(cpu, desc, action.secondary)
            await cpu.irq_restore(was_off)
            await task.preempt_enable()
        await _thread_done(desc, task)


async def _wait_for_interrupt(desc: IrqDesc, action: IrqAction, task: Task) -> bool:
    """Sleep until the thread is to run (True) or to end (False); a run that is marked comes before the end."""
    while True:
        task.set_current_state(TASK_INTERRUPTIBLE)
        if action.affinity_changed:
            follow_affinity(desc, action, task)
        if action.run_thread:
            action.run_thread = False
            task.set_current_state(TASK_RUNNING)
            return True
        if action.should_stop:
            task.set_current_state(TASK_RUNNING)
            return False
        await task.schedule()


async def _thread_fn(core: IrqTable, desc: IrqDesc, action: IrqAction, task: Task) -> int:
    assert action.thread_fn is not None
    trace = core.trace
    cause = task.cpu.cause
    if trace is not None:
        cpu = task.cpu
        cpu.cause = trace.irq_thread_entry(cpu, desc.irq, action.name)
    ret = await action.thread_fn(task, desc.irq, action.dev_id)
    if trace is not None:
        trace.irq_thread_exit(task.cpu, desc.irq, action.name)
    task.cpu.cause = cause
    if ret == IRQ_HANDLED:
        desc.threads_handled += 1
    await finalize_oneshot(core, desc, action, task)
    return ret


async def _forced_thread_fn(core: IrqTable, desc: IrqDesc, action: IrqAction, task: Task) -> int:
    """Run a primary handler in its thread, with the softirqs that it raises after the line is live again."""
    assert action.primary is not None
    hard_off = not core.config.rt
    cpu = await core.bottom_halves.local_bh_disable(task)
    if hard_off:
        cpu.irq_disable()
    trace = core.trace
    cause = cpu.cause
    if trace is not None:
        cpu.cause = trace.irq_thread_entry(cpu, desc.irq, action.name)
    ret = await action.primary(cpu, desc.irq, action.dev_id)
    if trace is not None:
        trace.irq_thread_exit(cpu, desc.irq, action.name)
    cpu.cause = cause
    if ret == IRQ_HANDLED:
        desc.threads_handled += 1
    await finalize_oneshot(core, desc, action, task)
    if hard_off:
        await cpu.irq_enable()
    await core.bottom_halves.local_bh_enable(task)
    return ret


async def finalize_oneshot(core: IrqTable, desc: IrqDesc, action: IrqAction, task: Task) -> None:
    """Unmask a one-shot line when its last woken thread is done. Linux: irq_finalize_oneshot().

    A thread that is faster than its hard handler on another CPU waits for it, else the line could stay masked for ever;
    one that was woken again meanwhile leaves the line to its next run.
    """
    cost = core.costs.irq_finalize_ns
    if cost:
        await task.spend(cost)
    if not desc.oneshot or not action.thread_mask:
        return
    cpu, was_off = core.enter(task)
    while desc.inprogress:
        if not was_off:
            await cpu.irq_enable()
        await stall_in_progress(cpu, desc)
        cpu.irq_disable()
    ns = 0
    if not action.run_thread:
        desc.threads_oneshot &= ~action.thread_mask
        if not desc.threads_oneshot and not desc.disabled and desc.masked:
            ns = unmask_threaded_irq(cpu, desc)
    await core.leave(task, cpu, was_off, ns)


async def _thread_done(desc: IrqDesc, task: Task) -> None:
    desc.threads_active -= 1
    if desc.threads_active == 0 and desc.thread_waiters:
        waiters, desc.thread_waiters = desc.thread_waiters, []
        for waiter in waiters:
            await task.wake(waiter)


async def wait_for_threads(desc: IrqDesc, task: Task) -> None:
    """Sleep until no woken thread of the line is left, one that was woken but not scheduled yet included."""
    while desc.threads_active:
        task.set_current_state(TASK_UNINTERRUPTIBLE)
        if desc.threads_active:
            if task not in desc.thread_waiters:
                desc.thread_waiters.append(task)
            await task.schedule()
        task.set_current_state(TASK_RUNNING)


async def _dying_thread(core: IrqTable, desc: IrqDesc, action: IrqAction, task: Task) -> None:
    """Leave a line usable whose thread dies in its function. Linux: irq_thread_dtor()."""
    core.printk(task.cpu, 3, f'exiting task "{task.comm}" ({task.pid}) is an active IRQ thread (irq {desc.irq})')
    # Woken no more: from now on a wake-up is dropped.
    task.exited = True
    if action.run_thread:
        action.run_thread = False
        desc.threads_active -= 1
    await finalize_oneshot(core, desc, action, task)
    await _thread_done(desc, task)


def setup_forced_threading(core: IrqTable, action: IrqAction) -> None:
    """Move an action's primary handler into a thread, where the kernel forces that and the request allows it.

    A thread function that the action has already moves on to a secondary thread.
    """
    excluded = IRQF_NO_THREAD | IRQF_PERCPU | IRQF_ONESHOT
    if not core.config.force_threads or action.flags & excluded or action.default_primary:
        return
    action.flags |= IRQF_ONESHOT
    if action.thread_fn is not None:
        secondary = IrqAction(action.irq, forced_secondary_handler, action.thread_fn, 0, action.name, action.dev_id)
        action.secondary = secondary
    action.primary = action.handler
    action.thread_fn = None
    make_default_primary(core, action)


def make_default_primary(core: IrqTable, action: IrqAction) -> None:
    """Give an action the primary handler that only asks for its thread."""
    action.default_primary = True
    action.handler = partial(default_primary_handler, core.costs)


async def default_primary_handler(costs: Costs, cpu: Cpu, irq: int, dev_id: object) -> int:
    """Ask for the thread and do nothing else. Linux: irq_default_primary_handler()."""
    ns = costs.irq_default_primary_ns
    if ns:
        await cpu.spend(ns)
    return IRQ_WAKE_THREAD


async def forced_secondary_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
    """Stand in for a primary handler that is never called. Raises ``KernelBug`` if it is."""
    raise KernelBug(f"Secondary action handler called for irq {irq}")


async def nested_primary_handler(cpu: Cpu, irq: int, dev_id: object) -> int:
    """Stand in for the primary handler of a nested interrupt, which runs in its parent's thread. Raises ``KernelBug``."""
    raise KernelBug(f"Primary handler called for nested irq {irq}")


async def handle_nested_irq(task: Task, desc: IrqDesc) -> None:
    """Run the thread functions of a demultiplexed line here, in the parent's thread, and judge them. Linux: kernel/irq/chip.c."""
    desc.replay = desc.waiting = False
    if desc.action is None or desc.disabled:
        desc.pending = True
        return
    desc.kstat_irqs[task.cpu.id] += 1
    desc.tot_count += 1
    desc.threads_active += 1
    ret = IRQ_NONE
    action: IrqAction | None = desc.action
    while action is not None:
        assert action.thread_fn is not None
        ret |= await action.thread_fn(task, desc.irq, action.dev_id)
        action = action.next
    if (ret != IRQ_HANDLED or desc.irqs_unhandled or desc.core.judge_all) and not desc.no_debug:
        cpu = task.preempt_disable()
        await note_interrupt(cpu, desc, ret)
        await task.preempt_enable()
    await _thread_done(desc, task)
