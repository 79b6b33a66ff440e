// Draw the scores, the cells, and what was left out.

function drawAccuracy() {
    if (!report.against) return;
    const scores = report.against.kernels;
    const texts = ["kernel", "set"].map((t) => heading(t, { cls: "text" }));
    const names = [
        ["cells", "compared"],
        ["p50 in 10 %", "cells whose median is within 10 % or 1 µs"],
        ["p50 in 25 %", ""],
        ["p90 in 10 %", ""],
        ["p90 in 25 %", ""],
        ["W1n", "median normalised Wasserstein distance"],
        ["W1n p90", "its 90th percentile"],
        ["skill", "1 - mean W1n of the model / mean W1n of copying the captured kernel"],
        ["X", "largest difference of a vector's share in a context, percentage points"],
        ["missed", "cells that only the real capture has"],
        ["gated out", "cells whose arrivals differ"],
    ];
    const head = el(
        "tr",
        null,
        texts,
        names.map(([t, hint]) => heading(t, { title: hint })),
    );
    const percent = (v) => (v === null ? "–" : `${v.toFixed(0)} %`);
    const rows = scores.flatMap((s) =>
        [
            ["headline", s.headline],
            ["hard set", s.hard],
        ].map(([set, part], i) =>
            el(
                "tr",
                null,
                el("th", { scope: "row" }, i ? "" : s.kernel + (s.target ? " (target)" : "")),
                el("td", { cls: "text" }, set),
                el("td", null, String(part.cells)),
                [part.h10, part.h25, part.t10, part.t25].map((v) => el("td", null, percent(v))),
                [part.w, part.w_p90].map((v) => el("td", null, fixed(v, 3))),
                el("td", null, fixed(part.skill, 2)),
                i
                    ? [el("td"), el("td"), el("td")]
                    : [
                          el("td", { title: s.x_where }, fixed(s.x, 1)),
                          el("td", null, String(s.missed.length)),
                          el("td", null, String(s.gated.length)),
                      ],
            ),
        ),
    );
    const score = scores[state.kernel];
    const buttons = scores.map((s, i) =>
        el(
            "button",
            {
                type: "button",
                "aria-pressed": String(i === state.kernel),
                on: {
                    click: () => {
                        state.kernel = i;
                        drawAccuracy();
                    },
                },
            },
            s.kernel,
        ),
    );
    const toggle = el(
        "label",
        null,
        el("input", {
            type: "checkbox",
            on: {
                change: (e) => {
                    state.headline = e.target.checked;
                    drawAccuracy();
                },
            },
        }),
        " headline cells only (scheduling and deferral)",
    );
    toggle.firstChild.checked = state.headline;
    const inPhase = (c) => (state.phase === POOLED || c.phase === state.phase) && (!state.headline || c.headline);
    fill(
        "accuracy",
        table(head, rows),
        el("div", { cls: "tools" }, scores.length > 1 ? buttons : null, toggle),
        cellTable(score.cells.filter(inPhase)),
        leftOut("Missed", score.missed.filter(inPhase)),
        leftOut("Gated out", score.gated.filter(inPhase)),
        state.phase === POOLED
            ? el(
                  "details",
                  null,
                  el("summary", null, "Pooled rows: shown, not scored"),
                  cellTable(score.pooled.filter((c) => !state.headline || c.headline)),
              )
            : null,
    );
}

function cellTable(cells) {
    if (!cells.length) return nothing("No cell to compare in this phase.");
    const head = [
        el(
            "tr",
            null,
            heading("phase", { cls: "text", rowspan: 2 }),
            heading("quantity", { cls: "text", rowspan: 2 }),
            heading("samples", { colspan: 2, cls: "first text" }),
            heading("real µs", { colspan: 3, cls: "first text" }),
            heading("predicted µs", { colspan: 3, cls: "first text" }),
            heading("error %", { colspan: 3, cls: "first text" }),
            heading("distance", { colspan: 4, cls: "first text" }),
        ),
        el(
            "tr",
            null,
            ["real", "pred.", "p50", "p90", "p99", "p50", "p90", "p99", "p50", "p90", "p99", "W1 µs", "W1n", "copy", "skill"].map((t, i) =>
                heading(t, { cls: [0, 2, 5, 8, 11].includes(i) ? "first" : null }),
            ),
        ),
    ];
    const rows = cells.map((c) =>
        el(
            "tr",
            null,
            el("th", { scope: "row" }, c.phase),
            el("td", { cls: "text" }, title(c.quantity)),
            el("td", { cls: "first thin" }, String(c.n_real)),
            el("td", { cls: "thin" }, String(c.n_predicted)),
            [c.real, c.predicted].map((three) => three.map((v, i) => el("td", { cls: i ? null : "first" }, us(v)))),
            c.error_percent.map((v, i) =>
                el(
                    "td",
                    { cls: `${i ? "" : "first "}in-${c.within[i]}` },
                    v === null ? "–" : signed(v.toFixed(0).replace("-0", "0"), Math.round(v)),
                ),
            ),
            el("td", { cls: "first" }, fixed(c.w1_ns / NS, 2)),
            el("td", null, fixed(c.w1n, 3)),
            el("td", { cls: "thin" }, fixed(c.w1n_copy, 3)),
            el("td", null, fixed(c.skill, 2)),
        ),
    );
    return table(head, rows, "sticky");
}

function leftOut(text, cells) {
    if (!cells.length) return null;
    const head = el(
        "tr",
        null,
        ["phase", "quantity", "why"].map((t) => heading(t, { cls: "text" })),
    );
    const rows = cells.map((c) =>
        el(
            "tr",
            null,
            el("th", { scope: "row" }, c.phase),
            el("td", { cls: "text" }, title(c.quantity)),
            el("td", { cls: "prose" }, c.reason),
        ),
    );
    return el("details", { open: "" }, el("summary", null, `${text}: ${cells.length}`), table(head, rows));
}
