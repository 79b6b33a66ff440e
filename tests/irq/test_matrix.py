"""Test the vector allocator."""

from __future__ import annotations

import pytest

from asyncirq.errors import InternalError, UsageError
from asyncirq.irq.matrix import Allocation, IrqMatrix
from tests.irq.harness import Rig, close_rigs  # noqa: F401


def make(cpus: int = 2, start: int = 32, end: int = 40) -> tuple[Rig, IrqMatrix]:
    rig = Rig(cpus)
    matrix = IrqMatrix(rig.cpus, start, end, rig.trace)
    matrix.assign_system(36)
    matrix.assign_system(250)
    for cpu in range(cpus):
        matrix.online(cpu)
    return rig, matrix


def test_lowest_vector_of_the_cpu_with_most_left() -> None:
    _, matrix = make()
    assert [matrix.alloc(0b11, reserved=False) for _ in range(4)] == [(0, 32), (1, 32), (0, 33), (1, 33)]
    assert matrix.alloc(0b10, reserved=False) == Allocation(1, 34)
    assert matrix.alloc(0b11, reserved=False) == Allocation(0, 34)


def test_system_vectors_are_never_given() -> None:
    _, matrix = make(cpus=1)
    assert [matrix.alloc(1, reserved=False).bit for _ in range(7)] == [32, 33, 34, 35, 37, 38, 39]
    with pytest.raises(UsageError, match="no vector is left on CPUs 0x1") as refused:
        matrix.alloc(1, reserved=False)
    assert refused.value.errno == 28
    matrix.free(0, 34, managed=False)
    assert matrix.alloc(1, reserved=False).bit == 34


def test_system_vector_after_boot_is_our_mistake() -> None:
    _, matrix = make()
    with pytest.raises(InternalError):
        matrix.assign_system(37)


def test_reservations_only_count() -> None:
    rig, matrix = make(cpus=1)
    for _ in range(9):
        matrix.reserve()
    assert (matrix.global_reserved, matrix.global_available) == (9, 7)
    matrix.alloc(1, reserved=True)
    matrix.remove_reserved()
    assert (matrix.global_reserved, matrix.global_available, matrix.total_allocated) == (7, 6, 1)
    assert rig.events("irq_matrix_alloc")[0][3:] == (32, 0, True, 6, 1, 0, 1, 6, 8, 1)


def test_managed_vectors_stay_set_aside() -> None:
    _, matrix = make()
    matrix.reserve_managed(0b11)
    assert [cm.available for cm in matrix.maps] == [6, 6]
    assert matrix.alloc(0b01, reserved=False) == Allocation(0, 33)
    assert matrix.alloc_managed(0b11) == Allocation(0, 32)
    assert matrix.alloc_managed(0b11) == Allocation(1, 32)
    with pytest.raises(UsageError):
        matrix.alloc_managed(0b11)
    matrix.free(1, 32, managed=True)
    assert (matrix.maps[1].available, matrix.alloc_managed(0b10)) == (6, Allocation(1, 32))
    matrix.free(1, 32, managed=True)
    matrix.remove_managed(0b10)
    assert (matrix.maps[1].available, matrix.maps[1].managed_map) == (7, 0)


def test_managed_reservation_is_all_or_nothing() -> None:
    _, matrix = make()
    for _ in range(7):
        matrix.alloc(0b10, reserved=False)
    with pytest.raises(UsageError, match="no vector is left on CPU1"):
        matrix.reserve_managed(0b11)
    assert (matrix.maps[0].available, matrix.maps[0].managed_map) == (7, 0)


def test_offline_cpu_gives_nothing_and_keeps_what_it_has() -> None:
    _, matrix = make()
    matrix.alloc(0b10, reserved=False)
    matrix.offline(1)
    assert (matrix.global_available, matrix.online_maps) == (7, 1)
    assert matrix.alloc(0b11, reserved=False).cpu == 0
    with pytest.raises(UsageError):
        matrix.alloc(0b10, reserved=False)
    matrix.online(1)
    assert matrix.alloc(0b10, reserved=False) == Allocation(1, 33)


def test_freeing_what_is_free_is_our_mistake() -> None:
    _, matrix = make()
    with pytest.raises(InternalError, match="vector 32 of CPU0 is freed but was not allocated"):
        matrix.free(0, 32, managed=False)
