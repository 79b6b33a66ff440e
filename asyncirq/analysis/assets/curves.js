// Draw the cards: a cumulative curve per kernel, and all quantiles below it.

let plots = [];
const seen = new IntersectionObserver(
    (entries) =>
        entries.forEach((e) => {
            if (e.isIntersecting) {
                seen.unobserve(e.target);
                e.target.plot();
            }
        }),
    { rootMargin: "300px" },
);
const sized = new ResizeObserver((entries) =>
    entries.forEach((e) =>
        plots.filter((p) => p.box === e.target).forEach((p) => p.chart.setSize({ width: e.target.clientWidth, height: 240 })),
    ),
);

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
    const head = el(
        "tr",
        null,
        heading("µs", { cls: "text" }),
        ["n", "p50", "p90", "p99", "p99.9", "max", "Δ p50"].map((t) => heading(t)),
    );
    const rows = found.map(({ run, stats }) =>
        el(
            "tr",
            null,
            el("th", { scope: "row" }, swatch(run), run.name),
            el("td", { cls: "thin" }, String(stats.n)),
            keys.map((key) =>
                el("td", { cls: (key === "p99" && stats.n < 100) || (key === "p999" && stats.n < 1000) ? "thin" : null }, us(stats[key])),
            ),
            el("td", null, base && stats !== base ? signed(us(stats.p50 - base.p50), stats.p50 - base.p50) : ""),
        ),
    );
    return el(
        "div",
        { cls: "card", id: `q-${report.quantities.indexOf(q)}` },
        el("h3", null, title(q.name)),
        el("p", null, q.definition),
        box,
        table(head, rows),
    );
}

// All curves share one list of x values: each keeps its level between its own steps, so nothing is interpolated.
function curves(found) {
    const least = report.captured.source.resolution_ns / 2;
    const at = (ns) => Math.max(ns, least) / NS; // a logarithmic axis has no 0
    const xs = [...new Set(found.flatMap((f) => f.stats.cdf.map((step) => at(step[0]))))].sort((a, b) => a - b);
    const first = xs[0],
        last = xs[xs.length - 1];
    xs.unshift(state.scale === "log" ? first / 1.15 : first - 0.03 * (last - first || 1));
    xs.push(state.scale === "log" ? last * 1.15 : last + 0.03 * (last - first || 1));
    const ys = found.map(({ stats }) => {
        let i = 0,
            below = 0;
        return xs.map((x) => {
            while (i < stats.cdf.length && at(stats.cdf[i][0]) <= x) below = stats.cdf[i++][1];
            if (state.view === "cdf") return (100 * below) / stats.n;
            if (below < stats.n) return (100 * (stats.n - below)) / stats.n;
            return i++ === stats.cdf.length ? 1e-9 : null; // one drop to the bottom, then nothing: a logarithmic axis has no 0
        });
    });
    return [xs, ...ys];
}

// Round values for a logarithmic axis: 1, 2, 5 of each decade, more where less than a decade is shown.
function logSplits(u, axis, min, max) {
    const steps = max / min < 8 ? [1, 1.5, 2, 3, 5, 7] : max / min < 1e3 ? [1, 2, 5] : [1];
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
        width: box.clientWidth,
        height: 240,
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false } },
        scales: {
            x: { time: false, distr: state.scale === "log" ? 3 : 1, range: (u, min, max) => [min, max] },
            y: tail ? { distr: 3, range: [floor, 100] } : { range: [0, 100] },
        },
        axes: [
            { ...axis, size: 34, space: 48, ...(state.scale === "log" ? logAxis : {}), values: (u, splits) => splits.map(label) },
            {
                ...axis,
                size: 52,
                ...(tail ? logAxis : {}),
                values: (u, splits) => splits.map((v) => (v === null ? "" : `${+v.toPrecision(2)} %`)),
            },
        ],
        series: [
            {},
            ...found.map(({ run }) => ({
                label: run.name,
                stroke: colour(run.colour),
                width: run === runs[0] ? 4 : run.dashed ? 1.5 : 2,
                dash: run.dashed ? [6, 4] : undefined,
                points: { show: false },
                paths: uPlot.paths.stepped({ align: 1 }),
            })),
        ],
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
                const rows = found.map(({ run }, s) =>
                    el("div", null, el("span", null, swatch(run), run.name), el("span", null, `${fixed(data[s + 1][i] ?? 0, 1)} %`)),
                );
                node.replaceChildren(
                    el("div", null, `${state.view === "tail" ? "above" : "at or below"} ${us(Math.round(x * 10) * 100)} µs`),
                    ...rows,
                );
                const wide = node.offsetWidth;
                node.style.left = `${left + 14 + wide > u.over.clientWidth ? Math.max(0, left - wide - 14) : left + 14}px`;
                node.style.top = `${Math.max(0, Math.min(top, u.over.clientHeight - node.offsetHeight))}px`;
            },
        },
    };
}
