"""Write a report as one page that needs nothing else: no server, no network, no second file.

The page holds the very bytes of ``report.json`` (with ``<`` escaped, so that no text in it can end its element), words made
here, and the script that draws tables and curves from the data. Its security policy lets only these scripts run and
forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

from asyncirq.analysis.report import InputFile, Report, encode_report, write_file
from asyncirq.analysis.summary import Part, summarize

_SECTIONS: Final = (
    ("latencies", "Latencies", "In µs, with the number of samples; the small figures are the change against the captured kernel."),
    ("curves", "Distributions", "One curve per kernel. Point at a chart to read it, drag to zoom in, double-click to zoom out."),
    ("contexts", "Softirq contexts", "Where each softirq vector ran: the share of its entries by the context that served them."),
    ("rates", "CPU and rates", "Shares of all CPUs' time, rates and counts; the small figures are the change against the captured kernel."),
    ("accuracy", "Accuracy", "Against the real kernel. A cell is a quantity in a phase with 30 samples or more on both sides."),
    ("arrivals", "Arrivals", "What made the interrupts of each line come in each phase, and the evidence for it."),
    ("constants", "Constants", "Every cost that the model charges, and where it comes from."),
    ("policies", "Policies", "The policies of each modelled kernel; marked rows differ."),
)  # fmt: skip
_SCRIPTS: Final = ("core.js", "latencies.js", "curves.js", "contexts.js", "accuracy.js", "sources.js", "page.js")
"""Our own scripts in the order in which they define what the next ones use."""


def render_html(report: Report) -> bytes:
    """Return a report as one self-contained page: equal reports give equal bytes."""
    scripts = [_asset("uPlot.iife.min.js"), _own_script()]
    policy = "; ".join(
        [
            "default-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "img-src data:",
            "style-src 'unsafe-inline'",
            f"script-src {' '.join(_hash_source(script) for script in scripts)}",
        ]
    )
    name = report.captured.source.name
    page = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(name)}: what if? - asyncirq</title>",
        f"<style>{_asset('uPlot.min.css')}</style>",
        f"<style>{_asset('report.css')}</style>",
        "</head>",
        "<body>",
        _header(report),
        "<main>",
        _summary(summarize(report)),
        '<noscript><p class="lead">The tables and curves below need JavaScript, which is switched off here.</p></noscript>',
        *(_section(report, *section) for section in _SECTIONS),
        _limits(report),
        _inputs(report),
        "</main>",
        _footer(),
        f'<script type="application/json" id="report">{_embed(encode_report(report))}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>",
        "</html>",
    ]
    return ("\n".join(part for part in page if part) + "\n").encode()


def write_report_html(report: Report, path: Path) -> None:
    """Write ``report.html``.

    Errors: ``UsageError`` if the file cannot be written.
    """
    write_file(path, render_html(report))


def _asset(name: str) -> str:
    return (files("asyncirq.analysis") / "assets" / name).read_text(encoding="utf-8")


def _own_script() -> str:
    """Return our scripts as one, so that their names stay among themselves."""
    return "(() => {\n" + '"use strict";\n' + "\n".join(_asset(name) for name in _SCRIPTS) + "})();\n"


def _hash_source(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _embed(data: bytes) -> str:
    """Return JSON so that no text in it can end or comment out the element that holds it."""
    return data.decode().strip().replace("<", "\\u003c")


def _present(report: Report, section: str) -> bool:
    """Tell whether a report has anything to show in a section."""
    match section:
        case "accuracy":
            return report.against is not None
        case "arrivals":
            return any(kernel.arrivals for kernel in report.kernels)
        case "constants":
            return any(kernel.costs for kernel in report.kernels)
        case "policies":
            return any(kernel.policies for kernel in report.kernels)
    return True


def _header(report: Report) -> str:
    source = report.captured.source
    links = [("summary", "Summary"), *((key, title) for key, title, _ in _SECTIONS if _present(report, key)), ("inputs", "Inputs")]
    about = f"{source.kernel}, {source.name}" if source.kernel else source.name
    return "\n".join(
        [
            "<header>",
            f'<div class="bar"><h1>What if? <small>{escape(about)}</small></h1>',
            '<div class="controls">',
            _select("Phase", "phase"),
            _select("Scale", "scale", ("log", "logarithmic"), ("linear", "linear")),
            _select("Curve", "view", ("cdf", "at or below"), ("tail", "above (tail)")),
            "</div></div>",
            "<nav>" + "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title in links) + '<span id="legend"></span></nav>',
            "</header>",
        ]
    )


def _select(label: str, key: str, *options: tuple[str, str]) -> str:
    choices = "".join(f'<option value="{value}">{text}</option>' for value, text in options)
    return f'<label>{label} <select id="{key}">{choices}</select></label>'


def _summary(parts: list[Part]) -> str:
    blocks = []
    for part in parts:
        lines = "".join(f"<li>{_prose(sentence)}</li>" for sentence in part.sentences)
        blocks.append(f"<div><h3>{escape(part.title)}</h3><ul>{lines}</ul></div>")
    return f'<section id="summary"><h2>Summary</h2><div class="summary">{"".join(blocks)}</div></section>'


def _prose(text: str) -> str:
    return escape(text).replace("-&gt;", "→").replace(" us", "\u00a0µs").replace(" %", "\u00a0%")


def _section(report: Report, key: str, title: str, lead: str) -> str:
    if not _present(report, key):
        return ""
    heading = f"<h2>{escape(title)} <small data-phase></small></h2>"
    return f'<section id="{key}">{heading}<p class="lead">{escape(lead)}</p><div data-body></div></section>'


def _limits(report: Report) -> str:
    if not report.untraceable:
        return ""
    rows = "".join(f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>" for name, text in report.untraceable.items())
    return f'<section id="limits"><h2>What no capture tells</h2><dl>{rows}</dl></section>'


def _inputs(report: Report) -> str:
    rows = [_input_rows("Captured", report.captured.source)]
    if report.against is not None:
        rows.append(_input_rows("Compared with", report.against.source))
    for kernel in report.kernels:
        if kernel.trace is not None:
            trace = kernel.trace
            what = f"{escape(trace.name)}, {trace.records:,} records"
            rows.append(f"<dt>Trace of {escape(kernel.name)}</dt><dd>{what}<br><code>SHA-256 {escape(trace.sha256)}</code></dd>")
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    rows.append(f"<dt>Made by</dt><dd>{escape(versions)}, seed {report.seed}; report format {report.format}</dd>")
    return f'<section id="inputs"><h2>Inputs</h2><dl>{"".join(rows)}</dl></section>'


def _input_rows(title: str, source: InputFile) -> str:
    facts = [
        source.kernel,
        f"{source.cpus} CPU{'s' if source.cpus > 1 else ''}",
        f"{source.events:,} events",
        f"{source.lost_events:,} lost",
    ]
    facts += [f"{key} {value}" for key, value in source.meta.items()]
    known = escape(", ".join(fact for fact in facts if fact))
    return f"<dt>{title}</dt><dd>{escape(source.name)}<br>{known}<br><code>SHA-256 {source.sha256}</code></dd>"


def _footer() -> str:
    licence = escape(_asset("uPlot.LICENSE.txt").strip())
    return (
        f"<footer><details><summary>The curves are drawn by uPlot, whose licence is this</summary><pre>{licence}</pre></details></footer>"
    )
