//! A program may write any text into the trace: it is passed over or understood, and
//! no record of it makes more than one call, stage or mark.
#![no_main]

use libfuzzer_sys::fuzz_target;
use luo_trace::clock::BootNs;
use luo_trace::sources::{Stamp, boot_trace};
use reports::model::Source;

fuzz_target!(|text: &str| {
    let lines = text.lines().map(str::to_owned);
    let boot = boot_trace::parse(lines, |stamp| {
        Some(Stamp {
            boot_ns: BootNs::stamped(stamp.parse().ok()?),
            error_ns: 0,
            source: Source::Ftrace,
        })
    });
    let told = boot.calls.len() + boot.stages.len() + boot.marks.len();
    assert!(told <= text.lines().count());
    assert!(told == 0 || boot.first_stamp.is_some());
    assert!(
        boot.calls
            .iter()
            .all(|call| call.end.is_some() || call.ret.is_none())
    );
});
