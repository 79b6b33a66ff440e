"""Join the interrupt core to the silicon: which register an operation of the core writes.

The third part of Linux's split: the flow handlers (``irq/flow.py``) say when to mask, the chips here say how, the
silicon (``hw/``) does it. These are the only files that import both rooms.

| file | what |
| --- | --- |
| ``vector.py`` | the x86 vector domain: a vector of a CPU for each interrupt, moves between CPUs |
| ``ioapic.py`` | wires: level through the fasteoi flow, edges through the edge flow |
| ``msi.py`` | messages: the edge flow |
| ``i8259.py`` | the sixteen legacy lines: the level flow, mask and EOI first |
| ``vector_code.py`` | how the entry stubs of each kernel pass the vector |
| ``gic_common.py``, ``gic_chip.py``, ``gic_driver.py`` | what both GICs share: all lines through the fasteoi or the per-CPU flow |
| ``gic_v3.py``, ``gic.py`` | GICv3, GICv2: root handlers, CPU set-up, cascades |
| ``gic_v2m.py`` | messages to a GICv2 |
| ``its.py`` | messages to an ITS |
| ``lapic.py`` | the local APIC of each CPU: set up, EOI, inter-processor interrupts |
"""
