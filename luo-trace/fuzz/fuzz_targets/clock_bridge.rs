//! Anchors come out of a carrier, so they are as hostile: any of them give a
//! bridge that is ordered, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use luo_trace::clock::{Anchor, Bridge, Cycles, Fit, PrintkOffset, PrintkSandwich};

fuzz_target!(|data: (Vec<[u64; 3]>, Vec<[u64; 3]>, u64)| {
    let (old, new, at) = data;
    let (old, new) = (anchors(&old), anchors(&new));
    if let Ok(fit) = Fit::new(&old) {
        let (boot, counter) = (fit.boot_at(Cycles(at)), fit.counter_at(at));
        assert!(boot.lo <= boot.mid && boot.mid <= boot.hi);
        assert!(counter.lo <= counter.mid && counter.mid <= counter.hi);
    }
    if let Ok(bridge) = Bridge::new(&old, &new) {
        assert!(bridge.to_old(at) <= bridge.to_old(at.saturating_add(1)));
        assert!(bridge.error_at(at) >= 2);
    }
    let lines: Vec<PrintkSandwich> = old
        .iter()
        .map(|a| PrintkSandwich {
            before_ns: a.before,
            stamp_us: a.boot_ns,
            after_ns: a.after,
        })
        .collect();
    if let Ok(offset) = PrintkOffset::new(&lines) {
        assert!(offset.boot_ns(at) <= offset.boot_ns(at.saturating_add(1)));
    }
});

fn anchors(raw: &[[u64; 3]]) -> Vec<Anchor> {
    raw.iter()
        .map(|&[before, boot_ns, after]| Anchor {
            before,
            boot_ns,
            after,
            realtime_ns: 0,
        })
        .collect()
}
