"""Hold every policy of the modelled kernel and every size of the machine, as frozen structs.

Behaviour that differs between kernels is a named policy here, never an ``if version``. ``preset("linux-6.1",
rt=True)`` fills a ``KernelConfig``.
"""

from __future__ import annotations

from asyncirq.config.kernel import KernelConfig, Preemption
from asyncirq.config.policies import MAP_2_6, MAP_6_1, STACKS_2_6, STACKS_4_X, IdtPolicy, StackPolicy, VectorMap
from asyncirq.config.presets import preset, releases

__all__ = [
    "MAP_2_6",
    "MAP_6_1",
    "STACKS_2_6",
    "STACKS_4_X",
    "IdtPolicy",
    "KernelConfig",
    "Preemption",
    "StackPolicy",
    "VectorMap",
    "preset",
    "releases",
]
