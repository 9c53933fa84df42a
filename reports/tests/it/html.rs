//! The HTML report, and what a browser makes of it.

use std::path::PathBuf;
use std::process::Command;

use reports::files::file::Fault;
use reports::files::set::{Keep, Set, read_set_with};
use reports::model::Run;
use reports::render::html::{KEEP, render};

use crate::foreign::chromium;
use crate::made::{full_run, kernel, run, run_without_carrier, spread};
use crate::recorded::{recorded_directory, recorded_set};

fn set(runs: Vec<Run>) -> Set {
    Set {
        paths: runs.iter().map(|run| PathBuf::from(&run.id)).collect(),
        runs,
        ..Set::default()
    }
}

/// The data that the charts are drawn from.
fn data(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"data\">").unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_same_runs_give_the_same_page_and_it_asks_no_network() {
    let html = render(&set(recorded_set())).unwrap();
    assert_eq!(html, render(&set(recorded_set())).unwrap());
    for outside in [" src=", "@import", "url(http", "fetch(", "XMLHttpRequest"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let links: Vec<&str> = html.matches("http").collect();
    assert_eq!(links.len(), 1, "only the name of SVG is a URL");
}

#[test]
fn a_thousand_runs_of_500_calls_fit_in_a_megabyte_and_say_what_was_left_out() {
    let spans = full_run().spans;
    let mut runs = spread(1_000);
    for run in &mut runs {
        run.spans = spans[..500].to_vec();
    }
    let html = render(&set(runs)).unwrap();
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
    assert!(html.contains("it holds the 9000 longest of 500000 calls, shared out evenly"));
    let first = &data(&html)["runs"][0];
    assert_eq!(
        (first["s"].as_array().unwrap().len(), &first["n"]),
        (9, &500.into())
    );
}

#[test]
fn a_page_is_the_same_of_runs_that_were_read_for_it_alone() {
    let directory = recorded_directory();
    let read = |keep| read_set_with(&[directory.path()], keep, &|_, _| ()).unwrap();
    let (all, kept) = (read(Keep::All), read(KEEP));
    assert!(kept.runs[0].spans.len() < all.runs[0].spans.len());
    assert_eq!(render(&kept).unwrap(), render(&all).unwrap());
}

#[test]
fn a_name_cannot_break_out_of_the_page() {
    let mut runs = vec![full_run()];
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'";
    runs[0].host.cpu_model = evil.to_owned();
    runs[0].spans[0].comm = evil.to_owned();
    runs[0].lints[0].text = evil.to_owned();
    let html = render(&set(runs)).unwrap();
    assert!(!html.contains("<img"));
    assert_eq!(html.matches("</script>").count(), 2);
    assert!(
        data(&html)["words"]
            .as_array()
            .unwrap()
            .iter()
            .any(|word| word.as_str().unwrap().contains(evil))
    );
}

#[test]
fn setups_and_skipped_files_are_named() {
    let mut runs: Vec<Run> = (0..4).map(run).collect();
    for run in &mut runs[2..] {
        run.new_kernel = kernel("7.4.0-made-up", "cccc");
    }
    let mut set = set(runs);
    let path = PathBuf::from("runs/6.run.json");
    set.skipped.push(Fault::Empty.of(&path));
    let html = render(&set).unwrap();
    for said in [
        "<title>luo-trace: 4 runs of 2 setups</title>",
        "are not comparable",
        "<h2>Setup 2: restore 471.2 ms",
        "1 file skipped",
        "runs/6.run.json: empty; luo-trace writes",
    ] {
        assert!(html.contains(said), "{said}");
    }
}

/// What a person does, and what must be there afterwards.
const VISIT: &str = r##"<script>
addEventListener("load", async () => {
  const seen = {};
  const pause = () => new Promise((done) => setTimeout(done, 50));
  const one = (selector) => document.querySelector(selector);
  const key = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  seen.bars = document.querySelectorAll(".histogram svg rect").length;
  seen.options = document.querySelectorAll("[role=option]").length;
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.before = one("#run").hidden;
  one("[role=option]").dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await pause();
  seen.after = one("#run").hidden;
  seen.clicked = one("#run-title").textContent;
  seen.focused = document.activeElement.id;
  seen.phases = [...document.querySelectorAll("#waterfall rect[data-name]")].filter((bar) => /^(old|gap|new)\./.test(bar.dataset.name)).length;
  seen.derived = [...document.querySelectorAll("#waterfall [data-derived='1']")].map((bar) => [bar.dataset.name, bar.getAttribute("fill")]);
  seen.calls = document.querySelectorAll("#spans tbody tr").length;
  seen.facts = [...document.querySelectorAll("#run-lists dt")].map((term) => term.textContent);
  const width = () => waterfall.to - waterfall.from;
  const whole = width();
  one("[data-zoom=in]").click();
  seen.zoomed = whole / width();
  key(one("#waterfall"), "+");
  seen.zoomedByKey = Math.round(whole / width());
  const from = waterfall.from;
  key(one("#waterfall"), "ArrowRight");
  seen.panned = waterfall.from > from;
  const pointer = (type, clientX) => one("#waterfall").dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX, clientY: 5, bubbles: true }));
  const before = waterfall.from;
  pointer("pointerdown", 100); pointer("pointermove", 160); pointer("pointerup", 160);
  seen.dragged = waterfall.from < before;
  key(one("#waterfall"), "0");
  seen.reset = Math.abs(width() - whole) < 1;
  const stack = one(".stack");
  key(stack, "ArrowRight");
  seen.byKey = one("#run-title").textContent;
  seen.selected = document.querySelectorAll('[aria-selected="true"]').length;
  key(stack, "End");
  seen.last = one("#run-title").textContent;
  const press = (bar) => {
    bar.scrollIntoView({ block: "center" });
    const place = bar.getBoundingClientRect();
    const at = { pointerId: 2, clientX: place.x + place.width / 2, clientY: place.y + place.height / 2, bubbles: true };
    one("#waterfall").dispatchEvent(new PointerEvent("pointerdown", at));
    one("#waterfall").dispatchEvent(new PointerEvent("pointerup", at));
    one("#waterfall").dispatchEvent(new MouseEvent("click", at));
  };
  press([...document.querySelectorAll("#waterfall rect[data-name]")].find((bar) => bar.getBoundingClientRect().width > 20));
  seen.link = location.hash;
  one("#find").value = "MEMFD";
  one("#find").dispatchEvent(new InputEvent("input", { bubbles: true }));
  seen.found = [...document.querySelectorAll("#spans tbody td:first-child")].map((cell) => cell.textContent);
  seen.pale = document.querySelectorAll("#waterfall .pale").length > 0;
  const second = data.runs[1];
  if (second) {
    location.hash = `#run=${second.id}&phase=new.early`;
    await pause();
    seen.followed = [one("#run-title").textContent, one("#waterfall .marked").dataset.name, one("#find").value];
    const early = second.p.find((phase) => word(phase[0]) === "new.early");
    seen.around = waterfall.from < early[1] && waterfall.to > early[1] + early[2] && waterfall.to - waterfall.from < 4 * early[2];
  }
  const theme = document.documentElement.dataset.theme;
  one("#theme").click();
  seen.theme = document.documentElement.dataset.theme !== theme;
  seen.errors = errors;
  const report = document.createElement("pre");
  report.id = "seen";
  report.textContent = JSON.stringify(seen);
  document.body.append(report);
});
</script>"##;

