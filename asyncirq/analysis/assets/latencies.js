// Draw the table of latencies: one row per quantity, four columns per kernel.

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
        el(
            "tr",
            null,
            heading("", { cls: "text", rowspan: 2 }),
            runs.map((r) => heading([swatch(r), r.name], { colspan: 4, cls: "first text", title: r.title })),
        ),
        el(
            "tr",
            null,
            runs.map(() => ["p50", "p90", "p99", "n"].map((t, i) => heading(t, { cls: i === 0 ? "first" : null }))),
        ),
    ];
    const rows = [];
    let group = "";
    for (const q of quantities) {
        if (q.group !== group) {
            group = q.group;
            rows.push(el("tr", { cls: "group" }, el("th", { colspan: 1 + 4 * runs.length, scope: "colgroup" }, group)));
        }
        const found = runs.map((r) => {
            const p = phaseOf(r);
            return p ? p.quantities[q.name] : undefined;
        });
        const link = el("a", { href: `#q-${report.quantities.indexOf(q)}`, title: q.definition }, q.label || q.group);
        rows.push(
            el(
                "tr",
                null,
                el("th", { scope: "row" }, link),
                found.map((s, i) => latencyCells(s, found[0], i === 0)),
            ),
        );
    }
    const toggle = el(
        "label",
        null,
        el("input", {
            type: "checkbox",
            id: "every",
            on: {
                change: (e) => {
                    state.every = e.target.checked;
                    draw();
                },
            },
        }),
        ` also quantities with fewer than ${ENOUGH} samples, and other pairings`,
    );
    toggle.firstChild.checked = state.every;
    fill(
        "latencies",
        rows.length ? table(head, rows, "sticky") : nothing("No latency with enough samples in this phase."),
        el("div", { cls: "tools" }, toggle),
    );
}
