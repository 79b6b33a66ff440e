"""Predict another kernel configuration from one capture: run the recorded programs again, on the model itself.

A capture is cut into programs (``analysis.ops``): what each task, hard interrupt and softirq did, without the kernel
mechanisms in between. Here those programs run on a ``Machine`` under the target's rules: its interrupt core, forced
threads, softirqs, BH lock and scheduler are the model's own; nothing here decides who runs. Time is that of the recorded
code, and samples of what the capture shows the mechanisms to cost.

This room stands beside the kernel's chain, since it is the only importer of both the kernel and ``analysis``: analysis
judges a trace without knowing whether a model or a machine made it, and the kernel does not know that it replays.

| file | what |
| --- | --- |
| ``kernels.py`` | what ``--under`` names |
| ``wiring.py`` | how each line was wired: pin or message, level or edge |
| ``costs.py`` | the cost table whose values are draws from the capture |
| ``verbatim.py`` | recorded tracepoints, emitted again |
| ``bodies.py`` | recorded code in interrupt context |
| ``tasks.py`` | recorded tasks |
| ``softirqs.py`` | recorded softirq bodies: queued when raised, run when served |
| ``receive.py`` | the NIC's receive work elsewhere than in NET_RX |
| ``lines.py`` | a line: the device that raises it and the driver that serves it |
| ``clock.py`` | the local timer |
| ``arrivals.py`` | when each arrival is raised |
| ``replay.py`` | one phase on one machine |
| ``run.py`` | every phase and kernel of a capture |
| ``accuracy.py`` | the prediction against a real capture |
| ``cli.py`` | ``asyncirq whatif`` |
"""
