"""Emit the records of vector allocation: x86 vector configuration and the irq matrix.

Each method builds one record, appends it and returns its ``seq``, the number that later records name as their cause.
"""

from __future__ import annotations

from asyncirq.trace.emitter import Emitter
from asyncirq.trace.events_vector import (
    IrqMatrixAlloc,
    IrqMatrixAllocManaged,
    IrqMatrixAssign,
    IrqMatrixAssignSystem,
    IrqMatrixFree,
    IrqMatrixOffline,
    IrqMatrixOnline,
    IrqMatrixRemoveManaged,
    IrqMatrixRemoveReserved,
    IrqMatrixReserve,
    IrqMatrixReserveManaged,
    VectorActivate,
    VectorAlloc,
    VectorAllocManaged,
    VectorClear,
    VectorConfig,
    VectorDeactivate,
    VectorFreeMoved,
    VectorReserve,
    VectorReserveManaged,
    VectorSetup,
    VectorTeardown,
    VectorUpdate,
)
from asyncirq.trace.record import CpuView


class VectorEmitter(Emitter):
    """Emit the records of vector allocation: x86 vector configuration and the irq matrix."""

    __slots__ = ()

    def vector_config(self, cpu: CpuView, irq: int, vector: int, target_cpu: int, apicdest: int) -> int:
        """Record that an irq got its vector, CPU and APIC destination."""
        return self._put(VectorConfig, cpu, irq, vector, target_cpu, apicdest)

    def vector_update(self, cpu: CpuView, irq: int, vector: int, target_cpu: int, prev_vector: int, prev_cpu: int) -> int:
        """Record that an irq moved from one vector to another."""
        return self._put(VectorUpdate, cpu, irq, vector, target_cpu, prev_vector, prev_cpu)

    def vector_clear(self, cpu: CpuView, irq: int, vector: int, target_cpu: int, prev_vector: int, prev_cpu: int) -> int:
        """Record that an irq gave up its vectors."""
        return self._put(VectorClear, cpu, irq, vector, target_cpu, prev_vector, prev_cpu)

    def vector_reserve(self, cpu: CpuView, irq: int, ret: int) -> int:
        """Record that a vector was reserved without being assigned."""
        return self._put(VectorReserve, cpu, irq, ret)

    def vector_reserve_managed(self, cpu: CpuView, irq: int, ret: int) -> int:
        """Record that vectors of a managed irq were reserved."""
        return self._put(VectorReserveManaged, cpu, irq, ret)

    def vector_alloc(self, cpu: CpuView, irq: int, vector: int, reserved: bool, ret: int) -> int:
        """Record that a vector was allocated (``vector`` is valid if ``ret`` is 0 or more)."""
        return self._put(VectorAlloc, cpu, irq, vector, reserved, ret)

    def vector_alloc_managed(self, cpu: CpuView, irq: int, vector: int, ret: int) -> int:
        """Record that a vector was allocated out of a managed reservation."""
        return self._put(VectorAllocManaged, cpu, irq, vector, ret)

    def vector_activate(self, cpu: CpuView, irq: int, is_managed: bool, can_reserve: bool, reserve: bool) -> int:
        """Record that an irq's vector was activated."""
        return self._put(VectorActivate, cpu, irq, is_managed, can_reserve, reserve)

    def vector_deactivate(self, cpu: CpuView, irq: int, is_managed: bool, can_reserve: bool, reserve: bool) -> int:
        """Record that an irq's vector was deactivated."""
        return self._put(VectorDeactivate, cpu, irq, is_managed, can_reserve, reserve)

    def vector_teardown(self, cpu: CpuView, irq: int, is_managed: bool, has_reserved: bool) -> int:
        """Record that an irq left the vector domain."""
        return self._put(VectorTeardown, cpu, irq, is_managed, has_reserved)

    def vector_setup(self, cpu: CpuView, irq: int, is_legacy: bool, ret: int) -> int:
        """Record that an irq entered the vector domain."""
        return self._put(VectorSetup, cpu, irq, is_legacy, ret)

    def vector_free_moved(self, cpu: CpuView, irq: int, target_cpu: int, vector: int, is_managed: bool) -> int:
        """Record that the vector that an irq moved away from was freed."""
        return self._put(VectorFreeMoved, cpu, irq, target_cpu, vector, is_managed)

    def irq_matrix_online(self, cpu: CpuView, online_maps: int, global_available: int, global_reserved: int, total_allocated: int) -> int:
        """Record that a CPU's vector map went online."""
        return self._put(IrqMatrixOnline, cpu, online_maps, global_available, global_reserved, total_allocated)

    def irq_matrix_offline(self, cpu: CpuView, online_maps: int, global_available: int, global_reserved: int, total_allocated: int) -> int:
        """Record that a CPU's vector map went offline."""
        return self._put(IrqMatrixOffline, cpu, online_maps, global_available, global_reserved, total_allocated)

    def irq_matrix_reserve(self, cpu: CpuView, online_maps: int, global_available: int, global_reserved: int, total_allocated: int) -> int:
        """Record that a global reservation was made."""
        return self._put(IrqMatrixReserve, cpu, online_maps, global_available, global_reserved, total_allocated)

    def irq_matrix_remove_reserved(
        self,
        cpu: CpuView,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a global reservation was given back."""
        return self._put(IrqMatrixRemoveReserved, cpu, online_maps, global_available, global_reserved, total_allocated)

    def irq_matrix_assign_system(
        self,
        cpu: CpuView,
        bit: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a vector was set aside for the system."""
        return self._put(IrqMatrixAssignSystem, cpu, bit, online_maps, global_available, global_reserved, total_allocated)

    def irq_matrix_reserve_managed(
        self,
        cpu: CpuView,
        bit: int,
        target_cpu: int,
        online: bool,
        available: int,
        allocated: int,
        managed: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a managed vector was reserved on a CPU."""
        return self._put(
            IrqMatrixReserveManaged,
            cpu,
            bit,
            target_cpu,
            online,
            available,
            allocated,
            managed,
            online_maps,
            global_available,
            global_reserved,
            total_allocated,
        )

    def irq_matrix_remove_managed(
        self,
        cpu: CpuView,
        bit: int,
        target_cpu: int,
        online: bool,
        available: int,
        allocated: int,
        managed: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a managed reservation was removed from a CPU."""
        return self._put(
            IrqMatrixRemoveManaged,
            cpu,
            bit,
            target_cpu,
            online,
            available,
            allocated,
            managed,
            online_maps,
            global_available,
            global_reserved,
            total_allocated,
        )

    def irq_matrix_alloc_managed(
        self,
        cpu: CpuView,
        bit: int,
        target_cpu: int,
        online: bool,
        available: int,
        allocated: int,
        managed: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a reserved managed vector was taken into use."""
        return self._put(
            IrqMatrixAllocManaged,
            cpu,
            bit,
            target_cpu,
            online,
            available,
            allocated,
            managed,
            online_maps,
            global_available,
            global_reserved,
            total_allocated,
        )

    def irq_matrix_assign(
        self,
        cpu: CpuView,
        bit: int,
        target_cpu: int,
        online: bool,
        available: int,
        allocated: int,
        managed: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a preallocated vector was assigned."""
        return self._put(
            IrqMatrixAssign,
            cpu,
            bit,
            target_cpu,
            online,
            available,
            allocated,
            managed,
            online_maps,
            global_available,
            global_reserved,
            total_allocated,
        )

    def irq_matrix_alloc(
        self,
        cpu: CpuView,
        bit: int,
        target_cpu: int,
        online: bool,
        available: int,
        allocated: int,
        managed: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a vector was allocated on a CPU."""
        return self._put(
            IrqMatrixAlloc,
            cpu,
            bit,
            target_cpu,
            online,
            available,
            allocated,
            managed,
            online_maps,
            global_available,
            global_reserved,
            total_allocated,
        )

    def irq_matrix_free(
        self,
        cpu: CpuView,
        bit: int,
        target_cpu: int,
        online: bool,
        available: int,
        allocated: int,
        managed: int,
        online_maps: int,
        global_available: int,
        global_reserved: int,
        total_allocated: int,
    ) -> int:
        """Record that a vector was freed on a CPU."""
        return self._put(
            IrqMatrixFree,
            cpu,
            bit,
            target_cpu,
            online,
            available,
            allocated,
            managed,
            online_maps,
            global_available,
            global_reserved,
            total_allocated,
        )
