//! The page of faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::kinds::KINDS;
use super::later;
use crate::progress::say;

const HEAD: &str = "\
# Faults

<!-- Written by `cargo xtask torture --page`. -->

A profiler of live updates must never be what breaks one. `cargo xtask torture` tries to break
updates, and luo-trace while it traces them: each case is a real live update in a virtual machine,
with one or two faults drawn from a seed. The same seed gives the same faults (not the same
instants: the machine's clock is real).

## What luo-trace promises

1. **The update arrives.** Whatever happens to luo-trace, no update fails, hangs or loses data
   because of it. Checked: every boot comes to its end, and the agent verifies every byte of the
   workload.
2. **What is measured is true.** A window holds the host's own measurement within the printed
   errors, or the run names the hole and its reason. Checked: the host's clock, by bytes that the
   machine writes at both ends; the run's own consistency check; a hole of its own for each part
   that is missing; the outcome, and what is said of the agent, against what the agent did.
3. **Every command ends properly.** It exits with a documented status, says why in one sentence,
   and leaves nothing behind. Checked: exit statuses and logs; a signal kills only whom the case
   sent it, and not by SIGTERM, SIGINT or SIGHUP who was ready; eBPF programs, maps and links,
   enabled events, trace instances, sessions and temporary files in the new kernel. After SIGKILL
   `doctor` says what still runs and how to end it.
4. **Nothing foreign is believed.** A trace that was damaged, replayed or left by another boot is
   refused, or read in part with the loss told. Checked: the window against bounds by the host's
   clock alone, beside promise 2; no trace of an earlier boot is in a run; where records were torn
   out of a trace, its run is not a whole one without a loss.

`cargo xtask torture --case SEED` runs a case again and keeps its files. A case that breaks a
promise is reduced to the fewest faults that still break it, and its files are kept, too, in
`target/torture`.
";

/// What the columns of the table are.
const COLUMNS: &str = "
- *fault*: its kind; a case with two faults is in both rows.
- *cases*: how many updates were done with it, or pairs of updates.
- *struck*: in how many of them every fault that can be checked took effect; in the others a program
  had ended before its instant, never made the call that was to fail, or held nothing to damage, or
  the step that makes the fault failed.
- *held*: how many of them kept all four promises.
- *what came of the trace*: what `collect` wrote and how it ended; of two updates, the second's.
";

const LIMITS: &str = "
## Limits

- A case does not end with the same instruction each time: a failure at a random instant may need
  several tries to be seen again.
- Where the witness has too few bytes or marks (a killed `record`, a torn trace), the window is held
  against bounds by the host's clock only: an eighth of the time between the last byte before the
  kexec and the first after the restore, and that time itself.
- Claims about the agent are judged only where `collect` could see it. An outcome of `partial` is
  judged only where `collect` went on watching after the agent was done.
- After a tear only records count as damage, not the sums and counters beside them. Where `record`
  may have ended after the tear, it is not judged: another one's trace may have arrived.
- `record` is judged until it is ready and by its log; how it ends after that is not seen.
- Kernels as distributions build them are used for lockdown alone.
- Open: with the old kernel's clock slewed as fast as adjtimex(2) allows after everything was preserved
  (seed 2040), one run's window was 460 us beyond the errors of run and witness, on a busy machine;
  it held when the case was run again.
- Not covered: suspend. The lab's small kernel lacks it, and the other one, suspended to idle in
  QEMU 7.2, did not wake by its clock, with no process of luo-trace in that kernel.
- A carrier of another build or machine is this one's with other words and numbers, and sums that
  are right: no other build writes it.
";

/// Cases of a kind.
#[derive(Default)]
struct Row {
    cases: usize,
    struck: usize,
    held: usize,
    outcomes: BTreeMap<String, usize>,
}

/// Writes the page from all cases that were run.
pub fn write(cases: &Path) -> Result<()> {
    let lines = fs::read_to_string(cases).with_context(|| cases.display().to_string())?;
    // The newest of each seed.
    let mut newest = BTreeMap::new();
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line)?;
        newest.insert(case["seed"].as_u64(), case);
    }
    let cases: Vec<Value> = newest.into_values().collect();
    let path = crate::workspace().join("luo-trace/docs/faults.md");
    fs::write(&path, text(&cases)?)?;
    say(&format!("written: {}", path.display()));
    Ok(())
}

fn text(cases: &[Value]) -> Result<String> {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for case in cases {
        for kind in case["kinds"].as_array().into_iter().flatten() {
            let row = rows.entry(kind.as_str().unwrap_or_default()).or_default();
            row.cases += 1;
            row.struck += usize::from(case["struck"] == true);
            row.held += usize::from(case["held"] == true);
            let outcome = case["outcome"].as_str().unwrap_or_default().to_owned();
            *row.outcomes.entry(outcome).or_default() += 1;
        }
    }
    let count = |what: &str| cases.iter().filter(|case| case[what] == true).count();
    let (held, struck) = (count("held"), count("struck"));
    let seconds: f64 = cases
        .iter()
        .filter_map(|case| case["seconds"].as_f64())
        .sum();
    let mut page = HEAD.to_owned();
    write!(
        page,
        "\n## What happened\n\n{} cases, {held} held, {:.1} hours of virtual machines. In {struck} cases all \
         faults struck.\n\n",
        cases.len(),
        seconds / 3600.0
    )?;
    page += "| fault | cases | struck | held | what came of the trace |\n| --- | ---: | ---: | ---: | --- |\n";
    for kind in KINDS.iter().chain(&later::KINDS) {
        let Some(row) = rows.get(kind.name) else {
            continue;
        };
        let mut outcomes: Vec<_> = row.outcomes.iter().collect();
        outcomes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|(outcome, count)| format!("{count}× {outcome}"))
            .collect();
        writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            kind.name,
            row.cases,
            row.struck,
            row.held,
            outcomes.join("; ")
        )?;
    }
    page += COLUMNS;
    page += LIMITS;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_counts_cases_and_what_came_of_them_by_kind() {
        let case = |held: bool, outcome: &str| {
            json!({"kinds": [KINDS[0].name, KINDS[1].name], "held": held, "struck": held,
                   "outcome": outcome, "seconds": 1800.0})
        };
        let page = text(&[case(true, "a"), case(false, "b"), case(true, "b")]).unwrap();
        assert!(page.contains("3 cases, 2 held, 1.5 hours"), "{page}");
        let row = format!("| {} | 3 | 2 | 2 | 2× b; 1× a |", KINDS[0].name);
        assert!(page.contains(&row), "{page}");
        // Each column is explained.
        let head = page
            .lines()
            .find(|line| line.starts_with("| fault"))
            .unwrap();
        for column in head.split('|').map(str::trim).filter(|c| !c.is_empty()) {
            assert!(page.contains(&format!("\n- *{column}*: ")), "{column}");
        }
    }
}
