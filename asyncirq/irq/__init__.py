"""Handle interrupts without knowing the hardware: descriptors, flow handlers, actions, threads, domains.

The hardware is seen through ``IrqChip`` alone: no file here names a controller. The rooms of Linux's kernel/irq:

| file | what |
| --- | --- |
| ``chip.py`` | what the core asks of a controller |
| ``desc.py``, ``core.py`` | the descriptor of an interrupt and the table of all of them |
| ``state.py`` | mask, unmask, enable, disable, start up, shut down |
| ``flow.py`` | the flow handlers: when which chip operation is called |
| ``handle.py``, ``spurious.py``, ``poll.py`` | call the actions, judge what they return |
| ``manage.py``, ``setup.py``, ``percpu.py``, ``nmi.py``, ``devres.py`` | request, free, enable, disable, synchronize |
| ``lines.py``, ``pm.py``, ``probe.py`` | chip states, sleep and wake-up, finding a device's line |
| ``thread.py`` | threaded handlers |
| ``resend.py``, ``affinity.py``, ``cpuhotplug.py``, ``spread.py`` | lost interrupts, moving interrupts, spreading them |
| ``do_irq.py``, ``controller.py``, ``do_irq_manage.py`` | the one flow of 2.6 and all that goes with it |
| ``domain.py``, ``matrix.py`` | numbers: hwirq to irq, vectors to CPUs |
| ``ipi.py`` | calls between CPUs |
| ``proc.py``, ``proc_dir.py``, ``snapshot.py`` | what /proc shows, pictures of descriptors |
| ``ratelimit.py`` | messages that come in storms |
| ``sim_chip.py`` | a chip that only records its calls |
"""
