"""Check a trace against automata of how the kernel must behave, as Linux's runtime verification does on a running kernel.

``automaton`` is the one engine; ``models`` holds the kernel's monitors and ``thread_model`` the rules of the thread synchronisation
model of PREEMPT_RT, all as data; ``translate`` turns trace events, our own or a real capture's, into monitor events; ``check`` runs
every monitor that a trace has the events for.

Linux: Documentation/trace/rv/, kernel/trace/rv/, tools/verification/models/.
"""

from __future__ import annotations

from asyncirq.analysis.rv.automaton import Automaton, Bound, Guard, Monitor, Violation
from asyncirq.analysis.rv.check import Checker, MonitorResult, check_capture
from asyncirq.analysis.rv.models import MONITORS
from asyncirq.analysis.rv.thread_model import RULES

__all__ = ["MONITORS", "RULES", "Automaton", "Bound", "Checker", "Guard", "Monitor", "MonitorResult", "Violation", "check_capture"]
