"""Refuse every request that Linux refuses: its errno, its words, and not a bit of the line changed.

The snapshot holds everything that the kernel and the hardware keep for the machine's lines: all descriptors, actions and
``IrqData``, the vectors and their matrix, the IO-APIC's entries, what the recording chip was asked, and the irq threads.
Each case is tried at boot and from a running task.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from errno import EACCES, EBUSY, EEXIST, EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, ENOTCONN, ENXIO, errorcode
from typing import Any, Final, NamedTuple

import pytest

from asyncirq import IRQ_HANDLED, Cpu, KernelBug, Task, UsageError
from asyncirq.irq.chip import IRQCHIP_STATE_PENDING, IRQCHIP_SUPPORTS_NMI
from asyncirq.irq.desc import (
    IRQ_NOTCONNECTED,
    IRQF_COND_ONESHOT,
    IRQF_COND_SUSPEND,
    IRQF_IRQPOLL,
    IRQF_NO_AUTOEN,
    IRQF_NO_SUSPEND,
    IRQF_NOBALANCING,
    IRQF_ONESHOT,
    IRQF_PERCPU,
    IRQF_PROBE_SHARED,
    IRQF_SHARED,
    IRQF_TRIGGER_FALLING,
    IRQF_TRIGGER_HIGH,
    IRQF_TRIGGER_LOW,
    IRQF_TRIGGER_RISING,
    IrqAction,
    IrqData,
    IrqDesc,
)
from asyncirq.irq.devres import DeviceIrqs
from asyncirq.irq.domain import IrqDomain
from asyncirq.irq.flow import handle_edge_irq, handle_fasteoi_nmi, handle_level_irq, handle_percpu_devid_irq, handle_simple_irq
from asyncirq.irq.proc import write_irq_file
from asyncirq.irq.sim_chip import IrqSim
from tests.irq.harness import Rig, boot, close_rigs  # noqa: F401
from tests.irqchip.chips import Chips, Device

CPUS: Final = 2
SETTLED: Final = 1000
"""When the threads of the old handlers sleep."""
Attempt = Callable[[Task | None], Coroutine[Any, Any, Any]]


# --- the snapshot


def slots(thing: object) -> dict[str, Any]:
    """Return every slot of an object that is set, those of its base classes too."""
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def of_action(action: IrqAction | None) -> dict[str, Any] | None:
    if action is None:
        return None
    return slots(action) | {"next": of_action(action.next), "secondary": of_action(action.secondary)}


def of_data(data: IrqData | None) -> dict[str, Any] | None:
    if data is None:
        return None
    return slots(data) | {"parent": of_data(data.parent), "chip_data": slots(data.chip_data) or repr(data.chip_data)}


def of_desc(desc: IrqDesc) -> dict[str, Any]:
    lists = {"kstat_irqs": list(desc.kstat_irqs), "thread_waiters": list(desc.thread_waiters)}
    return slots(desc) | lists | {"action": of_action(desc.action), "data": of_data(desc.data)}


def snapshot(rig: Chips) -> dict[str, Any]:
    """Return everything that a request could change, piece by piece so that a difference has a name."""
    found: dict[str, Any] = {f"irq {desc.irq}": of_desc(desc) for desc in rig.core.all_descs()}
    for desc in rig.core.all_descs():
        if isinstance(desc.chip, IrqSim):
            # A chip that is to refuse a trigger must be asked for it.
            calls = [call for call in desc.chip.calls if call[0] != "set_type"]
            found[f"chip of irq {desc.irq}"] = (calls, slots(desc.chip) | vars(desc.chip) | {"calls": None})
    found["vectors"] = [list(row) for row in rig.vectors.vector_irq]
    matrix = rig.vectors.matrix
    found["matrix"] = [slots(per_cpu) or dict(vars(per_cpu)) for per_cpu in matrix.maps]
    found["reserved"] = (matrix.global_reserved, matrix.global_available, matrix.total_allocated)
    found["pins"] = [(pin.low, pin.dest, pin.remote_irr) for pin in rig.ioapic.pins]
    found["threads"] = sorted(task.comm for task in rig.sched.tasks.values() if task.comm.startswith("irq/"))
    found["resend"] = list(rig.core.resend_list)
    found["default affinity"] = (rig.core.default_affinity, rig.core.online_mask)
    return found


def test_snapshot_sees_every_part() -> None:
    changes: list[Callable[[Chips, IrqDesc], None]] = [
        lambda rig, desc: setattr(desc, "depth", 7),
        lambda rig, desc: setattr(desc, "trigger_set", not desc.trigger_set),
        lambda rig, desc: desc.kstat_irqs.__setitem__(1, 5),
        lambda rig, desc: setattr(desc.actions()[0], "flags", 1),
        lambda rig, desc: setattr(desc.actions()[-1], "next", IrqAction(desc.irq, rig.handler(), None, 0, "more", None)),
        lambda rig, desc: setattr(desc.data, "hwirq", 99),
        lambda rig, desc: setattr(rig.vector_of(desc.irq), "cleanup", True),
        lambda rig, desc: rig.vectors.vector_irq[1].__setitem__(0x50, desc),
        lambda rig, desc: rig.vectors.matrix.reserve(),
        lambda rig, desc: setattr(rig.ioapic.pins[0], "low", 0),
        lambda rig, desc: rig.core.resend_list.append(desc),
        lambda rig, desc: setattr(rig.core, "online_mask", 1),
    ]
    for change in changes:
        rig = Chips(cpus=CPUS)
        irq, _ = rig.pin(9, level=True)
        boot(rig.core.request_irq(None, irq, rig.handler(), 0, "nic"))
        before = snapshot(rig)
        assert snapshot(rig) == before
        change(rig, rig.core.desc(irq))
        assert snapshot(rig) != before


# --- the cases


class Case(NamedTuple):
    """What is tried, what it raises (0: nothing is raised, Linux only warns), the exception's words, the kernel's."""

    name: str
    prepare: Callable[[Chips], Attempt]
    errno: int
    message: str
    said: tuple[str, ...] = ()


CASES: Final[list[Case]] = []


def refused(errno: int, message: str, *said: str) -> Callable[[Callable[[Chips], Attempt]], Callable[[Chips], Attempt]]:
    """Enter a case into the table: its function prepares a machine and returns what is to be refused."""

    def enter(prepare: Callable[[Chips], Attempt]) -> Callable[[Chips], Attempt]:
        CASES.append(Case(prepare.__name__, prepare, errno, message, said))
        return prepare

    return enter


def request(rig: Chips, irq: int, flags: int = 0, dev_id: object = None, name: str = "new") -> Attempt:
    return lambda task: rig.core.request_irq(task, irq, rig.handler(), flags, name, dev_id)


def threaded(rig: Rig, irq: int, handler: bool, thread_fn: bool, flags: int, dev_id: object = None) -> Attempt:
    first = rig.handler() if handler else None
    second = rig.thread_fn() if thread_fn else None
    return lambda task: rig.core.request_threaded_irq(task, irq, first, second, flags, "new", dev_id)


def sim(rig: Rig, *also: str, flags: int = 0) -> IrqDesc:
    """Make a line on a recording chip: irq 16 where nothing else is there."""
    desc, _ = rig.line(handle_level_irq, IrqSim(also=also, flags=flags))
    return desc


def held(rig: Rig, flags: int, *also: str) -> IrqDesc:
    """Make a line that ``old`` holds already."""
    desc = sim(rig, *also)
    rig.request(desc, rig.handler(), rig.thread_fn() if flags & IRQF_ONESHOT else None, flags, "old", "old")
    return desc


# request_irq and request_threaded_irq: the arguments


@refused(EINVAL, "irq 99 has no descriptor")
def request_of_an_unknown_irq(rig: Chips) -> Attempt:
    return request(rig, 99)


@refused(ENOSYS, "irq 16 has no controller")
def request_without_a_controller(rig: Chips) -> Attempt:
    return request(rig, rig.core.alloc_desc().irq)


@refused(EINVAL, "irq 16: a shared handler (new) needs a dev_id")
def shared_without_a_dev_id(rig: Chips) -> Attempt:
    return request(rig, sim(rig).irq, IRQF_SHARED)


@refused(EINVAL, "irq 16: new cannot be both SHARED and NO_AUTOEN")
def shared_and_not_enabled(rig: Chips) -> Attempt:
    return request(rig, sim(rig).irq, IRQF_SHARED | IRQF_NO_AUTOEN, "new")


@refused(EINVAL, "irq 16: new: COND_SUSPEND needs SHARED without NO_SUSPEND")
def cond_suspend_alone(rig: Chips) -> Attempt:
    return request(rig, sim(rig).irq, IRQF_COND_SUSPEND)


@refused(EINVAL, "irq 16: new: COND_SUSPEND needs SHARED without NO_SUSPEND")
def cond_suspend_and_no_suspend(rig: Chips) -> Attempt:
    return request(rig, sim(rig).irq, IRQF_COND_SUSPEND | IRQF_SHARED | IRQF_NO_SUSPEND, "new")


@refused(EINVAL, "irq 16: new has neither a handler nor a thread function")
def neither_handler_nor_thread(rig: Chips) -> Attempt:
    return threaded(rig, sim(rig).irq, False, False, 0)


@refused(EINVAL, "irq 16 cannot be requested by new")
def chained_line(rig: Chips) -> Attempt:
    desc = sim(rig)
    rig.core.irq_set_chained_handler(desc.irq, handle_simple_irq)
    return request(rig, desc.irq)


@refused(EINVAL, "irq 16 cannot be requested by new")
def percpu_devid_line_as_an_ordinary_one(rig: Chips) -> Attempt:
    desc = sim(rig)
    rig.core.set_percpu_devid(desc.irq)
    return request(rig, desc.irq)


@refused(EINVAL, "irq 16 is nested: new needs a thread function")
def nested_without_a_thread(rig: Chips) -> Attempt:
    desc = sim(rig)
    desc.nested_thread = True
    return request(rig, desc.irq)


NO_PRIMARY = "Threaded irq requested with handler=NULL and !ONESHOT for new (irq 16)"


@refused(EINVAL, NO_PRIMARY, NO_PRIMARY)
def no_primary_and_not_oneshot(rig: Chips) -> Attempt:
    return threaded(rig, sim(rig).irq, False, True, 0)


# request_irq: what the chip says


@refused(EINVAL, "Setting trigger mode 8 for irq 16 failed", "Setting trigger mode 8 for irq 16 failed")
def trigger_that_the_chip_refuses(rig: Chips) -> Attempt:
    desc = sim(rig, "set_type")
    assert isinstance(desc.chip, IrqSim)
    desc.chip.type_error = -22
    return request(rig, desc.irq, IRQF_TRIGGER_LOW)


class Resources(IrqSim):
    """A chip that hands out what a line needs, and has ``left`` of it."""

    def __init__(self, left: int) -> None:
        super().__init__("pio")
        self.left = left

    def irq_request_resources(self, data: IrqData) -> int:
        if not self.left:
            return -EBUSY
        self.left -= 1
        return 0

    def irq_release_resources(self, data: IrqData) -> None:
        self.left += 1


NO_RESOURCES = "Failed to request resources for new (irq 16) on irqchip pio"


@refused(EBUSY, NO_RESOURCES, NO_RESOURCES)
def no_resources_left(rig: Chips) -> Attempt:
    desc, _ = rig.line(handle_level_irq, Resources(0))
    return request(rig, desc.irq)


@refused(EINVAL, NO_PRIMARY, NO_PRIMARY)
def resources_are_given_back(rig: Chips) -> Attempt:
    desc, _ = rig.line(handle_level_irq, Resources(1))
    return threaded(rig, desc.irq, False, True, 0)


@refused(ENOSPC, "irq 16 of new could not be activated")
def domain_that_cannot_activate(rig: Chips) -> Attempt:
    class Full(IrqDomain):
        def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
            return -ENOSPC

    desc = sim(rig)
    desc.data.domain = Full(rig.core, "full")
    return request(rig, desc.irq)


@refused(ENOSPC, "irq 16 of new could not be activated")
def no_vector_on_any_cpu(rig: Chips) -> Attempt:
    irq, _ = rig.device()
    for index in range(1, 2 * (0xEB - 0x20 - 1) + 1):
        other, _ = rig.device(index)
        boot(rig.core.request_irq(None, other, rig.handler()))
    return request(rig, irq)


# request_irq: the sharers


def mismatch(new: int, old: int) -> str:
    return f"Flags mismatch irq 16. {new:08x} (new) vs. {old:08x} (old)"


def sharing(name: str, old: int, new: int, *, set_type: bool = True, quiet: bool = False, shown: int | None = None) -> None:
    """Enter the case of a newcomer whose flags do not agree with those of the line's handler."""
    text = mismatch(new if shown is None else shown, old)

    def prepare(rig: Chips) -> Attempt:
        desc = held(rig, old, *(["set_type"] if set_type else []))
        return threaded(rig, desc.irq, True, bool(new & IRQF_ONESHOT), new, "new")

    CASES.append(Case(name, prepare, EBUSY, text, () if quiet else (text,)))


