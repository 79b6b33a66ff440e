// Hold the report, what the reader chose, and the small functions that every section uses.

const report = JSON.parse(document.getElementById("report").textContent);
const NS = 1000; // ns in a us
const ENOUGH = 30; // samples of a quantity that is shown by default
const POOLED = report.captured.stats.pooled.phase;
const state = { phase: POOLED, scale: "log", view: "cdf", every: false, kernel: 0, headline: true };

const runs = [{ name: "captured", stats: report.captured.stats, colour: "--run-0" }];
report.kernels.forEach((k, i) => runs.push({ name: k.name, title: k.title, stats: k.stats, colour: `--run-${1 + (i % 6)}` }));
if (report.against) runs.push({ name: "real", stats: report.against.stats, colour: "--run-real", dashed: true });
const info = new Map(report.quantities.map((q) => [q.name, q]));

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
