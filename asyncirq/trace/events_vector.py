"""Define the records of vector allocation: x86 vector configuration and the irq matrix."""

from __future__ import annotations

from asyncirq.trace.record import Record


class VectorConfig(Record, tag="vector_config"):
    """Tell that an irq got its vector, CPU and APIC destination."""

    irq: int
    vector: int
    target_cpu: int
    apicdest: int


class VectorUpdate(Record, tag="vector_update"):
    """Tell that an irq moved from one vector to another."""

    irq: int
    vector: int
    target_cpu: int
    prev_vector: int
    prev_cpu: int


class VectorClear(Record, tag="vector_clear"):
    """Tell that an irq gave up its vectors."""

    irq: int
    vector: int
    target_cpu: int
    prev_vector: int
    prev_cpu: int


class VectorReserve(Record, tag="vector_reserve"):
    """Tell that a vector was reserved without being assigned."""

    irq: int
    ret: int


class VectorReserveManaged(Record, tag="vector_reserve_managed"):
    """Tell that vectors of a managed irq were reserved."""

    irq: int
    ret: int


class VectorAlloc(Record, tag="vector_alloc"):
    """Tell that a vector was allocated (``vector`` is valid if ``ret`` is 0 or more)."""

    irq: int
    vector: int
    reserved: bool
    ret: int


class VectorAllocManaged(Record, tag="vector_alloc_managed"):
    """Tell that a vector was allocated out of a managed reservation."""

    irq: int
    vector: int
    ret: int


class VectorActivate(Record, tag="vector_activate"):
    """Tell that an irq's vector was activated."""

    irq: int
    is_managed: bool
    can_reserve: bool
    reserve: bool


class VectorDeactivate(Record, tag="vector_deactivate"):
    """Tell that an irq's vector was deactivated."""

    irq: int
    is_managed: bool
    can_reserve: bool
    reserve: bool


class VectorTeardown(Record, tag="vector_teardown"):
    """Tell that an irq left the vector domain."""

    irq: int
    is_managed: bool
    has_reserved: bool


class VectorSetup(Record, tag="vector_setup"):
    """Tell that an irq entered the vector domain."""

    irq: int
    is_legacy: bool
    ret: int


class VectorFreeMoved(Record, tag="vector_free_moved"):
    """Tell that the vector that an irq moved away from was freed."""

    irq: int
    target_cpu: int
    vector: int
    is_managed: bool


class IrqMatrixOnline(Record, tag="irq_matrix_online"):
    """Tell that a CPU's vector map went online."""

    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixOffline(Record, tag="irq_matrix_offline"):
    """Tell that a CPU's vector map went offline."""

    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixReserve(Record, tag="irq_matrix_reserve"):
    """Tell that a global reservation was made."""

    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixRemoveReserved(Record, tag="irq_matrix_remove_reserved"):
    """Tell that a global reservation was given back."""

    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixAssignSystem(Record, tag="irq_matrix_assign_system"):
    """Tell that a vector was set aside for the system."""

    bit: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixReserveManaged(Record, tag="irq_matrix_reserve_managed"):
    """Tell that a managed vector was reserved on a CPU."""

    bit: int
    target_cpu: int
    online: bool
    available: int
    allocated: int
    managed: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixRemoveManaged(Record, tag="irq_matrix_remove_managed"):
    """Tell that a managed reservation was removed from a CPU."""

    bit: int
    target_cpu: int
    online: bool
    available: int
    allocated: int
    managed: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixAllocManaged(Record, tag="irq_matrix_alloc_managed"):
    """Tell that a reserved managed vector was taken into use."""

    bit: int
    target_cpu: int
    online: bool
    available: int
    allocated: int
    managed: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixAssign(Record, tag="irq_matrix_assign"):
    """Tell that a preallocated vector was assigned."""

    bit: int
    target_cpu: int
    online: bool
    available: int
    allocated: int
    managed: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixAlloc(Record, tag="irq_matrix_alloc"):
    """Tell that a vector was allocated on a CPU."""

    bit: int
    target_cpu: int
    online: bool
    available: int
    allocated: int
    managed: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


class IrqMatrixFree(Record, tag="irq_matrix_free"):
    """Tell that a vector was freed on a CPU."""

    bit: int
    target_cpu: int
    online: bool
    available: int
    allocated: int
    managed: int
    online_maps: int
    global_available: int
    global_reserved: int
    total_allocated: int


VECTOR_RECORDS: tuple[type[Record], ...] = (
    VectorConfig,
    VectorUpdate,
    VectorClear,
    VectorReserve,
    VectorReserveManaged,
    VectorAlloc,
    VectorAllocManaged,
    VectorActivate,
    VectorDeactivate,
    VectorTeardown,
    VectorSetup,
    VectorFreeMoved,
    IrqMatrixOnline,
    IrqMatrixOffline,
    IrqMatrixReserve,
    IrqMatrixRemoveReserved,
    IrqMatrixAssignSystem,
    IrqMatrixReserveManaged,
    IrqMatrixRemoveManaged,
    IrqMatrixAllocManaged,
    IrqMatrixAssign,
    IrqMatrixAlloc,
    IrqMatrixFree,
)
"""Every record type of this module, in the order above."""
