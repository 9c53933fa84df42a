//! The page of known answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::{Case, DELAYS, Lengths, PLACES, WORKLOAD};

const HEAD: &str = "# Known answers

Is luo-trace measuring what it says? Each row of these tables is an update into which a delay of
known length was put, at one place. What luo-trace reports there should grow by exactly that delay,
and nothing else should change.

The lab's kernel has a device whose files are preserved (`xtask/kernel/luo_lab.c`). Each operation of
its handler is busy for as long as it is told to, as are a reboot notifier, the device's shutdown
and an initcall. The table of probes knows nothing of that handler: its operations are found in the
running kernel.

`cargo xtask known-answers` makes this page.

## By instructions counted

";

const METHOD: &str =
    ", QEMU's TCG with instructions counted (`lab run --deterministic`): virtual time is the
number of instructions, so a delay has one length and the same update gives the same figures.
On its one CPU the agent waits 50 ms before it opens the device, so that `collect` has armed its
probes and has nothing else to do by then. Both kernels unpack their initial file system before the
initcalls (`initramfs_async=0`): beside them, it would use the time of a delay there.";

const WHY: &str = "
What is not exact has a reason that was found:

- **Timer interrupts** that come during a delay are part of it: 10 to 30 us in a `freeze`, a notifier and
  a device's shutdown.
- **An initcall**: the call grows by the delay, but the kernel may let other threads run meanwhile on its
  only CPU. It may get the CPU back late. And what these threads do, later initcalls need not wait for:
  with 100 ms, `trace_eval_sync` (kernel/trace/trace.c) and `ftrace_check_sync`
  (kernel/trace/ftrace.c) are 27 and 20 ms shorter, so the phase grows by less than the call.
";

/// The page, from counted updates and, if there were any, the gate's trials.
pub(super) fn text(
    counted: &BTreeMap<Case, Lengths>,
    named: Option<&BTreeMap<Case, (usize, usize)>>,
) -> Result<String> {
    let base = counted.get(&(0, 0)).context("the base is missing")?;
    let again = counted.get(&(1, 0)).context("the base is missing")?;
    let mut text = HEAD.to_owned();
    let delays = DELAYS.into_iter().filter(|us| *us > 0);
    writeln!(
        text,
        "How far the growth is from the answer, ns. Workload `{WORKLOAD}`: an operation happens as\noften \
         as the third column says, each time with the delay.\n"
    )?;
    let heads: Vec<_> = delays.clone().map(|us| format!("{} ms", ms(us))).collect();
    writeln!(
        text,
        "| delay in | what grows | times | {} | error at most |",
        heads.join(" | ")
    )?;
    writeln!(
        text,
        "| --- | --- | ---: |{} ---: |",
        " ---: |".repeat(heads.len())
    )?;
    let mut worst = (0, "");
    for (number, place) in PLACES.iter().enumerate() {
        let before = base.of(place).with_context(|| place.item().to_owned())?;
        let mut cells = Vec::new();
        let error = |run: &Lengths| run.errors.get(place.item()).copied();
        let mut bound = error(base);
        for us in delays.clone() {
            let run = counted.get(&(number, us)).context("an update is missing")?;
            let errors = error(base).zip(error(run)).map(|(base, run)| base + run);
            bound = bound.max(errors);
            let grown = run.of(place).context("an item is missing")? - before;
            let answer = i64::try_from(place.times * us * 1_000)?;
            let off = grown - answer;
            if off.abs() > worst.0 {
                worst = (off.abs(), place.what);
            }
            cells.push(format!("{off:+}"));
        }
        writeln!(
            text,
            "| {} | `{}` | {} | {} | {} |",
            place.what,
            place.item(),
            place.times,
            cells.join(" | "),
            bound.map_or("-".to_owned(), |ns| ns.to_string())
        )?;
    }
    writeln!(
        text,
        "\n\"error at most\" is the bound that luo-trace itself reports for both lengths. A call begins and \
         ends in\none kernel, so it has none.\n"
    )?;
    writeln!(
        text,
        "The largest deviation is {} ns ({}). Without a delay the same update was done twice: {}.",
        worst.0,
        worst.1,
        match differences(base, again) {
            0 => "every phase has the same length to the nanosecond".to_owned(),
            ns => format!("its phases differ by up to {ns} ns"),
        }
    )?;
    text.push_str(WHY);
    writeln!(text, "\nLinux {}{METHOD}", base.release)?;
    others(&mut text, base, counted)?;
    if let Some(named) = named {
        gate(&mut text, named)?;
    }
    Ok(text)
}

/// How far two runs' phases are apart at most, ns.
fn differences(a: &Lengths, b: &Lengths) -> i64 {
    let apart = a
        .phases
        .iter()
        .map(|(id, ns)| (b.phases.get(id).copied().unwrap_or(0) - ns).abs());
    apart.max().unwrap_or(0)
}

/// What else moved.
fn others(text: &mut String, base: &Lengths, counted: &BTreeMap<Case, Lengths>) -> Result<()> {
    text.push_str(
        "\n## What else moved\n\nHow much a phase changed at most, over all updates whose delay is elsewhere.\n\n\
         | phase | length | moved at most | with a delay in |\n| --- | ---: | ---: | --- |\n",
    );
    for (id, length) in &base.phases {
        let mut most = (0_i64, String::new());
        for ((number, us), run) in counted {
            let place = &PLACES[*number];
            if *us == 0 || place.phase() == Some(id) {
                continue;
            }
            let moved = run.phases.get(id).context("a phase is missing")? - length;
            if moved.abs() > most.0.abs() {
                most = (moved, format!("{}, {} ms", place.what, ms(*us)));
            }
        }
        writeln!(
            text,
            "| `{id}` | {} | {:+.3} us | {} |",
            length_of(*length),
            us_of(most.0),
            most.1
        )?;
    }
    text.push_str(
        "\nA delay shifts what follows against the timer's ticks. Where a phase waits for one, or for another\nCPU's \
         work, it may end a tick earlier or later.\n",
    );
    Ok(())
}

fn gate(text: &mut String, named: &BTreeMap<Case, (usize, usize)>) -> Result<()> {
    let delays = DELAYS.into_iter().filter(|us| *us >= 1_000);
    let heads: Vec<_> = delays.clone().map(|us| format!("{} ms", ms(us))).collect();
    write!(
        text,
        "\n## By the wall clock: does the gate find it?\n\nHow often `luo-trace gate` calls the item a regression, \
         given four updates without the delay and\nfour with it, drawn anew for each of 20 trials from pools of \
         updates under TCG.\n\n| delay in | item | {} |\n| --- | --- |{}\n",
        heads.join(" | "),
        " ---: |".repeat(heads.len())
    )?;
    for (number, place) in PLACES.iter().enumerate() {
        let cells = delays.clone().map(|us| match named.get(&(number, us)) {
            Some((hits, trials)) => format!("{hits} of {trials}"),
            None => "-".to_owned(),
        });
        let cells: Vec<_> = cells.collect();
        writeln!(
            text,
            "| {} | `{}` | {} |",
            place.what,
            place.item(),
            cells.join(" | ")
        )?;
    }
    Ok(())
}

fn ms(us: u64) -> String {
    match us % 1_000 {
        0 => (us / 1_000).to_string(),
        part => format!("{}.{}", us / 1_000, part / 100),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn us_of(ns: i64) -> f64 {
    ns as f64 / 1e3
}

fn length_of(ns: i64) -> String {
    format!("{:.3} ms", us_of(ns) / 1e3)
}
