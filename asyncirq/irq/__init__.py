"""Handle interrupts without knowing the hardware: descriptors, flow handlers, actions, threads, domains.

The hardware is seen through ``IrqChip`` alone: no file here names a controller. The rooms of Linux's kernel/irq:

| file | what |
| --- | --- |
| ``chip.py`` | what the core asks of a controller |
| ``desc.py``, ``core.py`` | the descriptor of an interrupt and the table of all of them |
| ``state.py`` | mask, unmask, enable, disable, start up, shut down |
| ``flow.py`` | the flow handlers: when which chip operation is called |
| ``handle.py``, ``spurious.py``, ``poll.py`` | call the actions, judge what they return |
| ``manage.py``, ``setup.py``, ``percpu.py`` | request, free, enable, disable, synchronize |
| ``thread.py`` | threaded handlers |
| ``resend.py``, ``affinity.py``, ``cpuhotplug.py`` | lost interrupts, moving interrupts |
| ``domain.py``, ``matrix.py`` | numbers: hwirq to irq, vectors to CPUs |
| ``ipi.py`` | calls between CPUs |
| ``proc.py`` | what /proc shows |
| ``sim_chip.py`` | a chip that only records its calls |
"""
