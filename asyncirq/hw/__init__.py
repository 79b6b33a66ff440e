"""Model the silicon: wires, messages, interrupt controllers, timers, the descriptor table and the CPU.

Silicon only: no file here knows what a kernel does with an interrupt, and nothing here imports kernel code. The glue that
writes these registers on behalf of the kernel lives in ``asyncirq.irqchip``.

Everything is plain ``def``, because a signal takes no CPU time of its own; the exceptions are the CPU (``cpu.py``,
``exception.py``, ``execute.py``) and the ``run()``
of a controller with a bus in front of it (``ioapic.py``), which are tasks in virtual time.

A controller file reads from top to bottom in the order in which a signal is handled: *decide* (what would be sent),
*recompute* (the one function that derives the output), *inputs* (what may change the state), *acknowledge* (the CPU's
answer), *bus* (registers, and what others may ask). Every input ends in recompute; an output is assigned nowhere else.

| file | chip |
| --- | --- |
| ``line.py`` | a wire: edges and levels, several drivers |
| ``msi.py``, ``msix.py`` | a memory write that is an interrupt; the tables of a function that writes it |
| ``apic_message.py``, ``apic_bus.py`` | what travels between APICs, and who gets it |
| ``ioapic.py``, ``ioapic_regs.py`` | from a pin to a message |
| ``i8259.py``, ``i8259_pair.py`` | from sixteen lines to a vector, before there were APICs |
| ``i8254.py`` | the PC's interval timer |
| ``lapic.py``, ``lapic_front.py`` | from a message to a vector for one CPU: IRR, ISR, EOI, IPIs; priorities, INTR, INTA |
| ``pins.py`` | what a CPU asks of any front end of an interrupt controller |
| ``lapic_lvt.py``, ``lapic_timer.py`` | the sources of one CPU: timer, error, thermal, LINT pins |
| ``lapic_icr.py``, ``lapic_startup.py`` | IPIs; INIT and SIPI |
| ``lapic_regs.py`` | the register window: memory page, x2APIC, base register |
| ``idt.py``, ``gate.py`` | from a vector to a gate; the gates in memory |
| ``pt_regs.py`` | what an entry leaves on the stack |
| ``trapnr.py``, ``segment.py``, ``system_regs.py`` | exceptions by number; the GDT; CR2 and the debug registers |
| ``gic/`` | Arm's interrupt controllers |
| ``arch_timer.py`` | Arm's timer: a counter, and a level for each CPU |
| ``cpu.py`` | where the interrupt is taken |
| ``exception.py`` | how an exception is delivered, and what becomes of two |
| ``insn.py``, ``execute.py`` | programs of instructions, interrupted at their boundaries |
"""