S = IRQF_SHARED
sharing("old_is_not_shared", 0, S)
sharing("new_is_not_shared", S, 0)
sharing("neither_is_shared", 0, 0)
sharing("other_trigger", S | IRQF_TRIGGER_RISING, S | IRQF_TRIGGER_FALLING)
sharing("edge_and_level", S | IRQF_TRIGGER_RISING, S | IRQF_TRIGGER_HIGH)
sharing("old_alone_oneshot", S | IRQF_ONESHOT, S)
sharing("new_alone_oneshot", S, S | IRQF_ONESHOT)
sharing("cond_oneshot_does_not_help_the_old_one", S | IRQF_COND_ONESHOT, S | IRQF_ONESHOT)
sharing("old_alone_percpu", S | IRQF_PERCPU, S)
sharing("new_alone_percpu", S, S | IRQF_PERCPU)
sharing("probing_is_quiet", S, S | IRQF_PROBE_SHARED | IRQF_ONESHOT, quiet=True)
sharing("trigger_that_was_never_set", S, S | IRQF_TRIGGER_HIGH | IRQF_ONESHOT, set_type=False)

NMI_SHARED = "Invalid attempt to share NMI for new (irq 16) on irqchip sim."


@refused(EINVAL, NMI_SHARED, NMI_SHARED)
def sharing_an_nmi(rig: Chips) -> Attempt:
    desc = held(rig, S)
    desc.nmi = True
    return request(rig, desc.irq, S, "new")


