"""Name every stretch of CPU time that the model spends, in one table.

A cost is the time from one observable point of the kernel's path to the next. ``Costs`` holds fixed integers; a replay
of a capture uses a subclass whose attributes draw from measured samples, under the same names. The defaults describe
an untraced server CPU at about 3 GHz and are round figures, good for comparing configurations; measured tables come
from captures (``analysis/segments.py``).
"""

from __future__ import annotations

from asyncirq.errors import UsageError


class Costs:
    """Durations in ns by name. ``Costs(ttwu_ns=900)`` overrides one; an unknown name or a negative value is a ``UsageError``."""

    # entry
    irq_entry_ns: int = 250
    """INTA to the first statement of the flow handler: stub, irqentry_enter, irq_enter, vector lookup."""
    irq_exit_ns: int = 120
    """The end of the handler to iret when nothing is pending: irq_exit, irqentry_exit."""
    sysvec_entry_ns: int = 200
    """INTA to the first statement of a system vector's handler."""
    sysvec_exit_ns: int = 100
    """The end of a system vector's handler to iret."""
    user_exit_work_ns: int = 80
    """One round of exit-to-user work."""
    entry_step_ns: int = 0
    """One step of the entry code, on a machine that shows its detail: a stack switched, GS exchanged, a frame copied."""
    nmi_nested_ns: int = 0
    """An NMI that finds another one in progress, and only has it run once more."""
    exception_entry_ns: int = 150
    """The gate of an exception to the first statement of its handler: stub, pt_regs, irqentry_enter."""
    exception_exit_ns: int = 100
    """The end of an exception's handler to iret when nothing is pending."""
    page_fault_ns: int = 300
    """A page fault's own work up to the memory manager's: the area that the address is in."""
    signal_deliver_ns: int = 500
    """Delivering one signal: the frame on the user stack, or the start of the thread's end."""
    oops_ns: int = 20_000
    """Printing an oops."""
    # irq/
    irq_return_ns: int = 60
    """irq_handler_exit to the end of the flow handler."""
    irq_wake_thread_ns: int = 80
    """irq_handler_exit to the sched_waking of the handler's thread."""
    irq_default_primary_ns: int = 20
    """The default primary handler, which only asks for its thread."""
    irq_thread_fn_ns: int = 100
    """An irq thread's loop: from running again to the call of the thread function."""
    irq_finalize_ns: int = 120
    """The end of the thread function to the unmasked line."""
    mmio_ns: int = 30
    """One posted write to a controller register: mask, unmask."""
    apic_eoi_ns: int = 30
    """One write to the local APIC's EOI register."""
    ioapic_latency_ns: int = 500
    """A change of a wire at an IO-APIC pin to the message at the local APIC."""
    pio_ns: int = 700
    """One access to a port of the old controllers, behind the slow bus."""
    gic_eoi_ns: int = 30
    """One write to the end or deactivate register of a GIC."""
    gic_latency_ns: int = 500
    """A change of a wire at a distributor to the interrupt at the CPU interface."""
    ipi_send_ns: int = 60
    """One write to the ICR."""
    # sched/
    ttwu_ns: int = 350
    """sched_waking to sched_wakeup: try_to_wake_up."""
    ttwu_return_ns: int = 50
    """sched_wakeup to the waker's next statement."""
    switch_idle_ns: int = 400
    """The idle loop's exit to sched_switch."""
    switch_preempt_ns: int = 400
    """The decision to preempt to sched_switch."""
    switch_block_ns: int = 450
    """The call of schedule() by a task that blocks to sched_switch."""
    switch_in_ns: int = 600
    """sched_switch to the first statement of the incoming task, caches and page tables included."""
    migration_ns: int = 0
    """What a switch to a task that comes from another CPU takes longer: its caches are there."""
    cpu_startup_ns: int = 100_000
    """INIT and the start messages to another CPU, with their delays."""
    idle_entry_ns: int = 300
    """The idle task's way from sched_switch to HLT."""
    kthread_create_ns: int = 15_000
    """Making a thread, by kthreadd: from running again to the sched_waking of the new thread."""
    resched_delay_ns: int = 0
    """How long a voluntary-preemption kernel runs on to its next cond_resched, beyond what the model sees."""
    spin_lock_ns: int = 0
    """Taking a free spinlock."""
    spin_handover_ns: int = 60
    """A spinner's notice that the lock is its own now: one cache line from the other CPU."""
    cpu_relax_ns: int = 45
    """One turn of a polling spin loop, with its pause."""
    lock_fast_ns: int = 0
    """Taking a free sleeping lock."""
    lock_block_ns: int = 900
    """Blocking on a contended sleeping lock (rt_mutex) to sched_switch."""
    lock_handover_ns: int = 300
    """Releasing a contended sleeping lock to the waking of its next owner."""
    # bottom_half/
    softirq_entry_ns: int = 120
    """The decision to run softirqs to the first softirq_entry."""
    softirq_next_ns: int = 30
    """softirq_exit to the next softirq_entry."""
    softirq_exit_ns: int = 60
    """The last softirq_exit to the end of do_softirq."""
    softirqd_wake_ns: int = 0
    """The last statement before it to the sched_waking of ksoftirqd or ktimers."""
    bh_enable_ns: int = 40
    """local_bh_enable with nothing pending."""
    ksoftirqd_ns: int = 150
    """ksoftirqd's loop: from running again to do_softirq."""
    tasklet_ns: int = 60
    """softirq_entry to a tasklet's function."""
    tasklet_end_ns: int = 0
    """The last tasklet's end to softirq_exit."""
    work_queue_ns: int = 120
    """queue_work to the waking of a worker."""
    worker_create_ns: int = 15_000
    """Making a kworker: from its first run to its telling the pool's manager that it exists; the manager sleeps meanwhile."""
    work_start_ns: int = 150
    """A worker's loop: from running again, or from the last work's end, to workqueue_execute_start."""
    timer_softirq_ns: int = 120
    """softirq_entry to the first timer's function."""
    timer_next_ns: int = 60
    """One timer's end to the next one's function."""
    tick_ns: int = 800
    """The tick's own work: jiffies, accounting, scheduler_tick."""
    hrtimer_ns: int = 150
    """local_timer_entry to the first expired hrtimer's function."""
    napi_poll_ns: int = 200
    """One round of a NAPI instance without its packets."""
    rx_packet_ns: int = 1_200
    """One received packet through the stack."""
    tx_clean_ns: int = 150
    """Freeing one transmitted packet."""
    # drivers/
    device_read_ns: int = 800
    """One read of a device's register across the bus: the CPU waits for the answer."""
    device_write_ns: int = 30
    """One posted write to a device's register."""
    tx_packet_ns: int = 600
    """Handing one packet to a NIC, without the write of its tail register."""

    def __init__(self, **overrides: int) -> None:
        for name, value in overrides.items():
            if name not in cost_names():
                raise UsageError(f"no cost is named {name!r}")
            if not isinstance(value, int) or value < 0:
                raise UsageError(f"cost {name} is {value!r}; it is a whole number of ns from 0 on")
            setattr(self, name, value)


def cost_names() -> tuple[str, ...]:
    """Return the names of all costs, in the order of the table."""
    return tuple(Costs.__annotations__)
