"""Name the captured kernels and the model's configuration of each."""

from __future__ import annotations

from typing import Final, NamedTuple

from asyncirq.config import KernelConfig, preset


class Kernel(NamedTuple):
    """One capture: its name, the model's kernel, the CPUs of its machine."""

    capture: str
    config: KernelConfig
    cpus: int = 1


# The last kernel's own report of its preemption model is "full (lazy) laziest": it was built with the choice and booted lazy.
KERNELS: Final = (
    Kernel("L-61-stock", preset("linux-6.1")),
    Kernel("L-61-stock-smp2", preset("linux-6.1"), 2),
    Kernel("L-61-threadirqs", preset("linux-6.1", threadirqs=True)),
    Kernel("L-61-rt", preset("linux-6.1", rt=True)),
    Kernel("L-61-rt-icount", preset("linux-6.1", rt=True)),
    Kernel("L-612-stock", preset("linux-6.12")),
    Kernel("L-612-rt", preset("linux-6.12", rt=True, lazy_preemption=True)),
)