@refused(EBUSY, "irq 16 has 64 one-shot sharers already, new is one too many")
def sixty_fifth_oneshot_sharer(rig: Chips) -> Attempt:
    desc = sim(rig)
    for number in range(64):
        rig.request(desc, rig.handler(), rig.thread_fn(), S | IRQF_ONESHOT, f"old{number}", number)
    return threaded(rig, desc.irq, True, True, S | IRQF_ONESHOT, "new")


# per-CPU lines


def percpu_line(rig: Chips) -> IrqDesc:
    desc, _ = rig.line(handle_percpu_devid_irq, IrqSim("ppi"))
    rig.core.set_percpu_devid(desc.irq)
    return desc


def at_once(function: Callable[[], object]) -> Attempt:
    async def attempt(task: Task | None) -> object:
        return function()

    return attempt


@refused(EINVAL, "irq 99 has no descriptor")
def percpu_request_of_an_unknown_irq(rig: Chips) -> Attempt:
    return at_once(lambda: rig.core.request_percpu_irq(99, rig.handler(), "new", ["a", "b"]))


@refused(EINVAL, "irq 16 cannot be requested per CPU by new")
def percpu_request_of_an_ordinary_line(rig: Chips) -> Attempt:
    irq = sim(rig).irq
    return at_once(lambda: rig.core.request_percpu_irq(irq, rig.handler(), "new", ["a", "b"]))


