from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from asyncirq.analysis.html import render_html, write_report_html
from asyncirq.analysis.metrics import Metrics, PhaseMetrics, pool
from asyncirq.analysis.report import ModelRun, RealRun, build_report, encode_report, input_file
from tests.analysis.linux_captures import STOCK, capture, metrics
from tests.analysis.report_case import HOSTILE, case, report

VOID: Final = frozenset({"meta", "link", "br", "input", "img", "hr"})
LOADING: Final = frozenset({"src", "href", "srcset", "action", "data", "poster", "formaction", "background"})
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@functools.cache
def page() -> str:
    return render_html(report()).decode()


class Page(HTMLParser):
    """Note what is unbalanced, what the page would load, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.faults: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.policy = ""
        self.feed(text)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if "id" in values:
            self.ids.append(values["id"])
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        for name in sorted(LOADING.intersection(values)):
            target = values[name]
            if target.startswith("#"):
                self.links.append(target[1:])
            elif target != "data:,":
                self.loads.append(f"{tag} {name}={target}")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data
        for found in re.findall(r"""@import|url\(\s*['"]?(?!data:)[^)]*""", data) if self.open[-1:] == ["style"] else []:
            self.loads.append(f"style {found}")


def test_page_is_balanced_and_loads_nothing() -> None:
    found = Page(page())
    assert (found.faults, found.loads) == ([], [])
    assert len(found.ids) == len(set(found.ids))
    assert set(found.links) <= set(found.ids)
    assert {"summary", "latencies", "curves", "contexts", "rates", "accuracy", "arrivals", "constants", "policies", "inputs"} <= set(
        found.ids
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<p><b></p></b>", "</p> closes something else"),
        ("<div>", "div is never closed"),
        ('<script src="https://example.org/x.js"></script>', "script src=https://example.org/x.js"),
        ('<link href="x.css">', "link href=x.css"),
        ("<style>a { background: url(x.png) }</style>", "style url(x.png"),
    ],
)
def test_planted_faults_are_found(text: str, fault: str) -> None:
    found = Page(text)
    assert fault in found.faults + found.loads


def test_policy_lets_these_scripts_run_and_nothing_else() -> None:
    found = Page(page())
    code = found.texts["script"][1:]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in code]
    assert len(code) == 2
    assert found.policy.startswith("default-src 'none';")
    assert found.policy.endswith(f"script-src {' '.join(hashes)}")


def test_data_are_those_of_report_json() -> None:
    found = Page(page())
    assert json.loads(found.texts["script"][0]) == json.loads(encode_report(report()))
    assert "<" not in found.texts["script"][0]
    assert HOSTILE in json.loads(found.texts["script"][0])["kernels"][1]["notes"]


def test_same_bytes_twice(tmp_path: Path) -> None:
    write_report_html(case(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == page().encode()


def test_summary_is_there_without_a_script() -> None:
    text = "".join(Page(page()).texts["li"])
    assert "Interrupt to NET_RX: eth0 5/6/28 → 14/17/27" in text
    assert HOSTILE in text


def test_sections_without_content_are_left_out() -> None:
    found = Page(render_html(case(with_target=False)).decode())
    assert "accuracy" not in found.ids
    assert found.faults == []
    assert set(found.links) <= set(found.ids)


def test_library_comes_with_its_licence() -> None:
    assert "Copyright (c) 2022 Leon Sorokin" in "".join(Page(page()).texts["pre"])


def browse(program: str, page_file: Path, profile: Path) -> tuple[str, list[str]]:
    """Return the document that a browser makes of a page, and what it wrote to its console."""
    flags = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    flags += ["--disable-component-update", f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    done = subprocess.run([program, *flags, "--dump-dom", page_file.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or "</html>" not in done.stdout:
        pytest.skip(f"{program} does not start here: exit code {done.returncode}")
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    return found


def test_page_opens_in_a_browser_without_a_complaint(browser: str, tmp_path: Path) -> None:
    write_report_html(report(), tmp_path / "report.html")
    document, console = browse(browser, tmp_path / "report.html", tmp_path / "profile")
    assert console == []
    body = re.sub(r"<script.*?</script>", "", document, flags=re.DOTALL)
    assert body.count('class="card"') >= 30
    assert '<td class="first">14<span class="change longer">+9</span></td>' in body
    assert "rt_lock_block" in body
    assert "95 of 176 &lt;b&gt;arrivals&lt;/b&gt; &amp; more" in body


def test_smallest_report_opens_too(browser: str, tmp_path: Path) -> None:
    stats = pool("pooled", [metrics(STOCK).phases[0]])
    empty = Metrics("empty", 1, PhaseMetrics("pooled", 0, 0, {}, {}, {}, {}, 0, 0, 0, {}, {}, {}), [], [])
    captured = RealRun(input_file(capture(STOCK)), Metrics("one", 1_000, stats, [], []))
    small = build_report(captured, [ModelRun("stock", empty)], seed=0, versions={})
    write_report_html(small, tmp_path / "report.html")
    document, console = browse(browser, tmp_path / "report.html", tmp_path / "profile")
    assert console == []
    assert '<option value="pooled">whole run</option>' in document


def test_a_complaint_of_the_browser_is_noticed(browser: str, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<!doctype html><script>throw new Error('planted')</script>")
    _, console = browse(browser, tmp_path / "bad.html", tmp_path / "profile")
    assert len(console) == 1
    assert "planted" in console[0]
