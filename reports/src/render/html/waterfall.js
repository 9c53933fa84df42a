/** One run on its time axis, with zoom and pan. */
const waterfall = {
  box: document.getElementById("waterfall"),
  run: null,
  from: 0,
  to: 1,

  show(run) {
    this.run = run;
    const ends = [...run.p.map((p) => p[1] + p[2]), ...run.s.map((s) => s[2] + Math.max(0, s[3]))];
    const starts = [...run.p.map((p) => p[1]), ...run.s.map((s) => s[2])];
    const [low, high] = [Math.min(...starts, 0), Math.max(...ends, 1)];
    const room = (high - low) * 0.02;
    this.all = [low - room, high + room];
    this.zoom("window");
  },

  zoom(how, centre = 0.5, factor = 2) {
    const wide = this.to - this.from;
    const at = this.from + wide * centre;
    const scale = (by) => [this.from, this.to] = [at - (at - this.from) * by, at + (this.to - at) * by];
    if (how === "in") scale(1 / factor);
    if (how === "out") scale(factor);
    if (how === "left") [this.from, this.to] = [this.from - wide / 4, this.to - wide / 4];
    if (how === "right") [this.from, this.to] = [this.from + wide / 4, this.to + wide / 4];
    if (how === "all" || (how === "window" && !this.run.w)) [this.from, this.to] = this.all;
    else if (how === "window") {
      const [start, lasts] = this.run.w;
      [this.from, this.to] = [start - lasts * 0.02, start + lasts * 1.02];
    }
    this.keep();
  },

  /** Shows a stretch with as much again on both sides. */
  around(start, lasts) {
    const room = Math.max(lasts, 1000);
    [this.from, this.to] = [start - room, start + lasts + room];
    this.keep();
  },

  /** Keeps at least a microsecond and no more than the run in sight. */
  keep() {
    const [low, high] = this.all;
    const wide = Math.min(Math.max(this.to - this.from, 1000), high - low);
    this.from = Math.min(Math.max(this.from, low), high - wide);
    this.to = this.from + wide;
    this.draw();
  },

  draw() {
    const { run, from, to, box } = this;
    const width = box.clientWidth;
    const [left, right, row, top] = [8, width - 8, 20, 8];
    const lanes = this.lanes();
    const deepest = Math.max(-1, ...lanes);
    const bottom = top + 34 + (deepest + 1) * row + 8;
    const svg = chart(box, width, bottom + 40);
    const hatch = hatching(svg, "hatch-waterfall");
    const x = (t) => left + ((t - from) / (to - from)) * (right - left);
    const axis = ticks(from, to, width / 100);
    for (const t of axis.at) {
      draw(svg, "line", { x1: x(t), x2: x(t), y1: top, y2: bottom, stroke: "var(--grid)" });
      draw(svg, "text", { x: Math.min(Math.max(x(t), 24), width - 24), y: bottom + 15, "text-anchor": "middle", class: "quiet" }, axis.label(t));
    }
    draw(svg, "text", { x: width / 2, y: bottom + 34, "text-anchor": "middle", class: "quiet" }, `since ${data.origin}, ${axis.name}`);
    for (const [name, start, lasts, derived] of run.p) {
      const title = `${word(name)} ${length(lasts)}${derived ? ", derived: no clock runs there" : ""}`;
      const bar = this.bar(svg, x(start), x(start + lasts), top, 24, derived ? hatch : colour(word(name)), word(name), title, derived);
      this.link(bar, "phase", word(name), true);
    }
    run.s.forEach((span, place) => {
      const [name, kernel, start, lasts] = span;
      const end = lasts < 0 ? this.end(kernel) : start + lasts;
      const title = `${word(name)} ${lasts < 0 ? "did not return" : length(lasts)} ${word(span[6])}`;
      const y = top + 34 + lanes[place] * row;
      const bar = this.bar(svg, x(start), x(end), y, row - 3, colour(data.calls[kernel]), word(name), title);
      this.link(bar, "call", find.name(span), find.has(span));
    });
    for (const [t, text] of run.m) {
      const mark = draw(svg, "line", { x1: x(t), x2: x(t), y1: top, y2: bottom, stroke: "var(--ink)", "stroke-dasharray": "2 2" });
      draw(mark, "title", {}, word(text));
    }
  },

  /** A click on a bar makes the page's address one of it; what is not looked for is pale. */
  link(bar, kind, name, wanted) {
    if (!bar) return;
    bar.mark = () => find.mark(kind, name);
    if (find.marked[kind] === name) bar.setAttribute("class", "marked");
    if (!wanted) bar.setAttribute("class", "pale");
  },

  /** A bar with its name on it if there is room. */
  bar(svg, a, b, y, height, paint, name, title, hatched) {
    const width = this.box.clientWidth;
    if (b < 0 || a > width) return;
    const [from, to] = [Math.max(a, -4), Math.min(Math.max(b, a + 1.5), width + 4)];
    const bar = draw(svg, "rect", { x: from, y, width: to - from, height, fill: paint, rx: 1.5, "data-name": name, "data-derived": hatched ? 1 : 0 });
    draw(bar, "title", {}, title);
    const room = Math.min(to, width) - Math.max(from, 0);
    if (room < name.length * 6.6 + 8) return bar;
    const at = Math.max(from, 0) + 4;
    if (hatched) draw(svg, "rect", { x: at - 2, y: y + 3, width: name.length * 6.6 + 4, height: height - 6, fill: "var(--card)", "pointer-events": "none" });
    const dark = data.dark.includes(name);
    draw(svg, "text", { x: at, y: y + height / 2 + 4, style: `fill: ${hatched ? "var(--ink)" : dark ? "#fff" : "#111"}; pointer-events: none` }, name);
    return bar;
  },

  /** Where a call that did not return ends: with its kernel. */
  end(kernel) {
    if (kernel) return this.all[1];
    const gap = this.run.p.find((phase) => word(phase[0]).startsWith("gap."));
    return gap ? gap[1] : this.all[1];
  },

  /** A lane for each call, below the calls that it lies inside of. */
  lanes() {
    const free = [];
    return this.run.s.map((span) => {
      const [, kernel, start, lasts, depth] = span;
      const end = lasts < 0 ? this.end(kernel) : start + lasts;
      let lane = depth;
      while (free[lane] > start) lane++;
      free[lane] = end;
      return lane;
    });
  },
};