/// Catches what would go to the console, before any script of the page.
const LISTEN: &str = r#"<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
for (const level of ["error", "warn"]) console[level] = (...words) => errors.push(words.join(" "));
</script>"#;

/// Opens a page from disk, lets the script of the page run, and returns the document.
fn visit(browser: &str, html: &str, width: u32) -> String {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("report.html");
    std::fs::write(&page, html).unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--virtual-time-budget=20000",
        ])
        .arg(format!("--window-size={width},900"))
        .arg(format!(
            "--user-data-dir={}",
            directory.path().join("profile").display()
        ))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn seen(html: &str, width: u32) -> Option<serde_json::Value> {
    seen_by(html, &format!("{VISIT}</body>"), width)
}

/// What a script that ends in `</body>` writes down of a page; nothing where
/// there is no browser.
pub fn seen_by(html: &str, script: &str, width: u32) -> Option<serde_json::Value> {
    let browser = chromium()?;
    let html = html
        .replacen("<style>", &format!("{LISTEN}<style>"), 1)
        .replacen("</body>", script, 1);
    let document = visit(browser, &html, width);
    let (_, rest) = document
        .split_once("id=\"seen\">")
        .expect("the page reached its end");
    let (json, _) = rest.split_once("</pre>").unwrap();
    let json = json
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    Some(serde_json::from_str(&json).unwrap())
}

#[test]
fn a_browser_draws_it_and_clicks_keys_and_drags_work() {
    let html = render(&set(recorded_set())).unwrap();
    let Some(seen) = seen(&html, 1280) else {
        return;
    };
    insta::assert_snapshot!(serde_json::to_string_pretty(&seen).unwrap());
}

#[test]
fn a_browser_has_nothing_against_holes_many_runs_or_one() {
    let mut holes: Vec<Run> = (0..3).map(run).collect();
    holes.push(run_without_carrier(7));
    for runs in [holes, spread(1_000)] {
        let count = runs.iter().filter(|run| !run.phases.is_empty()).count();
        let html = render(&set(runs)).unwrap();
        let Some(seen) = seen(&html, 500) else { return };
        assert_eq!(seen["errors"], serde_json::json!([]));
        assert_eq!(seen["options"], count);
        assert_eq!(seen["wide"], 0, "the page is wider than the screen");
    }
}

/// A run by itself is at hand at once, and the page's address can name its calls.
const GLANCE: &str = r##"<script>
addEventListener("load", async () => {
  const one = (selector) => document.querySelector(selector);
  const bars = () => [...document.querySelectorAll("#waterfall rect[data-name]")].map((bar) => bar.dataset.name);
  const seen = { hidden: one("#run").hidden, bars: bars().length, options: document.querySelectorAll("[role=option]").length };
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  seen.calls = document.querySelectorAll("#spans tbody tr").length === data.runs[0].s.length;
  const call = data.runs[0].s.find((span) => span[3] > 0);
  location.hash = `#run=${data.runs[0].id}&call=${word(call[0])}@${call[2]}`;
  await new Promise((done) => setTimeout(done, 50));
  seen.marked = one("#waterfall .marked").dataset.name === word(call[0]);
  seen.errors = errors;
  const report = document.createElement("pre");
  report.id = "seen";
  report.textContent = JSON.stringify(seen);
  document.body.append(report);
});
</script></body>"##;

#[test]
fn a_browser_shows_a_run_by_itself_at_once() {
    let run = full_run();
    let phases = run.phases.len();
    let html = render(&set(vec![run])).unwrap();
    let Some(seen) = seen_by(&html, GLANCE, 500) else {
        return;
    };
    assert!(seen["bars"].as_u64().unwrap() >= phases as u64, "{seen}");
    let expected = serde_json::json!({
        "hidden": false, "bars": seen["bars"], "options": 0, "wide": 0, "calls": true,
        "marked": true, "errors": [],
    });
    assert_eq!(seen, expected);
}
