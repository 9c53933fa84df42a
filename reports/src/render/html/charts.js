const data = JSON.parse(document.getElementById("data").textContent);
const word = (number) => data.words[number];
const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/** An HTML element. */
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** A length with three digits and a unit. */
function length(ns) {
  const size = Math.abs(ns);
  const [unit, name] = size < 1e3 ? [1, "ns"] : size < 999500 ? [1e3, "µs"] : size < 999.5e6 ? [1e6, "ms"] : [1e9, "s"];
  const value = ns / unit;
  const whole = Math.max(1, Math.floor(Math.log10(Math.abs(value) || 1) + 1));
  const digits = name === "ns" ? 0 : Math.max(0, 3 - whole);
  return `${value.toFixed(digits).replace("-", "−")} ${name}`;
}

/** Round ticks from `from` to `to`, ns, and how to write them. */
function ticks(from, to, wanted) {
  const size = Math.max(Math.abs(from), Math.abs(to));
  const [unit, name] = size < 2e3 ? [1, "ns"] : size < 2e6 ? [1e3, "µs"] : size < 5e9 ? [1e6, "ms"] : [1e9, "s"];
  const raw = Math.max((to - from) / Math.max(1, wanted), 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5].find((digit) => digit * power >= raw * 0.999999) || 10) * power;
  const digits = Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  const at = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) at.push(i * step);
  return { at, name, step, label: (t) => (t / unit).toFixed(digits).replace(/^-(0\.?0*)$/, "$1").replace("-", "−") };
}

const colour = (phase) => `var(--${phase.replaceAll(".", "-").replace(/[^a-z-]/g, "")}, var(--gap-handoff))`;