{
  const { box } = waterfall;
  const share = (event) => (event.clientX - box.getBoundingClientRect().left) / box.clientWidth;
  const fingers = new Map();
  let pressed = 0;
  box.addEventListener("pointerdown", (event) => {
    pressed = event.clientX;
    fingers.set(event.pointerId, event.clientX);
    try { box.setPointerCapture(event.pointerId); } catch { /* A pointer that is gone drags nothing. */ }
  });
  box.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = [...fingers.values()];
    fingers.set(event.pointerId, event.clientX);
    const after = [...fingers.values()];
    const wide = waterfall.to - waterfall.from;
    if (after.length === 1) {
      const moved = ((before[0] - after[0]) / box.clientWidth) * wide;
      waterfall.from += moved;
      waterfall.to += moved;
      waterfall.keep();
    } else {
      const [was, is] = [Math.abs(before[0] - before[1]), Math.abs(after[0] - after[1])];
      const centre = ((after[0] + after[1]) / 2 - box.getBoundingClientRect().left) / box.clientWidth;
      if (was > 0 && is > 0) waterfall.zoom("in", centre, is / was);
    }
  });
  // Captured, the pointer clicks on the box.
  box.addEventListener("click", (event) => {
    const bar = document.elementFromPoint(event.clientX, event.clientY);
    if (bar && bar.mark && Math.abs(event.clientX - pressed) < 4) bar.mark();
  });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, (event) => fingers.delete(event.pointerId));
  box.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    waterfall.zoom(event.deltaY < 0 ? "in" : "out", share(event), 1.25);
  }, { passive: false });
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "window", a: "all" };
  box.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    waterfall.zoom(keys[event.key]);
  });
  for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => waterfall.zoom(button.dataset.zoom));
}
