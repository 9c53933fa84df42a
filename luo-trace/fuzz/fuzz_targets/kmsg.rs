//! Any process may write to the kernel log: whatever is in it, reading what it tells of
//! the boot ends, and places each line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use luo_trace::clock::{PrintkOffset, PrintkSandwich};
use luo_trace::sources::kmsg::{self, Log};

fuzz_target!(|text: &str| {
    let messages: Vec<_> = text.lines().filter_map(kmsg::parse).collect();
    let log = Log { messages };
    assert!(log.placeable().len() <= log.messages.len());
    // The last line stands for the one that `collect` wrote.
    let stamp_us = log.messages.last().map_or(0, |last| last.stamp_us);
    let before_ns = stamp_us.saturating_mul(1_000);
    let sandwich = PrintkSandwich {
        before_ns,
        stamp_us,
        after_ns: before_ns.saturating_add(5_000),
    };
    let mut offset = PrintkOffset::new(sandwich);
    (offset.refined, offset.lost) = (log.refined(), log.lost());
    let boot = log.boot(&offset);
    assert!(boot.stages.len() <= log.messages.len());
    assert!(boot.unplaced_lines <= log.messages.len());
});