/** The hatching of what nobody saw; one pattern per chart. */
function hatching(svg, id) {
  const pattern = draw(draw(svg, "defs", {}), "pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  draw(pattern, "rect", { width: 6, height: 6, fill: "var(--card)" });
  draw(pattern, "rect", { width: 1.5, height: 6, fill: "var(--gap-handoff)" });
  return `url(#${id})`;
}

function chart(box, width, height, label) {
  box.replaceChildren();
  if (label) box.setAttribute("aria-label", label);
  return draw(box, "svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** How many runs took how long. */
function histogram(box, runs) {
  const values = runs.filter((run) => run.w).map((run) => run.w[1]);
  if (!values.length) return box.replaceChildren(make("p", `No run has the window ${data.window}.`, "note"));
  const [width, height] = [box.clientWidth, 230];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const wanted = Math.min(40, 3 + 1.5 * Math.sqrt(values.length));
  const step = ticks(0, Math.max((high - low) / wanted, high / 1000, 1), 1).step;
  const from = Math.floor(low / step) * step;
  const counts = new Array(Math.floor((high - from) / step) + 1).fill(0);
  for (const value of values) counts[Math.floor((value - from) / step)]++;
  const most = Math.max(...counts);
  const svg = chart(box, width, height, `${values.length} runs, median ${length(median(values))}, from ${length(low)} to ${length(high)}`);
  const [left, right, top, bottom] = [36, width - 16, 40, height - 40];
  const edge = [from - step / 2, from + (counts.length + 0.5) * step];
  const x = (t) => left + ((t - edge[0]) / (edge[1] - edge[0])) * (right - left);
  const y = (count) => bottom - (count / most) * (bottom - top);
  const upright = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000].find((s) => most / s <= 5) || 1e4;
  for (let count = 0; count <= most; count += upright) {
    draw(svg, "line", { x1: left, x2: right, y1: y(count), y2: y(count), stroke: "var(--grid)" });
    draw(svg, "text", { x: left - 6, y: y(count) + 4, "text-anchor": "end", class: "quiet" }, count);
  }
  counts.forEach((count, place) => {
    if (!count) return;
    const [a, b] = [x(from + place * step), x(from + (place + 1) * step)];
    const bar = draw(svg, "rect", { x: a + 0.5, y: y(count), width: Math.max(1, b - a - 1), height: bottom - y(count), fill: "var(--bar)" });
    draw(bar, "title", {}, `${length(from + place * step)} to ${length(from + (place + 1) * step)}: ${count}`);
  });
  const axis = ticks(edge[0], edge[1], width / 90);
  for (const t of axis.at) draw(svg, "text", { x: Math.min(Math.max(x(t), 20), width - 20), y: bottom + 16, "text-anchor": "middle", class: "quiet" }, axis.label(t));
  draw(svg, "text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle", class: "quiet" }, `${data.window}, ${axis.name}; upright: runs`);
  const middle = median(values);
  draw(svg, "line", { x1: x(middle), x2: x(middle), y1: 22, y2: bottom, stroke: "var(--ink)", "stroke-dasharray": "4 3" });
  const late = x(middle) > width / 2;
  draw(svg, "text", { x: x(middle) + (late ? -6 : 6), y: 30, "text-anchor": late ? "end" : "start", class: "strong" }, `median ${length(middle)}`);
}

/** The phases of each run, stacked; `choose` is told which run was chosen. */
function stack(box, runs, number, choose) {
  const whole = runs.filter((run) => run.p.length);
  if (!whole.length) return box.replaceChildren(make("p", "No run has phases.", "note"));
  const span = (run) => run.p.reduce((sum, phase) => sum + phase[2], 0);
  const longest = Math.max(...whole.map(span));
  const [left, height, top] = [52, 260, 10];
  const each = Math.min(110, Math.max(9, (box.clientWidth - left - 8) / whole.length));
  const width = Math.max(box.clientWidth, left + each * whole.length + 8);
  const bottom = height - 38;
  const svg = chart(box, width, height);
  svg.removeAttribute("aria-hidden");
  const hatch = hatching(svg, `hatch-${number}`);
  const axis = ticks(0, longest, 5);
  const y = (t) => bottom - (t / longest) * (bottom - top);
  for (const t of axis.at) {
    draw(svg, "line", { x1: left, x2: width, y1: y(t), y2: y(t), stroke: "var(--grid)" });
    draw(svg, "text", { x: left - 6, y: y(t) + 4, "text-anchor": "end", class: "quiet" }, axis.label(t));
  }
  draw(svg, "text", { x: 2, y: height - 6, class: "quiet" }, `${data.window}, ${axis.name}, by run`);
  const every = [1, 2, 5, 10, 20, 50, 100].find((n) => n * each >= 26) || 100;
  whole.forEach((run, place) => {
    const from = left + place * each;
    const option = draw(svg, "g", { role: "option", id: `option-${number}-${place}`, "aria-selected": "false", "aria-label": `Run ${place + 1}, ${run.at}, ${run.w ? length(run.w[1]) : "no window"}` });
    let sum = 0;
    for (const phase of run.p) {
      const [upper, lower] = [y(sum + phase[2]), y(sum)];
      sum += phase[2];
      const bar = draw(option, "rect", { x: from + 1, y: upper, width: each - 2, height: Math.max(0.5, lower - upper), fill: phase[3] ? hatch : colour(word(phase[0])) });
      draw(bar, "title", {}, `${word(phase[0])} ${length(phase[2])}${phase[3] ? ", derived" : ""}`);
    }
    draw(option, "rect", { class: "hit", x: from, y: top, width: each, height: bottom - top });
    if ((place + 1) % every === 0 || (place === 0 && every < 3)) draw(svg, "text", { x: from + each / 2, y: bottom + 15, "text-anchor": "middle", class: "quiet" }, place + 1);
    option.addEventListener("click", () => choose(run, place, true));
  });
  box.runs = whole;
}

/** Colours of the phases of these runs. */
function legend(box, runs) {
  const seen = new Map();
  for (const run of runs) for (const phase of run.p) seen.set(word(phase[0]), seen.get(word(phase[0])) || phase[3]);
  box.replaceChildren(...[...seen].map(([phase, derived]) => {
    const entry = make("span");
    const swatch = make("i", "", "swatch");
    swatch.style.background = fill(phase, derived);
    entry.append(swatch, derived ? `${phase} (derived)` : phase);
    return entry;
  }));
}

const fill = (phase, derived) => derived ? "repeating-linear-gradient(45deg, var(--gap-handoff) 0 1.5px, var(--card) 1.5px 4px)" : colour(phase);
