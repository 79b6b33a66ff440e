from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import anyio
import msgspec
import pytest

from asyncirq import Machine, MemorySink, Record, UsageError, preset, read_jsonl
from asyncirq.analysis.latency import measure
from asyncirq.analysis.model import capture_from_records
from asyncirq.scenario import Result, Scenario, load_scenario, parse_scenario, run_scenario, set_up, with_seed
from asyncirq.scenario.file import parse_duration
from asyncirq.trace import assert_balanced, tag_of
from tests.conftest import HostRun

FOLDER = Path(__file__).parent / "scenarios"
SCENARIOS = sorted(path.name for path in FOLDER.glob("*.toml"))
EMPTY = 'duration = "1 ms"\n'


def run(text: str) -> Result:
    return asyncio.run(run_scenario(parse_scenario(text, "s.toml")))


def ran(result: Result, event: str) -> list[tuple[int, int]]:
    """Return (time, pid) of an event's records."""
    return [(record.ts, record.pid) for record in result.records if tag_of(type(record)) == event]


# --- the examples


def test_there_are_examples() -> None:
    assert SCENARIOS == ["nic_softirq.toml", "rt_control.toml"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_example_runs_to_its_end_with_one_digest_everywhere(name: str, host_run: HostRun) -> None:
    scenario = load_scenario(FOLDER / name)
    machine = msgspec.structs.replace(scenario.file.machine, executor="anyio")
    hosted = msgspec.structs.replace(scenario, file=msgspec.structs.replace(scenario.file, machine=machine))
    first = host_run(run_scenario, scenario)
    second = host_run(run_scenario, hosted)
    assert (first.now, first.interrupted) == (scenario.file.duration, False)
    assert first.digest == second.digest
    assert first.counters == second.counters
    assert_balanced(first.records, rt=scenario.kernel.rt)


def test_nic_example() -> None:
    result = asyncio.run(run_scenario(load_scenario(FOLDER / "nic_softirq.toml")))
    counters = result.counters["eth0"]
    assert (counters["rx_packets"], counters["tx_packets"], counters["missed"]) == (300, 300, 0)
    assert counters["interrupts"] == counters["raises"] == len(ran(result, "irq_handler_entry"))
    # The throttle: never two interrupts within 128 us.
    raises = [when for when, _ in ran(result, "device_raise")]
    assert min(later - earlier for earlier, later in pairwise(raises)) == 128_000
    quantities = measure(capture_from_records(result.records, result.scenario)).pooled.quantities
    assert "entry_to_NET_RX:eth0" in quantities


def test_rt_example() -> None:
    result = asyncio.run(run_scenario(load_scenario(FOLDER / "rt_control.toml")))
    assert result.counters == {
        "adc": {"ticks": 56, "interrupts": 55, "empty": 0, "runs": 55},
        "smi": {"events": 2, "interrupts": 2, "empty": 0},
    }
    lines = [line.split() for line in result.interrupts.splitlines()]
    assert [line[:3] for line in lines if line[-1] in ("adc", "smi")] == [["16:", "0", "55"], ["17:", "0", "2"]]


# --- decoding


def test_defaults() -> None:
    scenario = parse_scenario(EMPTY)
    assert scenario.kernel == preset("linux-6.12")
    assert (scenario.file.duration, scenario.file.machine.cpus, scenario.file.device, scenario.file.thread) == (1_000_000, 1, [], [])


def test_kernel_and_costs() -> None:
    scenario = parse_scenario(EMPTY + '[machine]\nkernel = "linux-6.1"\nrt = true\npolicies = { hz = 100 }\n[costs]\ntick_ns = 5\n')
    assert scenario.kernel == preset("linux-6.1", rt=True, hz=100)
    assert scenario.costs.tick_ns == 5


@pytest.mark.parametrize(
    ("value", "ns"), [("7", 7), ("7 ns", 7), ("50us", 50_000), (" 1_000 ms ", 10**9), ("2 s", 2 * 10**9), (12, 12), ("0 s", 0)]
)
def test_durations(value: object, ns: int) -> None:
    assert parse_duration(value) == ns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.toml: duration: missing"),
        ("duration = 1.5\n", 's.toml: duration: 1.5 is no duration: write a whole number with ns, us, ms or s, like "50 us"'),
        ("duration = true\n", 's.toml: duration: true is no duration: write a whole number with ns, us, ms or s, like "50 us"'),
        ("duration = -1\n", "s.toml: duration: -1 is below 0"),
        ('duration = "1 h"\n', "s.toml: duration: '1 h' is no duration: write a whole number with ns, us, ms or s, like \"50 us\""),
        ("duration = \n", "s.toml: Invalid value (at line 1, column 12)"),
        (EMPTY + "speed = 1\n", "s.toml: speed: unknown key"),
        (EMPTY + "machine = 1\n", "s.toml: machine: expected `object`, got `int`"),
        (EMPTY + "[machine]\ncpus = 0\n", "s.toml: machine.cpus: expected `int` >= 1"),
        (EMPTY + '[machine]\nkernel = "linux-1.0"\n', "s.toml: machine: no kernel preset is named 'linux-1.0'; there are"),
        (EMPTY + '[machine]\nkernel = "linux-2.6"\nrt = true\n', "s.toml: machine: linux-2.6 has neither threadirqs nor PREEMPT_RT"),
        (EMPTY + "[machine]\npolicies = { hertz = 1 }\n", "s.toml: machine: KernelConfig has no field 'hertz'"),
        (EMPTY + '[machine]\npolicies = { hz = "x" }\n', "s.toml: machine: kernel: Expected `int`, got `str`"),
        (EMPTY + '[machine]\nexecutor = "threads"\n', "s.toml: machine.executor: invalid enum value 'threads'; choose from native, anyio"),
        (EMPTY + "[costs]\nbogus_ns = 1\n", "s.toml: costs: no cost is named 'bogus_ns'"),
        (EMPTY + "[costs]\ntick_ns = -1\n", "s.toml: costs: cost tick_ns is -1; it is a whole number of ns from 0 on"),
        (EMPTY + "[[device]]\n", "s.toml: device[0].type: missing"),
        (EMPTY + '[[device]]\ntype = "modem"\n', "s.toml: device[0].type: invalid value 'modem'; choose from e1000, timer_card, scripted"),
        (EMPTY + '[[device]]\ntype = "e1000"\nspeed = 1\n', "s.toml: device[0].speed: unknown key"),
        (
            EMPTY + '[[device]]\ntype = "e1000"\nirq = "pin 3"\n',
            "s.toml: device[0].irq: invalid enum value 'pin 3'; choose from msi, a number",
        ),
        (EMPTY + '[[device]]\ntype = "e1000"\nirq = 24\n', "s.toml: device[0].irq: expected `int` <= 23"),
        (EMPTY + '[[device]]\ntype = "e1000"\nring = 12\n', "s.toml: device[0].ring: expected `int` that's a multiple of 8"),
        (EMPTY + '[[device]]\ntype = "e1000"\nitr = "1 s"\n', "s.toml: device[0]: eth0: interrupts cannot be 1000000000 ns apart"),
        (EMPTY + '[[device]]\ntype = "e1000"\ncpus = [1]\n', "s.toml: device[0].cpus: there is no CPU 1, only 0 to 0"),
        (EMPTY + '[[device]]\ntype = "e1000"\n[[device]]\ntype = "e1000"\n', "s.toml: device[1].name: 'eth0' is the name of device[0]"),
        (
            EMPTY + '[[device]]\ntype = "e1000"\narrivals = { period = "x" }\n',
            "s.toml: device[0].arrivals.period: 'x' is no duration: write a whole number with ns, us, ms or s, like \"50 us\"",
        ),
        (
            EMPTY + '[[device]]\ntype = "e1000"\narrivals = {}\n',
            "s.toml: device[0].arrivals: give exactly one of period, mean and at, not none",
        ),
        (
            EMPTY + '[[device]]\ntype = "timer_card"\narrivals = { period = 1, mean = 2 }\n',
            "s.toml: device[0].arrivals: give exactly one of period, mean and at, not period and mean",
        ),
        (EMPTY + '[[device]]\ntype = "timer_card"\narrivals = { mean = 0 }\n', "s.toml: device[0].arrivals: mean must be above 0 ns"),
        (
            EMPTY + '[[device]]\ntype = "timer_card"\narrivals = { at = [2, 1] }\n',
            "s.toml: device[0].arrivals: the instants of at must not fall",
        ),
        (
            EMPTY + '[[device]]\ntype = "timer_card"\narrivals = { at = [2], start = 1 }\n',
            "s.toml: device[0].arrivals: at holds the instants themselves: start and count do not go with it",
        ),
        (EMPTY + '[[device]]\ntype = "scripted"\n', "s.toml: device[0].script: missing"),
        (
            EMPTY + '[[device]]\ntype = "scripted"\nscript = [{ at = 2 }, { at = 1 }]\n',
            "s.toml: device[0]: the instants of script must not fall",
        ),
        (EMPTY + '[[device]]\ntype = "scripted"\nscript = [{ at = 2, run = 1 }]\n', "s.toml: device[0].script[0].run: unknown key"),
        (
            EMPTY + '[[device]]\ntype = "e1000"\nirq = 5\n[[device]]\ntype = "timer_card"\nirq = 5\nedge = true\n',
            "s.toml: device[1]: gsi 5 is wired otherwise already (irq 16) (-EINVAL)",
        ),
        (EMPTY + "[[thread]]\nprogram = [{ run = 1 }]\n", "s.toml: thread[0].comm: missing"),
        (EMPTY + '[[thread]]\ncomm = "a"\nprogram = []\n', "s.toml: thread[0].program: expected `array` of length >= 1"),
        (
            EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{}]\n',
            "s.toml: thread[0].program[0]: a step is exactly one of run, kernel and sleep",
        ),
        (EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 0 }]\n', "s.toml: thread[0].program[0]: a step must take more than 0 ns"),
        (
            EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 1 }]\npolicy = "fifo"\n',
            "s.toml: thread[0]: policy fifo needs a prio of 1 to 99",
        ),
        (
            EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 1 }]\nprio = 3\n',
            "s.toml: thread[0]: prio is for the policies fifo and rr; a normal thread has nice",
        ),
        (
            EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 1 }]\npolicy = "rr"\nprio = 3\nnice = 3\n',
            "s.toml: thread[0]: nice is for normal threads, not for policy rr",
        ),
        (EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 1 }]\ncpu = 1\n', "s.toml: thread[0].cpu: there is no CPU 1, only 0 to 0"),
        (EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 1 }]\nrepeat = 0\n', "s.toml: thread[0].repeat: expected `int` >= 1"),
        (EMPTY + '[trace]\nstdout = "xml"\n', "s.toml: trace.stdout: invalid enum value 'xml'; choose from json, console, logfmt"),
        (
            EMPTY + '[[device]]\ntype = "timer_card"\nbottom_half = "bh"\n',
            "s.toml: device[0].bottom_half: invalid enum value 'bh'; choose from none, ",
        ),
        (
            EMPTY + '[[thread]]\ncomm = "a"\nprogram = [{ run = 1 }]\npolicy = "deadline"\n',
            "s.toml: thread[0].policy: invalid enum value 'deadline'; choose from normal, fifo, rr",
        ),
        (EMPTY + '[costs]\nipi_ns = 1\ntick_ns = "1 us"\n', "s.toml: costs.tick_ns: expected `int`, got `str`"),
        (EMPTY + "[machine]\npolicies = { hz = 1.5 }\n", "s.toml: machine.policies.hz: expected `bool | int | str`, got `float`"),
        (EMPTY + "[machine]\npolicies = { rt = true }\n", "s.toml: machine.policies.rt: give it as machine.rt"),
        (EMPTY + '[machine]\npolicies = { release = "x" }\n', "s.toml: machine.policies.release: give it as machine.kernel"),
        (EMPTY + '[[device]]\ntype = "e1000"\nname = "a\\nb"\n', r"s.toml: device[0].name: 'a\nb' has characters that cannot be printed"),
        (
            EMPTY + '[[thread]]\ncomm = "a\\tb"\nprogram = [{ run = 1 }]\n',
            r"s.toml: thread[0].comm: 'a\tb' has characters that cannot be printed",
        ),
        ('duration = "99999999999 s"\n', "s.toml: duration: '99999999999 s' is longer than 1152921504 s"),
        ('duration = "1__0 ms"\n', "s.toml: duration: '1__0 ms' is no duration"),
        ('duration = "\u0663 ms"\n', "s.toml: duration: '\u0663 ms' is no duration"),
        (EMPTY + '[trace]\nfile = "no/such/folder/t.jsonl"\n', "s.toml: trace.file: no/such/folder/t.jsonl: cannot write a trace here"),
    ],
)
def test_mistakes_name_file_and_key(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(text)
    assert str(caught.value).startswith(message)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.toml: cannot read the scenario: No such file or directory \(-ENOENT\)"):
        load_scenario(tmp_path / "none.toml")
    broken = tmp_path / "latin.toml"
    broken.write_bytes(b'duration = "\xe9"\n')
    with pytest.raises(UsageError, match=r"latin.toml: not UTF-8 text: invalid continuation byte at byte 12"):
        load_scenario(broken)


# --- running


def user_times(result: Result, comm: str) -> list[tuple[int, str]]:
    """Return when a task was switched in and out."""
    found = []
    for record in result.records:
        if tag_of(type(record)) == "sched_switch":
            fields = msgspec.structs.asdict(record)
            for edge in ("prev", "next"):
                if fields[f"{edge}_comm"] == comm:
                    found.append((record.ts, edge))
    return found


def test_thread_does_its_program_and_ends() -> None:
    zero = "[costs]\n" + "".join(f"{name} = 0\n" for name in ("switch_in_ns", "switch_block_ns", "switch_idle_ns", "switch_preempt_ns"))
    text = 'duration = "10 ms"\n' + zero + '[[thread]]\ncomm = "job"\npolicy = "fifo"\nprio = 9\nrepeat = 2\n'
    result = run(text + 'program = [{ run = "100 us" }, { sleep = "1 ms" }, { kernel = "50 us" }]\n')
    edges = user_times(result, "job")
    spans = [out - into for (into, _), (out, _) in zip(edges[::2], edges[1::2], strict=True)]
    # Two rounds; between them nothing is slept: 100 us, then 50 and 100 in one go, then 50.
    assert [span // 1000 for span in spans] == [100, 150, 50]
    assert len(ran(result, "sched_process_exit")) == 1


def test_thread_for_ever_on_its_cpu() -> None:
    result = run(
        'duration = "5 ms"\n[machine]\ncpus = 2\n[[thread]]\ncomm = "hog"\ncpu = 1\nrepeat = true\nprogram = [{ run = "300 us" }]\n'
    )
    switches = [record for record in result.records if tag_of(type(record)) == "sched_switch" and record.cpu == 1]
    assert "hog" in {name for record in switches for name in (msgspec.structs.asdict(record)["next_comm"],)}
    assert ran(result, "sched_process_exit") == []


def test_seed_decides_random_arrivals() -> None:
    scenario = parse_scenario('duration = "5 ms"\n[[device]]\ntype = "timer_card"\narrivals = { mean = "50 us" }\n')
    results = [asyncio.run(run_scenario(with_seed(scenario, seed))) for seed in (1, 1, 2)]
    assert results[0].digest == results[1].digest
    assert results[0].digest != results[2].digest


@pytest.mark.parametrize(
    ("keys", "change"),
    [
        ('bottom_half = "tasklet"', lambda counters: counters["rx_packets"] == 20),
        ("irq = 3\nbudget = 1", lambda counters: counters["polls"] > 20),
        ('dma = "100 us"\nitr = 0', lambda counters: counters["rx_packets"] == 20),
        ("ring = 8", lambda counters: counters["missed"] > 0),
        ("mbps = 1\nreply = true", lambda counters: 0 < counters["tx_packets"] < 10),
    ],
)
def test_nic_options_reach_the_device(keys: str, change: Callable[[dict[str, int]], bool]) -> None:
    text = f'duration = "3 ms"\n[[device]]\ntype = "e1000"\n{keys}\narrivals = {{ at = ["1 ms", "1100 us"], burst = 10, length = 60 }}\n'
    assert change(run(text).counters["eth0"])


def test_trace_goes_to_the_file_and_the_given_sinks(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    memory = MemorySink()
    scenario = parse_scenario(f"{EMPTY}[trace]\nfile = {str(file)!r}\n")
    result = asyncio.run(run_scenario(scenario, sinks=[memory]))
    assert list(read_jsonl(file)) == result.records == memory.records


def test_trace_goes_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdout:
        buffer = io.BytesIO()

    monkeypatch.setattr("sys.stdout", Stdout)
    result = run(EMPTY + '[trace]\nstdout = "logfmt"\n')
    assert len(Stdout.buffer.getvalue().splitlines()) == len(result.records)


def test_debug_traces_the_flows() -> None:
    text = 'duration = "2 ms"\n[[device]]\ntype = "scripted"\nscript = [{ at = "1 ms" }]\n[trace]\ndebug = '
    assert ran(run(text + "false\n"), "irq_flow") == []
    assert ran(run(text + "true\n"), "irq_flow") != []


def test_stopped_run_keeps_what_it_traced(host_run: HostRun) -> None:
    scenario = parse_scenario('duration = "1000 s"\n[[device]]\ntype = "timer_card"\narrivals = { period = "10 us" }\n')

    async def simulate() -> tuple[Result, list[Record]]:
        stop = anyio.CancelScope()
        memory = MemorySink()
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                stop.cancel()

            group.start_soon(cancel)
            result = await run_scenario(scenario, sinks=[memory], stop=stop)
        return result, memory.records

    result, records = host_run(simulate)
    assert result.interrupted
    assert result.now < 10**12
    assert records == result.records
    assert result.counters["timer0"]["ticks"] > 0


def test_set_up_puts_devices_into_a_machine_of_ones_own() -> None:
    scenario: Scenario = parse_scenario('duration = 1\n[[device]]\ntype = "timer_card"\nname = "adc"\narrivals = { at = [5] }\n')

    async def body() -> dict[str, int]:
        async with Machine(check=True) as m:
            [driver] = await set_up(m, scenario)
            await m.run_for(1_000_000)
            return driver.counters()

    assert asyncio.run(body()) == {"ticks": 1, "interrupts": 1, "empty": 0, "runs": 0}


def test_result_is_shown_short() -> None:
    assert repr(run(EMPTY)).startswith("<Result s: 1 ms, ")


def test_the_controller_is_checked() -> None:
    with pytest.raises(UsageError, match=r"^s\.toml: machine\.controller: there is no controller 'apics': choose from apic"):
        parse_scenario(EMPTY + '[machine]\ncontroller = "apics"\n', "s.toml")
    assert run(EMPTY + '[machine]\ncontroller = "apic"\n').digest == run(EMPTY).digest


def test_the_nic_example_runs_on_the_8259_too() -> None:
    text = (FOLDER / "nic_softirq.toml").read_text(encoding="utf-8").replace("[machine]\n", '[machine]\ncontroller = "i8259"\n')
    result = run(text)
    counters = result.counters["eth0"]
    assert (counters["rx_packets"], counters["tx_packets"], counters["missed"]) == (300, 300, 0)
    assert "XT-PIC" in result.interrupts
    with pytest.raises(UsageError, match="controller i8259 serves at most 1 CPUs, not 2"):
        parse_scenario(EMPTY + '[machine]\ncontroller = "i8259"\ncpus = 2\n', "s.toml")


def test_the_architecture_is_checked() -> None:
    for text, complaint in (
        ('arch = "riscv"', r"machine\.arch: there is no architecture 'riscv': choose from arm64, x86"),
        ('arch = "arm64"\ncontroller = "apic"', r"machine\.controller: controller apic is not of arm64: choose from gicv3, gicv2"),
        ('arch = "arm64"\ncontroller = "gicv2"\ncpus = 9', r"machine\.controller: controller gicv2 serves at most 8 CPUs, not 9"),
    ):
        with pytest.raises(UsageError, match=rf"^s\.toml: {complaint}"):
            parse_scenario(EMPTY + f"[machine]\n{text}\n", "s.toml")
    assert run(EMPTY + '[machine]\narch = "arm64"\n').digest == run(EMPTY + '[machine]\ncontroller = "gicv3"\n').digest
    assert run(EMPTY + '[machine]\narch = "x86"\n').digest == run(EMPTY).digest
