// Draw where everything comes from: arrivals, constants, policies.

// Return [value, kernels] for each different value, in order of first appearance.
function together(pick) {
    const found = new Map();
    for (const kernel of report.kernels)
        for (const item of pick(kernel)) {
            const key = JSON.stringify(item);
            if (!found.has(key)) found.set(key, [item, []]);
            found.get(key)[1].push(kernel.name);
        }
    return [...found.values()];
}
const usedBy = (names) => (names.length === report.kernels.length ? "all" : names.join(", "));

function drawArrivals() {
    const all = together((k) => k.arrivals).filter(([a]) => state.phase === POOLED || a.phase === state.phase);
    const head = el(
        "tr",
        null,
        ["phase", "line", "model", "arrivals", "evidence", "kernels"].map((t, i) => heading(t, { cls: i === 3 ? null : "text" })),
    );
    const rows = all.map(([a, names]) =>
        el(
            "tr",
            null,
            el("th", { scope: "row" }, a.phase),
            el("td", { cls: "text" }, a.line),
            el(
                "td",
                {
                    cls: "text",
                    title: Object.entries(a.models)
                        .map(([m, n]) => `${m} ${n}`)
                        .join(", "),
                },
                a.model.replace("_", " "),
            ),
            el("td", null, String(a.n)),
            el("td", { cls: "prose" }, arrow(a.evidence)),
            el("td", { cls: "text thin" }, usedBy(names)),
        ),
    );
    fill("arrivals", rows.length ? table(head, rows) : nothing("No interrupt came in this phase."));
}

function drawConstants() {
    const order = ["prior", "proxy", "measured"];
    const all = together((k) => k.costs).sort(([a], [b]) => order.indexOf(a.kind) - order.indexOf(b.kind));
    const head = el(
        "tr",
        null,
        heading("constant", { cls: "text" }),
        ["µs", "p10", "p50", "p90", "n"].map((t) => heading(t)),
        ["kind", "from", "kernels"].map((t) => heading(t, { cls: "text" })),
    );
    const fine = (ns) => (ns === null ? "–" : (ns / NS).toFixed(ns >= 100 * NS ? 0 : 2));
    const rows = all.map(([c, names]) =>
        el(
            "tr",
            null,
            el("th", { scope: "row" }, c.name),
            [c.value, c.p10, c.p50, c.p90].map((v, i) => el("td", { cls: i ? "thin" : null }, fine(v))),
            el("td", { cls: "thin" }, c.n ? String(c.n) : "–"),
            el("td", { cls: "text" }, el("span", { cls: `kind kind-${c.kind}` }, c.kind)),
            el("td", { cls: "prose" }, arrow(c.source)),
            el("td", { cls: "text thin" }, usedBy(names)),
        ),
    );
    fill("constants", table(head, rows));
}

function drawPolicies() {
    const names = [...new Set(report.kernels.flatMap((k) => Object.keys(k.policies)))].sort();
    const text = (v) => (v === null || v === undefined ? "none" : v === true ? "yes" : v === false ? "no" : String(v));
    const value = (k, name) => (name in k.policies ? text(k.policies[name]) : "–");
    const head = el(
        "tr",
        null,
        heading("policy", { cls: "text" }),
        report.kernels.map((k) => heading(k.name, { title: k.title, cls: "text" })),
    );
    const rows = names.map((name) => {
        const values = report.kernels.map((k) => value(k, name));
        return el(
            "tr",
            { cls: new Set(values).size > 1 ? "differs" : null },
            el("th", { scope: "row" }, name),
            values.map((v) => el("td", { cls: "text" }, v)),
        );
    });
    fill("policies", table(head, rows));
}
