// Put the page together, and draw again what the reader changes.

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
    box.addEventListener("change", () => {
        state[key] = box.value;
        if (key === "phase") draw();
        else drawCurves();
    });
}
document.getElementById("legend").append(...runs.map((run) => el("span", { title: run.title }, swatch(run), run.name)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCurves);
draw();
drawConstants();
drawPolicies();
