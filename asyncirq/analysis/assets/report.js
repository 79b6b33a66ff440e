"use strict";
// Draw the tables and curves of a report from the JSON in this page.
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const NS = 1000; // ns in a us
  const ENOUGH = 30; // samples of a quantity that is shown by default
  const POOLED = report.captured.stats.pooled.phase;
  const state = { phase: POOLED, scale: "log", view: "cdf", every: false, kernel: 0, headline: true };

  const runs = [{ name: "captured", stats: report.captured.stats, colour: "--run-0" }];
  report.kernels.forEach((k, i) => runs.push({ name: k.name, title: k.title, stats: k.stats, colour: `--run-${1 + (i % 6)}` }));
  if (report.against) runs.push({ name: "real", stats: report.against.stats, colour: "--run-real", dashed: true });
  const info = new Map(report.quantities.map((q) => [q.name, q]));

  // -- small things ---------------------------------------------------------------------------------------------------

  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "on") for (const [event, fn] of Object.entries(value)) node.addEventListener(event, fn);
      else if (key === "style") for (const [name, text] of Object.entries(value)) node.style.setProperty(name, text);
      else node.setAttribute(key === "cls" ? "class" : key, value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return node;
  }

  const title = (q) => (info.get(q) ? info.get(q).group + (info.get(q).label ? `: ${info.get(q).label}` : "") : q);
  const phaseOf = (run) => [run.stats.pooled, ...run.stats.phases].find((p) => p.phase === state.phase) || null;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const body = (id) => document.querySelector(`#${id} [data-body]`);
  const arrow = (text) => text.replaceAll("->", "→");

  function us(ns) {
    const text = ns % NS === 0 || Math.abs(ns) >= 100 * NS ? (ns / NS).toFixed(0) : (ns / NS).toFixed(1);
    return text.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  }
  const signed = (text, value) => (value > 0 ? `+${text}` : text.replace("-", "−"));
  const share = (value) => (value === 0 ? "0 %" : `${(100 * value).toFixed(value >= 0.1 ? 0 : value >= 0.01 ? 1 : 2)} %`);
  const rate = (value) => value.toFixed(Math.abs(value) >= 100 ? 0 : 1);
  const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−"));

  function swatch(run) {
    return el("span", { cls: run.dashed ? "swatch dashed" : "swatch", style: { "--colour": `var(${run.colour})` } });
  }
  function heading(text, attributes) {
    return el("th", { scope: "col", ...attributes }, ...[text].flat());
  }
  function table(head, rows, cls) {
    return el("div", { cls: "scroll" }, el("table", { cls }, el("thead", null, head), el("tbody", null, rows)));
  }
  function moved(value, text) {
    return value === 0 ? null : el("span", { cls: `change ${value > 0 ? "longer" : "shorter"}` }, signed(text, value));
  }
  function nothing(text) {
    return el("p", { cls: "lead" }, text);
  }
  function fill(id, ...children) {
    const node = body(id);
    if (node) node.replaceChildren(...children.flat(Infinity).filter(Boolean));
  }

  // -- latencies ------------------------------------------------------------------------------------------------------

  function shown() {
    const phases = runs.map(phaseOf);
    const most = (q) => Math.max(...phases.map((p) => (p && p.quantities[q] ? p.quantities[q].n : 0)));
    const wanted = report.quantities.filter((q) => most(q.name) >= (state.every ? 1 : ENOUGH));
    return state.every ? wanted : wanted.filter((q) => !q.name.split(":")[0].endsWith("_last"));
  }

  function latencyCells(stats, base, sameRun) {
    if (!stats) return [el("td", { cls: "first thin" }, "–"), el("td"), el("td"), el("td")];
    const cells = ["p50", "p90", "p99"].map((key, i) => {
      const change = base && !sameRun ? moved(stats[key] - base[key], us(stats[key] - base[key])) : null;
      const thin = key === "p99" && stats.n < 100; // fewer than 100 samples: the 99th percentile is the largest one
      return el("td", { cls: `${i === 0 ? "first" : ""}${thin ? " thin" : ""}` }, us(stats[key]), change);
    });
    return [...cells, el("td", { cls: "thin" }, String(stats.n))];
  }

  function drawLatencies() {
    const quantities = shown();
    const head = [
      el("tr", null, heading("", { cls: "text", rowspan: 2 }), runs.map((r) => heading([swatch(r), r.name], { colspan: 4, cls: "first text", title: r.title }))),
      el("tr", null, runs.map(() => ["p50", "p90", "p99", "n"].map((t, i) => heading(t, { cls: i === 0 ? "first" : null })))),
    ];
    const rows = [];
    let group = "";
    for (const q of quantities) {
      if (q.group !== group) {
        group = q.group;
        rows.push(el("tr", { cls: "group" }, el("th", { colspan: 1 + 4 * runs.length, scope: "colgroup" }, group)));
      }
      const found = runs.map((r) => { const p = phaseOf(r); return p ? p.quantities[q.name] : undefined; });
      const link = el("a", { href: `#q-${report.quantities.indexOf(q)}`, title: q.definition }, q.label || q.group);
      rows.push(el("tr", null, el("th", { scope: "row" }, link), found.map((s, i) => latencyCells(s, found[0], i === 0))));
    }
    const toggle = el("label", null, el("input", { type: "checkbox", id: "every", on: { change: (e) => { state.every = e.target.checked; draw(); } } }),
      ` also quantities with fewer than ${ENOUGH} samples, and other pairings`);
    toggle.firstChild.checked = state.every;
    fill("latencies", rows.length ? table(head, rows, "sticky") : nothing("No latency with enough samples in this phase."), el("div", { cls: "tools" }, toggle));
  }

  // -- curves ---------------------------------------------------------------------------------------------------------

  let plots = [];
  const seen = new IntersectionObserver((entries) => entries.forEach((e) => { if (e.isIntersecting) { seen.unobserve(e.target); e.target.plot(); } }), { rootMargin: "300px" });
  const sized = new ResizeObserver((entries) => entries.forEach((e) => plots.filter((p) => p.box === e.target).forEach((p) => p.chart.setSize({ width: e.target.clientWidth, height: 240 }))));

  function drawCurves() {
    plots.forEach((p) => p.chart.destroy());
    plots = [];
    seen.disconnect();
    sized.disconnect();
    const cards = el("div", { cls: "cards" });
    cards.append(...shown().map(card));
    fill("curves", cards.children.length ? cards : nothing("No distribution with enough samples in this phase."));
    cards.querySelectorAll(".chart").forEach((box) => seen.observe(box));
  }

  function card(q) {
    const found = runs.map((run) => ({ run, stats: (phaseOf(run) || { quantities: {} }).quantities[q.name] })).filter((f) => f.stats);
    const box = el("div", { cls: "chart" });
    box.plot = () => plot(box, found);
    const base = found[0].run === runs[0] ? found[0].stats : null;
    const keys = ["p50", "p90", "p99", "p999", "max"];
    const head = el("tr", null, heading("µs", { cls: "text" }), ["n", "p50", "p90", "p99", "p99.9", "max", "Δ p50"].map((t) => heading(t)));
    const rows = found.map(({ run, stats }) => el("tr", null, el("th", { scope: "row" }, swatch(run), run.name), el("td", { cls: "thin" }, String(stats.n)),
      keys.map((key) => el("td", { cls: (key === "p99" && stats.n < 100) || (key === "p999" && stats.n < 1000) ? "thin" : null }, us(stats[key]))),
      el("td", null, base && stats !== base ? signed(us(stats.p50 - base.p50), stats.p50 - base.p50) : "")));
    return el("div", { cls: "card", id: `q-${report.quantities.indexOf(q)}` }, el("h3", null, title(q.name)), el("p", null, q.definition), box, table(head, rows));
  }

  // All curves share one list of x values: each keeps its level between its own steps, so nothing is interpolated.
  function curves(found) {
    const least = report.captured.source.resolution_ns / 2;
    const at = (ns) => Math.max(ns, least) / NS; // a logarithmic axis has no 0
    const xs = [...new Set(found.flatMap((f) => f.stats.cdf.map((step) => at(step[0]))))].sort((a, b) => a - b);
    const first = xs[0], last = xs[xs.length - 1];
    xs.unshift(state.scale === "log" ? first / 1.15 : first - 0.03 * (last - first || 1));
    xs.push(state.scale === "log" ? last * 1.15 : last + 0.03 * (last - first || 1));
    const ys = found.map(({ stats }) => {
      let i = 0, below = 0;
      return xs.map((x) => {
        while (i < stats.cdf.length && at(stats.cdf[i][0]) <= x) below = stats.cdf[i++][1];
        if (state.view === "cdf") return (100 * below) / stats.n;
        if (below < stats.n) return (100 * (stats.n - below)) / stats.n;
        return i++ === stats.cdf.length ? 1e-9 : null; // one drop to the bottom, then nothing: a logarithmic axis has no 0
      });
    });
    return [xs, ...ys];
  }

  // Round values for a logarithmic axis: 1, 2, 5 of each decade, or every digit where less than a decade is shown.
  function logSplits(u, axis, min, max) {
    const steps = max / min < 8 ? [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9] : max / min < 1e3 ? [1, 2, 5] : [1];
    const splits = [];
    for (let decade = 10 ** Math.floor(Math.log10(min)); decade <= max; decade *= 10) {
      splits.push(...steps.map((step) => step * decade).filter((v) => v >= min && v <= max));
    }
    return splits;
  }

  function plot(box, found) {
    const data = curves(found);
    const tail = state.view === "tail";
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--quiet"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
    const logAxis = { splits: logSplits, filter: (u, splits) => splits };
    const label = (v) => (v === null ? "" : v >= 1e6 ? `${v / 1e6} s` : v >= 1e3 ? `${v / 1e3} ms` : `${+v.toPrecision(3)} µs`);
    const floor = Math.min(...found.map((f) => 50 / f.stats.n));
    const options = {
      width: box.clientWidth, height: 240, legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false } },
      scales: {
        x: { time: false, distr: state.scale === "log" ? 3 : 1, range: (u, min, max) => [min, max] },
        y: tail ? { distr: 3, range: [floor, 100] } : { range: [0, 100] },
      },
      axes: [
        { ...axis, size: 34, space: 48, ...(state.scale === "log" ? logAxis : {}), values: (u, splits) => splits.map(label) },
        { ...axis, size: 52, ...(tail ? logAxis : {}), values: (u, splits) => splits.map((v) => (v === null ? "" : `${+v.toPrecision(2)} %`)) },
      ],
      series: [{}, ...found.map(({ run }) => ({
        label: run.name, stroke: colour(run.colour), width: run === runs[0] ? 4 : run.dashed ? 1.5 : 2, dash: run.dashed ? [6, 4] : undefined,
        points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
      }))],
      plugins: [tip(found, data)],
    };
    plots.push({ box, chart: new uPlot(options, data, box) });
    sized.observe(box);
  }

  function tip(found, data) {
    const node = el("div", { cls: "tip", hidden: "" });
    return {
      hooks: {
        init: (u) => u.over.append(node),
        setCursor: (u) => {
          const { left, top } = u.cursor;
          node.hidden = left === undefined || left < 0;
          if (node.hidden) return;
          const x = u.posToVal(left, "x");
          let i = 0;
          while (i + 1 < data[0].length && data[0][i + 1] <= x) i++;
          const rows = found.map(({ run }, s) => el("div", null, el("span", null, swatch(run), run.name), el("span", null, `${fixed(data[s + 1][i] ?? 0, 1)} %`)));
          node.replaceChildren(el("div", null, `${state.view === "tail" ? "above" : "at or below"} ${us(Math.round(x * 10) * 100)} µs`), ...rows);
          const wide = node.offsetWidth;
          node.style.left = `${left + 14 + wide > u.over.clientWidth ? Math.max(0, left - wide - 14) : left + 14}px`;
          node.style.top = `${Math.max(0, Math.min(top, u.over.clientHeight - node.offsetHeight))}px`;
        },
      },
    };
  }

  // -- contexts, rates ------------------------------------------------------------------------------------------------

  function runHeads() {
    return runs.map((run) => heading([swatch(run), run.name]));
  }
  function union(pick) {
    return [...new Set(runs.map(phaseOf).filter(Boolean).flatMap((p) => Object.keys(pick(p) || {})))].sort();
  }

  function drawContexts() {
    const rows = [];
    for (const vector of union((p) => p.contexts)) {
      union((p) => p.contexts[vector]).forEach((context, i) => {
        const cells = runs.map((run) => {
          const p = phaseOf(run), counts = p && p.contexts[vector];
          if (!counts) return el("td", { cls: "thin" }, "–");
          const total = Object.values(counts).reduce((a, b) => a + b, 0), count = counts[context] || 0;
          return el("td", { cls: count ? "share" : "thin", style: { "--share": `${(100 * count) / total}%` }, title: `${count} of ${total}` }, share(count / total));
        });
        rows.push(el("tr", null, el("th", { scope: "row" }, i === 0 ? vector : ""), el("td", { cls: "text" }, context), cells));
      });
    }
    const head = el("tr", null, heading("vector", { cls: "text" }), heading("ran in", { cls: "text" }), runHeads());
    fill("contexts", rows.length ? table(head, rows) : nothing("No softirq ran in this phase."));
  }

  function rateRow(name, pick, show, hint) {
    const values = runs.map((run) => { const p = phaseOf(run); return p ? pick(p) : null; });
    return el("tr", null, el("th", { scope: "row", title: hint }, name), values.map((v, i) => {
      const change = i && v !== null && values[0] !== null ? v - values[0] : 0;
      const text = show(Math.abs(change));
      const small = change && text !== show(0) ? el("span", { cls: "change" }, (change > 0 ? "+" : "−") + text) : null;
      return el("td", null, v === null ? "–" : show(v), small);
    }));
  }

  function drawRates() {
    const head = (text) => el("tr", null, heading(text, { cls: "text" }), runHeads());
    const count = String;
    const rates = [
      ...["hardirq", "softirq", "task", "idle"].map((c) => rateRow(`CPU time in ${c}`, (p) => p.cpu_share[c], share)),
      rateRow("interrupts a second", (p) => p.interrupts_per_second, rate),
      rateRow("task switches a second", (p) => p.switches_per_second, rate),
      rateRow("duration, ms", (p) => p.duration_ns / 1e6, (v) => v.toFixed(0)),
      rateRow("events", (p) => p.events, count),
      rateRow("polls", (p) => p.polls, count),
      rateRow("packets", (p) => p.packets, count),
    ];
    const counts = [
      ...union((p) => p.interrupts).map((line) => rateRow(line, (p) => p.interrupts[line] || 0, count)),
      ...union((p) => p.vectors).map((vector) => rateRow(`vector ${vector}`, (p) => p.vectors[vector] || 0, count)),
      ...union((p) => p.softirqs).map((vector) => rateRow(`softirq ${vector}`, (p) => p.softirqs[vector] || 0, count)),
    ];
    const censored = union((p) => p.censored).map((key) => {
      const [kind, ...rest] = key.split(":");
      const name = kind === "no_effect" ? `${rest.join(":")}: raised, woke and queued nothing` : kind === "merged" ? `${title(rest.join(":"))}: an earlier one was still waiting` : key;
      return rateRow(name, (p) => p.censored[key] || 0, count);
    });
    fill("rates", el("div", { cls: "split" }, table(head(""), rates), counts.length ? table(head("interrupts and softirqs"), counts) : null),
      censored.length ? el("details", null, el("summary", null, "Interrupts that have no latency, and why"), table(head(""), censored)) : null);
  }

  // -- accuracy -------------------------------------------------------------------------------------------------------

  function drawAccuracy() {
    if (!report.against) return;
    const scores = report.against.kernels;
    const texts = ["kernel", "set"].map((t) => heading(t, { cls: "text" }));
    const names = [["cells", "compared"], ["p50 in 10 %", "cells whose median is within 10 % or 1 µs"], ["p50 in 25 %", ""], ["p90 in 10 %", ""], ["p90 in 25 %", ""],
      ["W1n", "median normalised Wasserstein distance"], ["W1n p90", "its 90th percentile"], ["skill", "1 - mean W1n of the model / mean W1n of copying the captured kernel"],
      ["X", "largest difference of a vector's share in a context, percentage points"], ["missed", "cells that only the real capture has"], ["gated out", "cells whose arrivals differ"]];
    const head = el("tr", null, texts, names.map(([t, hint]) => heading(t, { title: hint })));
    const percent = (v) => (v === null ? "–" : `${v.toFixed(0)} %`);
    const rows = scores.flatMap((s) => [["headline", s.headline], ["hard set", s.hard]].map(([set, part], i) => el("tr", null,
      el("th", { scope: "row" }, i ? "" : s.kernel + (s.target ? " (target)" : "")), el("td", { cls: "text" }, set), el("td", null, String(part.cells)),
      [part.h10, part.h25, part.t10, part.t25].map((v) => el("td", null, percent(v))), [part.w, part.w_p90].map((v) => el("td", null, fixed(v, 3))),
      el("td", null, fixed(part.skill, 2)), i ? [el("td"), el("td"), el("td")] : [el("td", { title: s.x_where }, fixed(s.x, 1)),
        el("td", null, String(s.missed.length)), el("td", null, String(s.gated.length))])));
    const score = scores[state.kernel];
    const buttons = scores.map((s, i) => el("button", { type: "button", "aria-pressed": String(i === state.kernel), on: { click: () => { state.kernel = i; drawAccuracy(); } } }, s.kernel));
    const toggle = el("label", null, el("input", { type: "checkbox", on: { change: (e) => { state.headline = e.target.checked; drawAccuracy(); } } }), " headline cells only (scheduling and deferral)");
    toggle.firstChild.checked = state.headline;
    const inPhase = (c) => (state.phase === POOLED || c.phase === state.phase) && (!state.headline || c.headline);
    fill("accuracy", table(head, rows), el("div", { cls: "tools" }, scores.length > 1 ? buttons : null, toggle), cellTable(score.cells.filter(inPhase)),
      leftOut("Missed", score.missed.filter(inPhase)), leftOut("Gated out", score.gated.filter(inPhase)),
      state.phase === POOLED ? el("details", null, el("summary", null, "Pooled rows: shown, not scored"), cellTable(score.pooled.filter((c) => !state.headline || c.headline))) : null);
  }

  function cellTable(cells) {
    if (!cells.length) return nothing("No cell to compare in this phase.");
    const head = [
      el("tr", null, heading("phase", { cls: "text", rowspan: 2 }), heading("quantity", { cls: "text", rowspan: 2 }), heading("samples", { colspan: 2, cls: "first text" }), heading("real µs", { colspan: 3, cls: "first text" }),
        heading("predicted µs", { colspan: 3, cls: "first text" }), heading("error %", { colspan: 3, cls: "first text" }), heading("distance", { colspan: 4, cls: "first text" })),
      el("tr", null, ["real", "pred.", "p50", "p90", "p99", "p50", "p90", "p99", "p50", "p90", "p99", "W1 µs", "W1n", "copy", "skill"]
        .map((t, i) => heading(t, { cls: [0, 2, 5, 8, 11].includes(i) ? "first" : null }))),
    ];
    const rows = cells.map((c) => el("tr", null, el("th", { scope: "row" }, c.phase), el("td", { cls: "text" }, title(c.quantity)),
      el("td", { cls: "first thin" }, String(c.n_real)), el("td", { cls: "thin" }, String(c.n_predicted)),
      [c.real, c.predicted].map((three) => three.map((v, i) => el("td", { cls: i ? null : "first" }, us(v)))),
      c.error_percent.map((v, i) => el("td", { cls: `${i ? "" : "first "}in-${c.within[i]}` }, v === null ? "–" : signed(v.toFixed(0).replace("-0", "0"), Math.round(v)))),
      el("td", { cls: "first" }, fixed(c.w1_ns / NS, 2)), el("td", null, fixed(c.w1n, 3)), el("td", { cls: "thin" }, fixed(c.w1n_copy, 3)), el("td", null, fixed(c.skill, 2))));
    return table(head, rows, "sticky");
  }

  function leftOut(text, cells) {
    if (!cells.length) return null;
    const head = el("tr", null, ["phase", "quantity", "why"].map((t) => heading(t, { cls: "text" })));
    const rows = cells.map((c) => el("tr", null, el("th", { scope: "row" }, c.phase), el("td", { cls: "text" }, title(c.quantity)), el("td", { cls: "prose" }, c.reason)));
    return el("details", { open: "" }, el("summary", null, `${text}: ${cells.length}`), table(head, rows));
  }

  // -- where everything comes from ------------------------------------------------------------------------------------

  // Return [value, kernels] for each different value, in order of first appearance.
  function together(pick) {
    const found = new Map();
    for (const kernel of report.kernels) for (const item of pick(kernel)) {
      const key = JSON.stringify(item);
      if (!found.has(key)) found.set(key, [item, []]);
      found.get(key)[1].push(kernel.name);
    }
    return [...found.values()];
  }
  const usedBy = (names) => (names.length === report.kernels.length ? "all" : names.join(", "));

  function drawArrivals() {
    const all = together((k) => k.arrivals).filter(([a]) => state.phase === POOLED || a.phase === state.phase);
    const head = el("tr", null, ["phase", "line", "model", "arrivals", "evidence", "kernels"].map((t, i) => heading(t, { cls: i === 3 ? null : "text" })));
    const rows = all.map(([a, names]) => el("tr", null, el("th", { scope: "row" }, a.phase), el("td", { cls: "text" }, a.line),
      el("td", { cls: "text", title: Object.entries(a.models).map(([m, n]) => `${m} ${n}`).join(", ") }, a.model.replace("_", " ")),
      el("td", null, String(a.n)), el("td", { cls: "prose" }, arrow(a.evidence)), el("td", { cls: "text thin" }, usedBy(names))));
    fill("arrivals", rows.length ? table(head, rows) : nothing("No interrupt came in this phase."));
  }

  function drawConstants() {
    const order = ["prior", "proxy", "measured"];
    const all = together((k) => k.costs).sort(([a], [b]) => order.indexOf(a.kind) - order.indexOf(b.kind));
    const head = el("tr", null, heading("constant", { cls: "text" }), ["µs", "p10", "p50", "p90", "n"].map((t) => heading(t)), ["kind", "from", "kernels"].map((t) => heading(t, { cls: "text" })));
    const fine = (ns) => (ns === null ? "–" : (ns / NS).toFixed(ns >= 100 * NS ? 0 : 2));
    const rows = all.map(([c, names]) => el("tr", null, el("th", { scope: "row" }, c.name), [c.value, c.p10, c.p50, c.p90].map((v, i) => el("td", { cls: i ? "thin" : null }, fine(v))),
      el("td", { cls: "thin" }, c.n ? String(c.n) : "–"), el("td", { cls: "text" }, el("span", { cls: `kind kind-${c.kind}` }, c.kind)), el("td", { cls: "prose" }, arrow(c.source)), el("td", { cls: "text thin" }, usedBy(names))));
    fill("constants", table(head, rows));
  }

  function drawPolicies() {
    const names = [...new Set(report.kernels.flatMap((k) => Object.keys(k.policies)))].sort();
    const text = (v) => (v === null || v === undefined ? "none" : v === true ? "yes" : v === false ? "no" : String(v));
    const value = (k, name) => (name in k.policies ? text(k.policies[name]) : "–");
    const head = el("tr", null, heading("policy", { cls: "text" }), report.kernels.map((k) => heading(k.name, { title: k.title, cls: "text" })));
    const rows = names.map((name) => {
      const values = report.kernels.map((k) => value(k, name));
      return el("tr", { cls: new Set(values).size > 1 ? "differs" : null }, el("th", { scope: "row" }, name), values.map((v) => el("td", { cls: "text" }, v)));
    });
    fill("policies", table(head, rows));
  }

  // -- the page -------------------------------------------------------------------------------------------------------

  function draw() {
    const name = state.phase === POOLED ? "whole run" : state.phase;
    for (const id of ["latencies", "curves", "contexts", "rates", "accuracy", "arrivals"]) {
      const small = document.querySelector(`#${id} [data-phase]`);
      if (small) small.textContent = name;
    }
    drawLatencies();
    drawCurves();
    drawContexts();
    drawRates();
    drawAccuracy();
    if (body("arrivals")) drawArrivals();
  }

  const select = document.getElementById("phase");
  select.append(el("option", { value: POOLED }, "whole run"), ...report.phases.map((p) => el("option", { value: p }, p)));
  for (const key of ["phase", "scale", "view"]) {
    const box = document.getElementById(key);
    box.value = state[key]; // a reload keeps what was chosen before: start from the state instead
    box.addEventListener("change", () => { state[key] = box.value; if (key === "phase") draw(); else drawCurves(); });
  }
  document.getElementById("legend").append(...runs.map((run) => el("span", { title: run.title }, swatch(run), run.name)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCurves);
  draw();
  drawConstants();
  drawPolicies();
})();
