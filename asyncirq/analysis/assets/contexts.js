// Draw where vectors ran, the shares of the CPUs' time, rates and counts.

function runHeads(width) {
    return runs.map((run) => heading([swatch(run), run.name], { style: { width: width || "auto" } }));
}
function union(pick) {
    return [
        ...new Set(
            runs
                .map(phaseOf)
                .filter(Boolean)
                .flatMap((p) => Object.keys(pick(p) || {})),
        ),
    ].sort();
}

function drawContexts() {
    const rows = [];
    for (const vector of union((p) => p.contexts)) {
        union((p) => p.contexts[vector]).forEach((context, i) => {
            const cells = runs.map((run) => {
                const p = phaseOf(run),
                    counts = p && p.contexts[vector];
                if (!counts) return el("td", { cls: "thin" }, "–");
                const total = Object.values(counts).reduce((a, b) => a + b, 0),
                    count = counts[context] || 0;
                return el(
                    "td",
                    { cls: count ? "share" : "thin", style: { "--share": `${(100 * count) / total}%` }, title: `${count} of ${total}` },
                    share(count / total),
                );
            });
            rows.push(el("tr", null, el("th", { scope: "row" }, i === 0 ? vector : ""), el("td", { cls: "text" }, context), cells));
        });
    }
    const head = el("tr", null, heading("vector", { cls: "text" }), heading("ran in", { cls: "text" }), runHeads(`${70 / runs.length}%`));
    fill("contexts", rows.length ? table(head, rows) : nothing("No softirq ran in this phase."));
}

function rateRow(name, pick, show, hint) {
    const values = runs.map((run) => {
        const p = phaseOf(run);
        return p ? pick(p) : null;
    });
    return el(
        "tr",
        null,
        el("th", { scope: "row", title: hint }, name),
        values.map((v, i) => {
            const change = i && v !== null && values[0] !== null ? v - values[0] : 0;
            const text = show(Math.abs(change));
            const small = change && text !== show(0) ? el("span", { cls: "change" }, (change > 0 ? "+" : "−") + text) : null;
            return el("td", null, v === null ? "–" : show(v), small);
        }),
    );
}

function drawRates() {
    const head = (text) => el("tr", null, heading(text, { cls: "text" }), runHeads());
    const count = String;
    const rates = [
        ...["hardirq", "softirq", "task", "idle"].map((c) => rateRow(`CPU time in ${c}`, (p) => p.cpu_share[c], share)),
        rateRow("interrupts a second", (p) => p.interrupts_per_second, rate),
        rateRow("task switches a second", (p) => p.switches_per_second, rate),
        rateRow(
            "duration, ms",
            (p) => p.duration_ns / 1e6,
            (v) => v.toFixed(0),
        ),
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
        const name =
            kind === "no_effect"
                ? `${rest.join(":")}: raised, woke and queued nothing`
                : kind === "merged"
                  ? `${title(rest.join(":"))}: an earlier one was still waiting`
                  : key;
        return rateRow(name, (p) => p.censored[key] || 0, count);
    });
    fill(
        "rates",
        el("div", { cls: "split" }, table(head(""), rates), counts.length ? table(head("interrupts and softirqs"), counts) : null),
        censored.length
            ? el("details", null, el("summary", null, "Interrupts that have no latency, and why"), table(head(""), censored))
            : null,
    );
}