@refused(EINVAL, "irq 16 cannot be requested per CPU by new")
def percpu_request_of_a_chained_line(rig: Chips) -> Attempt:
    desc = percpu_line(rig)
    desc.norequest = True
    return at_once(lambda: rig.core.request_percpu_irq(desc.irq, rig.handler(), "new", ["a", "b"]))


@refused(EINVAL, "irq 16: new needs an instance for each of 2 CPUs")
def percpu_request_with_too_few_instances(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    return at_once(lambda: rig.core.request_percpu_irq(irq, rig.handler(), "new", ["a"]))


@refused(EINVAL, "irq 16: new asks for flags 00000080; a per-CPU line takes none but IRQF_TIMER")
def percpu_request_with_flags(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    return at_once(lambda: rig.core.request_percpu_irq(irq, rig.handler(), "new", ["a", "b"], flags=IRQF_SHARED))


@refused(ENOSYS, "irq 16 has no controller")
def percpu_request_without_a_controller(rig: Chips) -> Attempt:
    desc = rig.core.alloc_desc()
    rig.core.set_percpu_devid(desc.irq)
    return at_once(lambda: rig.core.request_percpu_irq(desc.irq, rig.handler(), "new", ["a", "b"]))


OVERLAP = "Overlapping affinities for new (irq 16) on irqchip ppi."


@refused(EINVAL, OVERLAP, OVERLAP)
def percpu_actions_that_overlap(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    rig.core.request_percpu_irq(irq, rig.handler(), "old", ["a", "b"], affinity=0b10)
    return at_once(lambda: rig.core.request_percpu_irq(irq, rig.handler(), "new", ["c", "d"], affinity=0b11))


@refused(ENOSPC, "irq 16 of new could not be activated")
def percpu_domain_that_cannot_activate(rig: Chips) -> Attempt:
    desc = percpu_line(rig)

    class Full(IrqDomain):
        def activate(self, cpu: Cpu, data: IrqData, reserve: bool) -> int:
            return -ENOSPC

    desc.data.domain = Full(rig.core, "full")
    return at_once(lambda: rig.core.request_percpu_irq(desc.irq, rig.handler(), "new", ["a", "b"]))


@refused(EINVAL, "irq 16 is not a per-CPU interrupt")
def percpu_enable_of_an_ordinary_line(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return at_once(lambda: rig.core.enable_percpu_irq(rig.cpus[0], irq))


@refused(EINVAL, "irq 16 is not a per-CPU interrupt")
def percpu_disable_of_an_ordinary_line(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return at_once(lambda: rig.core.disable_percpu_irq(rig.cpus[0], irq))


@refused(EINVAL, "irq 16 is not a per-CPU interrupt")
def percpu_free_of_an_ordinary_line(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return at_once(lambda: rig.core.free_percpu_irq(irq, ["a", "b"]))


@refused(EINVAL, "irq 16 is a per-CPU interrupt")
def ordinary_free_of_a_percpu_line(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    rig.core.request_percpu_irq(irq, rig.handler(), "old", ["a", "b"])
    return lambda task: rig.core.free_irq(task, irq)


@refused(EINVAL, "irq 16 is a per-CPU interrupt")
def ordinary_enable_of_a_percpu_line(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    return lambda task: rig.core.enable_irq(task, irq)


@refused(EINVAL, "irq 16 is a per-CPU interrupt")
def ordinary_disable_of_a_percpu_line(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    return lambda task: rig.core.disable_irq(task, irq)


@refused(0, "", "percpu IRQ 16 still enabled on CPU1!")
def percpu_free_while_enabled(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    rig.core.request_percpu_irq(irq, rig.handler(), "old", ["a", "b"])
    rig.core.enable_percpu_irq(rig.cpus[1], irq)
    return at_once(lambda: rig.core.free_percpu_irq(irq, ["a", "b"]))


@refused(0, "", "Trying to free already-free IRQ 16")
def percpu_free_of_other_instances(rig: Chips) -> Attempt:
    irq = percpu_line(rig).irq
    rig.core.request_percpu_irq(irq, rig.handler(), "old", ["a", "b"])
    return at_once(lambda: rig.core.free_percpu_irq(irq, ["b", "a"]))


@refused(0, "", "Setting trigger mode 4 for irq 16 failed", "failed to set type for IRQ16")
def percpu_enable_with_a_type_that_the_chip_refuses(rig: Chips) -> Attempt:
    desc, chip = rig.line(handle_percpu_devid_irq, IrqSim("ppi", also=("set_type",)))
    rig.core.set_percpu_devid(desc.irq)
    rig.core.request_percpu_irq(desc.irq, rig.handler(), "old", ["a", "b"])
    chip.type_error = -22
    return at_once(lambda: rig.core.enable_percpu_irq(rig.cpus[0], desc.irq, IRQF_TRIGGER_HIGH))


# free, enable, disable


@refused(EINVAL, "irq 99 has no descriptor")
def free_of_an_unknown_irq(rig: Chips) -> Attempt:
    return lambda task: rig.core.free_irq(task, 99)


@refused(0, "", "Trying to free already-free IRQ 16")
def free_of_a_free_line(rig: Chips) -> Attempt:
    irq = sim(rig).irq
    return lambda task: rig.core.free_irq(task, irq, "new")


@refused(0, "", "Trying to free already-free IRQ 16")
def free_with_another_dev_id(rig: Chips) -> Attempt:
    irq = held(rig, S).irq
    return lambda task: rig.core.free_irq(task, irq, "new")


@refused(EINVAL, "irq 99 has no descriptor")
def enable_of_an_unknown_irq(rig: Chips) -> Attempt:
    return lambda task: rig.core.enable_irq(task, 99)


@refused(EINVAL, "irq 99 has no descriptor")
def disable_of_an_unknown_irq(rig: Chips) -> Attempt:
    return lambda task: rig.core.disable_irq(task, 99)


@refused(0, "", "Unbalanced enable for IRQ 16")
def unbalanced_enable(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return lambda task: rig.core.enable_irq(task, irq)


@refused(0, "", "enable_irq before setup/request_irq: irq 16")
def enable_before_the_line_has_a_controller(rig: Chips) -> Attempt:
    irq = rig.core.alloc_desc().irq
    return lambda task: rig.core.enable_irq(task, irq)


# affinity


def pin(rig: Chips) -> int:
    irq, _ = rig.pin(9, level=True)
    boot(rig.core.request_irq(None, irq, rig.handler(), 0, "old"))
    return irq


def move(rig: Chips, irq: int, mask: int) -> Attempt:
    return lambda task: rig.core.irq_set_affinity(task, irq, mask)


def write(rig: Chips, irq: int, file: str, text: str) -> Attempt:
    return lambda task: write_irq_file(rig.core, task, irq, file, text)


@refused(EINVAL, "irq 99 has no descriptor")
def affinity_of_an_unknown_irq(rig: Chips) -> Attempt:
    return move(rig, 99, 1)


@refused(EINVAL, "irq 16: affinity 0x0 names no online CPU")
def empty_affinity(rig: Chips) -> Attempt:
    return move(rig, pin(rig), 0)


@refused(EINVAL, "irq 16: affinity 0x4 names no online CPU")
def affinity_to_a_cpu_that_is_not_there(rig: Chips) -> Attempt:
    return move(rig, pin(rig), 0b100)


@refused(EINVAL, "irq 16: affinity 0x2 names no online CPU")
def affinity_to_a_cpu_that_is_offline(rig: Chips) -> Attempt:
    irq = pin(rig)
    rig.core.online_mask = 0b01
    return move(rig, irq, 0b10)


@refused(EINVAL, "irq 16 cannot be moved")
def affinity_of_a_percpu_line(rig: Chips) -> Attempt:
    return move(rig, percpu_line(rig).irq, 0b10)


@refused(EINVAL, "irq 16 could not be moved to 0x2")
def affinity_that_the_chip_does_not_have(rig: Chips) -> Attempt:
    return move(rig, held(rig, 0).irq, 0b10)


@refused(EIO, "irq 16 could not be moved to 0x2")
def affinity_that_the_chip_refuses(rig: Chips) -> Attempt:
    class Refusing(IrqSim):
        def irq_set_affinity(self, cpu: Cpu, data: IrqData, mask: int, force: bool) -> int:
            return -EIO

    desc, _ = rig.line(handle_edge_irq, Refusing(also=("set_affinity",)))
    rig.request(desc, rig.handler())
    return move(rig, desc.irq, 0b10)


@refused(ENOSPC, "irq 16 could not be moved to 0x1")
def affinity_to_a_cpu_without_a_vector(rig: Chips) -> Attempt:
    irq, _ = rig.device()
    desc = rig.core.desc(irq)
    desc.affinity, desc.affinity_set = 0b10, True
    boot(rig.core.request_irq(None, irq, rig.handler()))
    for index in range(1, 0xEB - 0x20):
        other, _ = rig.device(index)
        rig.core.desc(other).affinity, rig.core.desc(other).affinity_set = 0b01, True
        boot(rig.core.request_irq(None, other, rig.handler()))
    # Only a line that does not wait for its next interrupt can tell at once.
    desc.started = False
    return move(rig, irq, 0b01)


@refused(EINVAL, "'what' is no CPU mask")
def proc_mask_that_is_none(rig: Chips) -> Attempt:
    return write(rig, pin(rig), "smp_affinity", "what")


@refused(EINVAL, "'0-x' is no CPU list")
def proc_list_that_is_none(rig: Chips) -> Attempt:
    return write(rig, pin(rig), "smp_affinity_list", "0-x")


@refused(EINVAL, "irq 16: affinity 0x4 names no online CPU")
def proc_mask_of_a_cpu_that_is_not_there(rig: Chips) -> Attempt:
    return write(rig, pin(rig), "smp_affinity", "4")


@refused(EACCES, "/proc/irq/16/effective_affinity cannot be written")
def proc_file_that_is_read_only(rig: Chips) -> Attempt:
    return write(rig, pin(rig), "effective_affinity", "1")


@refused(EIO, "irq 16 cannot be moved")
def proc_mask_of_a_managed_line(rig: Chips) -> Attempt:
    irq = pin(rig)
    rig.core.desc(irq).managed = True
    return write(rig, irq, "smp_affinity", "2")


@refused(EIO, "irq 16 cannot be moved")
def proc_mask_of_a_percpu_line(rig: Chips) -> Attempt:
    return write(rig, held(rig, IRQF_PERCPU, "set_affinity").irq, "smp_affinity", "2")


@refused(EIO, "irq 16 cannot be moved")
def proc_mask_of_a_line_that_is_not_balanced(rig: Chips) -> Attempt:
    return write(rig, held(rig, IRQF_NOBALANCING, "set_affinity").irq, "smp_affinity", "2")


# descriptors and domains


@refused(EEXIST, "irq 16 has a descriptor already")
def descriptor_that_is_taken(rig: Chips) -> Attempt:
    irq = pin(rig)
    return at_once(lambda: rig.core.alloc_desc(irq))


@refused(EBUSY, "irq 16 is still in use by old")
def descriptor_in_use(rig: Chips) -> Attempt:
    irq = pin(rig)
    return at_once(lambda: rig.core.free_desc(irq))


@refused(EBUSY, "irq 16 is still in use by old")
def mapping_in_use(rig: Chips) -> Attempt:
    irq = pin(rig)
    return at_once(lambda: rig.pins.dispose_mapping(irq))


@refused(EINVAL, "irq 16 is not mapped in domain PCI-MSI")
def mapping_of_another_domain(rig: Chips) -> Attempt:
    irq, _ = rig.pin(9, level=True)
    return at_once(lambda: rig.msi.dispose_mapping(irq))


@refused(EINVAL, "hwirq 24 is not in domain IO-APIC-0 (0..23)")
def hwirq_that_is_not_there(rig: Chips) -> Attempt:
    return at_once(lambda: rig.pins.create_mapping(24))


@refused(0, "pin 3 of IO-APIC-0 needs a PinConfig, not 'high'")
def pin_without_a_configuration(rig: Chips) -> Attempt:
    return at_once(lambda: rig.pins.create_mapping(3, arg="high"))


# request_any_context_irq


@refused(ENOTCONN, "the interrupt of new is not connected")
def request_of_a_device_without_an_interrupt(rig: Chips) -> Attempt:
    return request(rig, IRQ_NOTCONNECTED)


@refused(ENOTCONN, "the interrupt of new is not connected")
def any_context_request_of_a_device_without_an_interrupt(rig: Chips) -> Attempt:
    return any_context(rig, IRQ_NOTCONNECTED)


def any_context(rig: Chips, irq: int, flags: int = 0, dev_id: object = None) -> Attempt:
    return lambda task: rig.core.request_any_context_irq(task, irq, rig.handler(), flags, "new", dev_id)


@refused(EINVAL, "irq 99 has no descriptor")
def any_context_request_of_an_unknown_irq(rig: Chips) -> Attempt:
    return any_context(rig, 99)


@refused(ENOSYS, "irq 16 has no controller")
def any_context_request_without_a_controller(rig: Chips) -> Attempt:
    return any_context(rig, rig.core.alloc_desc().irq)


@refused(EBUSY, "Flags mismatch irq 16. 00000000 (new) vs. 00000080 (old)", "Flags mismatch irq 16. 00000000 (new) vs. 00000080 (old)")
def any_context_request_of_a_line_that_is_held(rig: Chips) -> Attempt:
    return any_context(rig, held(rig, S).irq)


@refused(EINVAL, "irq 16: a shared handler (new) needs a dev_id")
def any_context_request_of_a_nested_line_without_a_dev_id(rig: Chips) -> Attempt:
    desc = sim(rig)
    desc.nested_thread = True
    return any_context(rig, desc.irq, S)


# non-maskable lines


NMI_FLAGS: Final = IRQF_PERCPU | IRQF_NO_AUTOEN


def nmi_line(rig: Rig, *also: str, supported: bool = True) -> IrqDesc:
    """Make a line that can be an NMI."""
    return rig.line(handle_fasteoi_nmi, IrqSim(flags=IRQCHIP_SUPPORTS_NMI if supported else 0, also=("nmi_setup", *also)))[0]


def nmi(rig: Rig, irq: int, flags: int = NMI_FLAGS) -> Attempt:
    return at_once(lambda: rig.core.request_nmi(irq, rig.handler(), flags, "new", "id"))


@refused(ENOTCONN, "the interrupt of new is not connected")
def nmi_of_a_device_without_an_interrupt(rig: Chips) -> Attempt:
    return nmi(rig, IRQ_NOTCONNECTED)


@refused(EINVAL, "irq 99 has no descriptor")
def nmi_of_an_unknown_irq(rig: Chips) -> Attempt:
    return nmi(rig, 99)


def bad_nmi_flags(name: str, flags: int) -> None:
    """Enter the case of an NMI that asks for flags which it cannot have."""
    text = f"irq 16: new asks for flags {flags:08x}, which an NMI cannot have"
    CASES.append(Case(name, lambda rig: nmi(rig, nmi_line(rig).irq, flags), EINVAL, text))


bad_nmi_flags("nmi_that_is_not_percpu", IRQF_NO_AUTOEN)
bad_nmi_flags("nmi_that_is_shared", NMI_FLAGS | IRQF_SHARED)
bad_nmi_flags("nmi_that_goes_along_with_a_suspend", NMI_FLAGS | IRQF_COND_SUSPEND)
bad_nmi_flags("nmi_that_is_polled", NMI_FLAGS | IRQF_IRQPOLL)


@refused(EINVAL, "irq 16 cannot be an NMI of new")
def nmi_that_starts_by_itself(rig: Chips) -> Attempt:
    return nmi(rig, nmi_line(rig).irq, IRQF_PERCPU)


@refused(EINVAL, "irq 16 cannot be an NMI of new")
def nmi_of_a_chained_line(rig: Chips) -> Attempt:
    desc = nmi_line(rig)
    desc.norequest = True
    return nmi(rig, desc.irq)


@refused(EINVAL, "irq 16 cannot be an NMI of new")
def nmi_of_a_percpu_devid_line(rig: Chips) -> Attempt:
    desc = nmi_line(rig)
    rig.core.set_percpu_devid(desc.irq)
    return nmi(rig, desc.irq)


@refused(EINVAL, "irq 16 cannot be an NMI of new")
def nmi_that_the_controller_does_not_have(rig: Chips) -> Attempt:
    return nmi(rig, nmi_line(rig, supported=False).irq)


@refused(EINVAL, "irq 16 cannot be an NMI of new")
def nmi_behind_a_slow_bus(rig: Chips) -> Attempt:
    return nmi(rig, nmi_line(rig, "bus_lock").irq)


@refused(EINVAL, "irq 16 cannot be an NMI of new")
def nmi_behind_another_controller(rig: Chips) -> Attempt:
    irq, _ = rig.pin(9, level=True)
    return nmi(rig, irq)


NMI_MISMATCH: Final = "Flags mismatch irq 16. 00090c00 (new) vs. 00000000 (old)"


@refused(EBUSY, NMI_MISMATCH, NMI_MISMATCH)
def nmi_of_a_line_that_is_held(rig: Chips) -> Attempt:
    desc = nmi_line(rig)
    rig.request(desc, rig.handler(), None, 0, "old")
    return nmi(rig, desc.irq)


@refused(EINVAL, NMI_SHARED, NMI_SHARED)
def second_nmi_of_a_line(rig: Chips) -> Attempt:
    desc = nmi_line(rig)
    rig.core.request_nmi(desc.irq, rig.handler(), NMI_FLAGS, "old")
    return nmi(rig, desc.irq)


@refused(0, "")
def nmi_free_of_an_ordinary_line(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return at_once(lambda: rig.core.free_nmi(irq, "old"))


@refused(EINVAL, "irq 99 has no descriptor")
def nmi_free_of_an_unknown_irq(rig: Chips) -> Attempt:
    return at_once(lambda: rig.core.free_nmi(99))


# wake-up, and what the chip can be asked


def wake(rig: Chips, irq: int, on: bool = True) -> Attempt:
    return lambda task: rig.core.irq_set_irq_wake(task, irq, on)


@refused(EINVAL, "irq 99 has no descriptor")
def wake_of_an_unknown_irq(rig: Chips) -> Attempt:
    return wake(rig, 99)


@refused(ENXIO, "irq 16 cannot wake the machine")
def wake_that_the_chip_does_not_have(rig: Chips) -> Attempt:
    return wake(rig, held(rig, 0).irq)


@refused(EINVAL, "irq 16 cannot wake the machine")
def wake_by_an_nmi(rig: Chips) -> Attempt:
    desc = nmi_line(rig, "set_wake")
    rig.core.request_nmi(desc.irq, rig.handler(), NMI_FLAGS, "old")
    return wake(rig, desc.irq)


@refused(EINVAL, "irq 16 is a per-CPU interrupt")
def wake_by_a_percpu_line(rig: Chips) -> Attempt:
    return wake(rig, percpu_line(rig).irq)


@refused(0, "", "Unbalanced IRQ 16 wake disable")
def unbalanced_wake_disable(rig: Chips) -> Attempt:
    return wake(rig, held(rig, 0, "set_wake").irq, False)


@refused(EINVAL, "irq 16: no controller can tell state 0")
def state_that_no_chip_can_tell(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return at_once(lambda: rig.core.irq_get_irqchip_state(rig.cpus[0], irq, IRQCHIP_STATE_PENDING))


@refused(EINVAL, "irq 16: state 0 could not be set")
def state_that_no_chip_can_set(rig: Chips) -> Attempt:
    irq = held(rig, 0).irq
    return lambda task: rig.core.irq_set_irqchip_state(task, irq, IRQCHIP_STATE_PENDING, True)


# a device's own interrupts


@refused(ENOENT, "nic does not hold irq 16")
def release_of_an_interrupt_that_the_device_does_not_hold(rig: Chips) -> Attempt:
    irq = held(rig, S).irq
    nic = DeviceIrqs(rig.core, "nic")
    return lambda task: nic.free_irq(task, irq, "old")


@refused(EBUSY, mismatch(0, S), mismatch(0, S))
def device_request_that_is_refused_is_not_released(rig: Chips) -> Attempt:
    irq = held(rig, S).irq
    nic = DeviceIrqs(rig.core, "nic")

    async def attempt(task: Task | None) -> None:
        try:
            await nic.request_irq(task, irq, rig.handler(), 0, "new")
        except UsageError:
            await nic.release_all(task)
            raise

    return attempt


# --- the test


@pytest.mark.parametrize("live", [False, True], ids=["boot", "task"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_refused_with_errno_and_words_and_nothing_changed(case: Case, live: bool) -> None:
    rig = Chips(cpus=CPUS)
    attempt = case.prepare(rig)
    caught: list[UsageError] = []
    before: list[dict[str, Any]] = []
    said = len(rig.said())

    async def body(task: Task | None) -> None:
        before.append(snapshot(rig))
        try:
            await attempt(task)
        except UsageError as error:
            caught.append(error)

    rig.play(SETTLED)
    if live:
        rig.begin(body, "main")
    else:
        boot(body(None))
        assert {key: value for key, value in snapshot(rig).items() if key != "threads" and value != before[0][key]} == {}
    rig.play(1_000_000)
    after = snapshot(rig)
    assert {key: (value, before[0][key]) for key, value in after.items() if value != before[0][key]} == {}
    if case.message:
        assert [error.errno for error in caught] == [case.errno]
        assert str(caught[0]) == case.message + (f" (-{errorcode[case.errno]})" if case.errno else "")
    else:
        assert caught == []
    assert rig.said()[said:] == list(case.said)


def test_the_line_works_after_every_refusal() -> None:
    rig = Rig(cpus=CPUS)
    desc = held(rig, S | IRQF_TRIGGER_RISING, "set_type")
    for flags in (
        0,
        IRQF_TRIGGER_RISING,
        S | IRQF_TRIGGER_FALLING,
        S | IRQF_TRIGGER_RISING | IRQF_ONESHOT,
        S | IRQF_TRIGGER_RISING | IRQF_PERCPU,
    ):
        with pytest.raises(UsageError):
            boot(threaded(rig, desc.irq, True, False, flags, "new")(None))
    rig.request(desc, rig.handler("new"), None, S | IRQF_TRIGGER_RISING, "new", "new")
    rig.fire_at(1000, desc.irq)
    rig.play(2000)
    assert rig.log == [(1000, "handler on 0"), (1000, "new on 0")]


def test_free_in_a_handler_is_a_bug() -> None:
    rig = Chips()
    irq, device = rig.device()

    async def handler(cpu: Cpu, number: int, dev_id: object) -> int:
        assert isinstance(cpu.current, Task)
        await rig.core.free_irq(cpu.current, number)
        return IRQ_HANDLED

    boot(rig.core.request_irq(None, irq, handler))
    rig.at(1000, device.fire)
    with pytest.raises(KernelBug, match=f"Trying to free IRQ {irq} from IRQ context!"):
        rig.play(2000)


def test_a_device_without_a_handler_waits_masked() -> None:
    """Refuse nothing, show the other side: a message nobody asked for goes nowhere and kills nobody."""
    rig = Chips()
    irq, device = rig.device()
    assert isinstance(device, Device)
    before = snapshot(rig)
    rig.at(1000, device.fire)
    rig.play(2000)
    assert (snapshot(rig), rig.said(), irq in rig.core.descs) == (before, [], True)
