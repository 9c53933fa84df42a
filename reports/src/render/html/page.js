const detail = document.getElementById("run");

/** A list of texts under a heading; nothing when there are none. */
function list(title, texts) {
  if (!texts.length) return [];
  const items = make("ul");
  items.append(...texts.map((text) => make("li", text)));
  return [make("h3", title), items];
}

/** The table of the calls. */
function spans(run) {
  const head = make("tr");
  for (const title of ["function", "kernel", "start", "length", "returned", "process", "arguments"]) {
    const cell = make("th", title, ["process", "arguments"].includes(title) ? "left" : "");
    cell.scope = "col";
    head.append(cell);
  }
  const body = make("tbody");
  for (const span of run.s.filter((span) => find.has(span))) {
    const [name, kernel, start, lasts, depth, process, args, ret] = span;
    const line = make("tr");
    const first = make("td", word(name));
    first.style.paddingLeft = `${10 + depth * 12}px`;
    line.append(first, make("td", kernel ? "new" : "old"), make("td", length(start)), make("td", lasts < 0 ? "did not return" : length(lasts)), make("td", ret === null ? "–" : ret), make("td", word(process), "left"), make("td", word(args), "left"));
    body.append(line);
  }
  const top = make("thead");
  top.append(head);
  document.getElementById("spans").replaceChildren(top, body);
}

/** Shows one run. */
function show(run, place, move) {
  detail.hidden = false;
  const title = document.getElementById("run-title");
  title.textContent = `Run ${place + 1}: ${run.w ? `${data.window} ${length(run.w[1])}` : `${data.window} not measured`}`;
  const kept = run.s.length < run.n ? `; the ${run.s.length} longest of its ${run.n} calls are in this file` : "";
  document.getElementById("run-note").textContent = `${run.id}, captured ${run.at}${kept}`;
  const facts = make("dl", undefined, "facts");
  for (const [label, text] of run.f) {
    const pair = make("div");
    pair.append(make("dt", word(label)), make("dd", word(text)));
    facts.append(pair);
  }
  document.getElementById("run-lists").replaceChildren(
    ...list("Advice", run.lints.map(word)),
    ...list("Not seen", run.holes.map(word)),
    make("h3", "Where it comes from"),
    facts,
  );
  spans(run);
  waterfall.show(run);
  if (move) {
    title.focus({ preventScroll: true });
    detail.scrollIntoView({ block: "start" });
  }
}

/** Draws the charts of all setups. */
function charts() {
  for (const section of document.querySelectorAll("[data-setup]")) {
    const number = Number(section.dataset.setup);
    const runs = data.runs.filter((run) => run.setup === number);
    histogram(section.querySelector(".histogram"), runs);
    legend(section.querySelector(".legend"), runs);
    const box = section.querySelector(".stack");
    box.choose = (run, place, move) => {
      select(box, number, place);
      show(run, place, move);
      find.tell();
    };
    stack(box, runs, number, box.choose);
    if (box.place !== undefined) select(box, number, box.place);
  }
  if (waterfall.run) waterfall.draw();
}

/** Chooses a run wherever it stands. */
function choose(run) {
  for (const box of document.querySelectorAll(".stack")) {
    const place = (box.runs || []).indexOf(run);
    if (place >= 0) return box.choose(run, place, true);
  }
  show(run, data.runs.indexOf(run), false);
}

/** Marks a run as the chosen one, and no other run of any setup. */
function select(box, number, place) {
  for (const other of document.querySelectorAll('[aria-selected="true"]')) other.setAttribute("aria-selected", "false");
  for (const other of document.querySelectorAll(".stack")) if (other !== box) delete other.place;
  box.place = place;
  const option = document.getElementById(`option-${number}-${place}`);
  option.setAttribute("aria-selected", "true");
  box.setAttribute("aria-activedescendant", option.id);
}

for (const section of document.querySelectorAll("[data-setup]")) {
  const box = section.querySelector(".stack");
  box.addEventListener("keydown", (event) => {
    if (!box.runs) return;
    const [place, last] = [box.place, box.runs.length - 1];
    const next = { ArrowRight: Math.min((place ?? -1) + 1, last), ArrowLeft: Math.max((place ?? 1) - 1, 0), Home: 0, End: last, Enter: place ?? 0 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    box.choose(box.runs[next], next, event.key === "Enter");
    document.getElementById(box.getAttribute("aria-activedescendant")).scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

charts();
if (!find.ask() && data.runs.length === 1) show(data.runs[0], 0, false);
let width = document.body.clientWidth;
addEventListener("resize", () => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  charts();
});
