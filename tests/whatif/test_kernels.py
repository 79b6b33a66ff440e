from __future__ import annotations

from pathlib import Path

import pytest

from asyncirq.config import preset
from asyncirq.errors import UsageError
from asyncirq.whatif.kernels import captured_threading, guess_release, parse_targets


def test_options_change_the_captured_release() -> None:
    stock, threads, rt = parse_targets("stock, threadirqs,rt", "linux-6.1")
    assert stock.config == preset("linux-6.1")
    assert threads.config == preset("linux-6.1", threadirqs=True)
    assert rt.config == preset("linux-6.1", rt=True)
    assert [target.bottom_half for target in (stock, threads, rt)] == ["softirq"] * 3


def test_receive_work_can_be_moved() -> None:
    napi, work, tasklet = parse_targets("napi-threaded,rt+workqueue,threadirqs+tasklet", "linux-6.12")
    assert (napi.bottom_half, napi.config.napi_threaded) == ("napi-threaded", True)
    assert (work.bottom_half, work.config.rt) == ("workqueue", True)
    assert (tasklet.bottom_half, tasklet.config.threadirqs) == ("tasklet", True)


def test_preset_names_another_release() -> None:
    plain, rt = parse_targets("linux-6.12,linux-7.1+rt", "linux-6.1")
    assert plain.config == preset("linux-6.12")
    assert rt.config == preset("linux-7.1", rt=True)


def test_toml_overrides_policies(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('rt = true\nbottom_half = "napi-threaded"\nsoftirq_max_restart = 1\n')
    (target,) = parse_targets(str(file), "linux-6.1")
    assert target.name == "mine"
    assert target.bottom_half == "napi-threaded"
    assert target.config == preset("linux-6.1", rt=True, softirq_max_restart=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--under names no kernel"),
        ("stock,,rt", "a name between two commas is missing"),
        ("stock,stock", "--under names stock twice"),
        ("preempt", "'preempt' is no kernel that is known"),
        ("tasklet+workqueue", "the receive work cannot run in two places"),
        ("linux-2.6+rt", "linux-2.6 has neither threadirqs nor PREEMPT_RT"),
        ("absent.toml", "absent.toml: cannot read"),
    ],
)
def test_wrong_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_targets(text, "linux-6.1")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hz = [", "kernel.toml: "),
        ("no_such_policy = 1", "KernelConfig has no field 'no_such_policy'"),
        ('hz = "fast"', "kernel.toml: kernel: "),
        ("rt = 1", "rt is 1, not true or false"),
        ('bottom_half = "fiber"', "bottom_half is 'fiber', not one of softirq, napi-threaded, workqueue, tasklet"),
        ('release = "linux-1.0"', "no kernel preset is named 'linux-1.0'"),
    ],
)
def test_wrong_toml_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "kernel.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        parse_targets(str(file), "linux-6.1")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("uname", "release"),
    [
        ("Linux (none) 6.1.0-56-amd64 #1 SMP PREEMPT_DYNAMIC Debian", "linux-6.1"),
        ("Linux box 6.6.30 #1 SMP", "linux-6.1"),
        ("Linux box 6.12.117-rt #1 SMP PREEMPT_RT", "linux-6.12"),
        ("Linux box 7.3.0 #1 SMP", "linux-7.1"),
        ("Linux box 2.4.18 #1", "linux-2.6"),
        ("", "linux-6.12"),
    ],
)
def test_release_is_guessed_from_uname(uname: str, release: str) -> None:
    assert guess_release(f"{uname}\nquiet\n") == release


def test_threading_is_told_by_uname_or_the_command_line() -> None:
    assert captured_threading("Linux a 6.1.0 #1 SMP PREEMPT_RT x\nquiet\n") == "rt"
    assert captured_threading("Linux a 6.1.0 #1 SMP\nconsole=ttyS0 threadirqs\n") == "threadirqs"
    assert captured_threading("Linux a 6.1.0 #1 SMP\nquiet\n") == "stock"
