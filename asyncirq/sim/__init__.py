"""Step cooperative contexts through virtual time; this room does not know what an interrupt is.

``Engine`` holds the clock, the heap and the front queue; a ``Context`` is a parked coroutine, a ``Timer`` a plain
function with a due time, a ``Word`` what one waits on without a due time. An ``Executor`` gives turns, natively or as
tasks of the host's loop; the ``Driver`` runs slices inside the user's program, delivers what host tasks ``post`` and
paces a live run. Decisions go through one tape (``choice``), draws through named streams (``stream``).
"""

from asyncirq.sim.choice import Choice, Policy, Scripted, Seeded
from asyncirq.sim.context import Context, Timer
from asyncirq.sim.driver import Driver, ExecutorName
from asyncirq.sim.engine import FOREVER, Engine
from asyncirq.sim.inbox import Arrival, Inbox
from asyncirq.sim.stacks import Frame, await_stack, describe
from asyncirq.sim.stream import Stream
from asyncirq.sim.word import Condition, Flag, Word

__all__ = [
    "FOREVER",
    "Arrival",
    "Choice",
    "Condition",
    "Context",
    "Driver",
    "Engine",
    "ExecutorName",
    "Flag",
    "Frame",
    "Inbox",
    "Policy",
    "Scripted",
    "Seeded",
    "Stream",
    "Timer",
    "Word",
    "await_stack",
    "describe",
]
