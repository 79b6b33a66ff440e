"""Describe a machine and what happens to it in a TOML file, and run it.

::

    duration = "50 ms"

    [machine]
    cpus = 2
    kernel = "linux-6.12"
    rt = true
    policies = { hz = 1000 }

    [costs]
    rx_packet_ns = 900

    [[device]]
    type = "e1000"
    name = "eth0"
    irq = 16                         # an IO-APIC pin; "msi" is a message
    arrivals = { mean = "30 us" }

    [[thread]]
    comm = "control"
    policy = "fifo"
    prio = 80
    program = [{ run = "200 us" }, { sleep = "1 ms" }]
    repeat = true

    [trace]
    file = "out.jsonl"

``load_scenario(path)`` reads and checks it, ``await run_scenario(scenario)`` runs it. Durations are whole numbers with a
unit (ns, us, ms, s), or bare ns. Every mistake is a ``UsageError`` that names file and key.
"""

from __future__ import annotations

from asyncirq.scenario.load import Scenario, load_scenario, parse_scenario, with_seed
from asyncirq.scenario.run import Result, run_scenario, set_up

__all__ = ["Result", "Scenario", "load_scenario", "parse_scenario", "run_scenario", "set_up", "with_seed"]
