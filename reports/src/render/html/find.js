/** What is looked for in the run, and what the address of the page says of it. */
const find = {
  box: document.getElementById("find"),
  /** A phase's name, or a call as `NAME@START`, ns. */
  marked: { phase: null, call: null },

  /** Whether a call has the words that are looked for: in its name, process or arguments. */
  has(span) {
    const wanted = this.box.value.toLowerCase();
    return !wanted || [span[0], span[5], span[6]].some((text) => word(text).toLowerCase().includes(wanted));
  },

  name: (span) => `${word(span[0])}@${span[2]}`,

  /** Marks a phase or a call, and says so in the address. */
  mark(kind, name) {
    this.marked = { phase: null, call: null, [kind]: name };
    this.tell();
    waterfall.draw();
  },

  /** The address that shows this again. */
  tell() {
    const parts = new URLSearchParams({ run: waterfall.run.id });
    for (const [kind, name] of Object.entries(this.marked)) if (name) parts.set(kind, name);
    if (this.box.value) parts.set("find", this.box.value);
    history.replaceState(null, "", `#${parts}`);
  },

  /** Shows what the address of the page asks for; false where it asks for no run of it. */
  ask() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const run = data.runs.find((run) => run.id === asked.get("run"));
    if (!run) return false;
    this.box.value = asked.get("find") || "";
    this.marked = { phase: asked.get("phase"), call: asked.get("call") };
    choose(run);
    const phase = run.p.find((phase) => word(phase[0]) === this.marked.phase);
    const call = run.s.find((span) => this.name(span) === this.marked.call);
    if (phase) waterfall.around(phase[1], phase[2]);
    if (call) waterfall.around(call[2], Math.max(call[3], 0));
    return true;
  },
};

find.box.addEventListener("input", () => {
  spans(waterfall.run);
  waterfall.draw();
  find.tell();
});
addEventListener("hashchange", () => find.ask());
