"""Model Arm's interrupt controllers: GICv3 with its ITS, and GICv2.

| file | what |
| --- | --- |
| ``interrupt.py`` | one interrupt: inactive, pending, active, active and pending |
| ``bank.py`` | the registers that 32, 16 or 4 interrupts share |
| ``distributor.py`` | shared interrupts: routing, group enables, messages to SPIs |
| ``redistributor.py`` | one for each PE: SGIs, PPIs, sleep |
| ``lpi.py`` | LPIs of one redistributor: configuration and pending tables in memory |
| ``cpu_interface.py`` | priorities, acknowledge, end, deactivate: the system registers of one PE |
| ``its.py``, ``its_command.py``, ``its_table.py`` | from a device's event to an LPI |
| ``gicv2.py`` | the older controller: targets in the distributor, a CPU interface in memory |
| ``pe.py`` | what a CPU sees of all this: is an exception due, and which |
| ``wires.py`` | wires into the distributor, with the time that a change takes |
| ``common.py``, ``memory.py``, ``regs.py`` | what they share; memory for tables; numbers |

A change ends in ``GicInterrupt.update``, which moves the interrupt onto or off the list of the CPU interfaces that may take
it, and there in ``CpuInterface.recompute``, which derives the outputs. The lower the number of a priority, the more urgent.

Left out: virtual interrupts (GICv4), and power domains beyond the redistributor's own sleep.
"""
