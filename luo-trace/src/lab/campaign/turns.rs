//! Two kernels in turns, A B B A A B B A …: what drifts over the hours meets
//! both alike, and `compare` takes the runs as pairs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::matrix::Watch;
use super::runner::Runner;
use super::settings::Campaign;
use super::summary::Summary;

/// Whose turn each VM is, `pairs` for each side: A B B A A B B A …
///
/// Each side goes first as often as the other, so that it does not matter
/// either if whoever goes second is better or worse off.
fn turns(pairs: u32) -> impl Iterator<Item = usize> {
    (0..pairs).flat_map(|pair| if pair % 2 == 0 { [0, 1] } else { [1, 0] })
}

/// Runs two campaigns in turns, with as many VMs each as the first one asks for.
///
/// Fails where nothing can be run. Ends at a VM that failed, unless the first
/// campaign keeps going; then a side may have fewer runs, and compare says so.
pub fn run(
    campaigns: [&Campaign; 2],
    watch: &mut dyn Watch,
    interrupted: &Arc<AtomicBool>,
) -> Result<[Summary; 2]> {
    let [a, b] = campaigns;
    let first = Runner::start(a, None, interrupted)?;
    let second = Runner::start(b, Some(first.accel()), interrupted)?;
    let mut runners = [first, second];
    for side in turns(a.vms) {
        let name = campaigns[side].out.file_name().unwrap_or_default();
        watch.turn(&name.to_string_lossy());
        let failed = runners[side].next_vm(watch)?.error.is_some();
        if failed && (!a.keep_going || interrupted.load(Ordering::Relaxed)) {
            break;
        }
    }
    Ok(runners.map(|runner| runner.summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_take_turns_in_going_first() {
        let order: String = turns(5).map(|side| ['A', 'B'][side]).collect();
        assert_eq!(order, "ABBAABBAAB");
    }
}
