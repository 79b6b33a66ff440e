"""Spread the interrupts of a device with many queues over the CPUs, once, for good.

Linux: kernel/irq/affinity.c, lib/group_cpus.c. Model: one memory node without hyper-threads, every CPU present.
"""

from __future__ import annotations

from typing import NamedTuple

from asyncirq.errors import UsageError


class AffinityDesc(NamedTuple):
    """Where one interrupt goes: the mask of its CPUs, and whether the kernel alone decides that (``managed``)."""

    mask: int
    managed: bool


def calc_affinity_vectors(minimum: int, maximum: int, cpus: int, pre: int = 0, post: int = 0) -> int:
    """Return how many interrupts are worth having: one for each CPU at most, beside ``pre`` and ``post`` others; 0 below ``minimum``.

    Linux: irq_calc_affinity_vectors().
    """
    reserved = pre + post
    if reserved > minimum:
        return 0
    return reserved + min(cpus, maximum - reserved)


def create_affinity_masks(vectors: int, cpus: int, default: int, pre: int = 0, post: int = 0) -> list[AffinityDesc]:
    """Return where each of ``vectors`` interrupts goes: the first ``pre`` and last ``post`` to ``default``, the rest spread.

    The CPUs are cut into runs as equal as can be, the longer ones first. Raises ``UsageError`` EINVAL for more fixed ones than
    there are. Linux: irq_create_affinity_masks().
    """
    spread = vectors - pre - post
    if spread < 0:
        raise UsageError(f"{vectors} interrupts cannot hold {pre} + {post} that are not spread", 22)
    masks = [AffinityDesc(default, False)] * pre
    groups = min(spread, cpus)
    first = 0
    for group in range(groups):
        length = cpus // groups + (1 if group < cpus % groups else 0)
        masks.append(AffinityDesc((1 << length) - 1 << first, True))
        first += length
    return masks + [AffinityDesc(default, False)] * (vectors - len(masks))
