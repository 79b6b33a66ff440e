"""Record what happens as typed records, and give them away: to structlog, to files, to analysis.

A record is a ``msgspec.Struct``: a header, then the fields of its tracepoint. Where Linux has a tracepoint, its name,
field names and order are used; a Linux field that the header already has a name for is called ``target_cpu``,
``target_pid`` or ``timer_cpu``, and rendered under Linux's name. Objects (timers, work items, functions) go by their name.
Records of the silicon are ours: ``cpu`` and ``pid`` are -1 there, unless a CPU itself took part.

Causes: ``seq`` numbers the records from 1, ``cause`` is the ``seq`` of the record that led to this one, 0 for none. Every
emit method returns its ``seq``; pass it on as the cause of what follows. Interrupts have no id of their own because raises
and handler runs are not one to one: edges coalesce, levels re-assert. Walking along causes explains any latency.

The way of a record::

    Recorder.irq_handler_entry(cpu, irq, name)   one struct, one append           emitter.py, emit_*.py
    Recorder.flush()                             encode once, hash once           recorder.py
    Sink.write(batch, lines)                     memory, file, structlog          sinks.py, structlog_sink.py
    read_jsonl(path)                             the same records again           reader.py
    render_trace(records)                        as ftrace prints them            text.py, names.py
    assert_balanced(records)                     every span ends, and nests       balance.py

The digest of a run is the SHA-256 of its JSON lines; it does not depend on sinks, batches, hash seed or Python version.

To add an event: its class, with fields in Linux's order, in the ``events_*.py`` of its family and in that module's list; its
emit method in the ``emit_*.py`` of the same family (the short form with ``_put`` if it is rare); its text in ``text.py``; its
pair in ``balance.py`` if it begins or ends a span. ``tests/trace`` fails until all of them agree.
"""

from __future__ import annotations

from asyncirq.trace.balance import PAIRS, Pair, Unbalanced, assert_balanced, open_spans
from asyncirq.trace.events import RECORD_TYPES
from asyncirq.trace.names import SOFTIRQ_NAMES, CommTable, latency_flags, softirq_name
from asyncirq.trace.reader import encode_lines, read_jsonl
from asyncirq.trace.record import NO_CPU, NO_PID, Clock, CpuView, Record, tag_of
from asyncirq.trace.recorder import Recorder
from asyncirq.trace.sinks import FileSink, MemorySink, Sink
from asyncirq.trace.structlog_sink import Processor, Readable, StructlogSink
from asyncirq.trace.text import MICROSECONDS, NANOSECONDS, event_text, render, render_trace

__all__ = [
    "MICROSECONDS",
    "NANOSECONDS",
    "NO_CPU",
    "NO_PID",
    "PAIRS",
    "RECORD_TYPES",
    "SOFTIRQ_NAMES",
    "Clock",
    "CommTable",
    "CpuView",
    "FileSink",
    "MemorySink",
    "Pair",
    "Processor",
    "Readable",
    "Record",
    "Recorder",
    "Sink",
    "StructlogSink",
    "Unbalanced",
    "assert_balanced",
    "encode_lines",
    "event_text",
    "latency_flags",
    "open_spans",
    "read_jsonl",
    "render",
    "render_trace",
    "softirq_name",
    "tag_of",
]
