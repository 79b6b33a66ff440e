from __future__ import annotations

import hashlib
import json
from pathlib import Path

import anyio
import pytest

from asyncirq.cli import main
from tests.analysis.linux_captures import FOLDER, RT, STOCK, THREADIRQS


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["whatif", *arguments])
    code = stop.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize(("real", "pair", "kernel"), [(THREADIRQS, "a4->b4", "threadirqs"), (RT, "a4->c4", "rt")])
def test_command_predicts_compares_and_writes(tmp_path: Path, capfd: pytest.CaptureFixture[str], real: str, pair: str, kernel: str) -> None:
    out = tmp_path / "out"
    against = ["--against", str(FOLDER / real)]
    assert run(str(FOLDER / STOCK), "--under", "stock,threadirqs,rt", *against, "--out", str(out), "--seed", "1", "--phase", "2") == 0
    printed = capfd.readouterr()
    lines = [line for line in printed.out.splitlines() if line.startswith("accuracy ")]
    assert {line.split()[1] for line in lines} == {"a4->a4", pair}
    assert "accuracy a4->a4 counts.irq_handler_entry 1/1" in lines
    assert f"accuracy {pair} p50_within_25 4/4" in lines
    assert str(out / "report.html") in printed.err
    names = ["report.html", "report.json", "trace-rt.jsonl", "trace-stock.jsonl", "trace-threadirqs.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    report = json.loads((out / "report.json").read_bytes())
    assert report["phases"] == ["2-ping"]
    assert report["against"]["kernels"][0]["kernel"] == kernel
    for run_of in report["kernels"]:
        trace = out / run_of["trace"]["name"]
        assert hashlib.sha256(trace.read_bytes()).hexdigest() == run_of["trace"]["sha256"]


def test_a_changed_policy_is_no_replay_of_the_captured_kernel(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my.toml").write_text("softirq_max_restart = 2\n")
    against = ["--against", str(FOLDER / RT)]
    assert run(str(FOLDER / STOCK), "--under", f"rt,{tmp_path / 'my.toml'}", *against, "--out", str(tmp_path), "--phase", "2") == 0
    assert "a4->a4" not in capfd.readouterr().out


def test_same_command_writes_the_same_bytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written = []
    for name in ("one", "two"):
        out = tmp_path / name
        assert run(str(FOLDER / STOCK), "--under", "rt", "--out", str(out), "--phase", "8-disk-virtio-blk") == 0
        written.append(({path.name: path.read_bytes() for path in out.iterdir()}, capfd.readouterr().out))
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: no such file"),
        ([str(FOLDER / STOCK), "--under", "windows"], "--under windows: 'windows' is no kernel that is known"),
        ([str(FOLDER / STOCK), "--phase", "99"], "there is no phase '99'; there are 1-idle, 2-ping"),
        ([str(FOLDER / STOCK), "--seed", "-1"], "--seed is -1, not in 0.."),
        ([str(FOLDER / STOCK), "--release", "linux-9.9"], "no kernel preset is named 'linux-9.9'"),
        (
            [str(FOLDER / STOCK), "--under", "stock", "--phase", "8", "--against", str(FOLDER / RT)],
            "this is a rt kernel, and --under",
        ),
        ([str(FOLDER / STOCK / "meta.txt")], "meta.txt:1: "),
        ([str(FOLDER)], "no trace in this directory"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--out", str(tmp_path / "out")) == 2
    shown = capfd.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_ctrl_c_is_told_and_leaves_the_folder_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("earlier")
    monkeypatch.setattr(anyio, "run", interrupt)
    assert run(str(FOLDER / STOCK), "--out", str(out)) == 130
    assert capfd.readouterr().err == f"asyncirq: interrupted: what {out} holds may be of an earlier run\n"
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("report.json", "earlier")]


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert run(str(FOLDER / STOCK), "--under", "stock", "--phase", "8", "--out", str(file / "out")) == 2
    assert "cannot make this folder" in capfd.readouterr().err
