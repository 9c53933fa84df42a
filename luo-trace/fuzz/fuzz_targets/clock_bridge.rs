//! Anchors come out of a carrier, so they are as hostile: any of them give a
//! bridge that is ordered, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use luo_trace::clock::printk::{Lost, Refined};
use luo_trace::clock::{
    Anchor, BootNs, Bridge, Cycles, Early, Fit, NewClock, PrintkOffset, PrintkSandwich,
};

/// Steps between anchors rather than the anchors, so that many are in order.
type Steps = Vec<(u32, u32, u8)>;
type Start = (u64, u64);
type Log = (u64, u64, f64, f64, i64);

fuzz_target!(|data: (Start, Steps, Start, Steps, Log, u64)| {
    let (old_start, old, new_start, new, log, at) = data;
    let (old, new) = (anchors(old_start, &old), anchors(new_start, &new));
    if let Ok(fit) = Fit::new(&old) {
        let (boot, counter) = (fit.boot_at(Cycles(at)), fit.counter_at(at));
        assert!(boot.lo <= boot.mid && boot.mid <= boot.hi);
        assert!(counter.lo <= counter.mid && counter.mid <= counter.hi);
    }
    let (from_ns, until_ns, hz_early, hz, ns) = log;
    let early = Early {
        from_ns,
        until_ns,
        hz: hz_early,
    };
    for early in [None, Some(early)] {
        if let Ok(clock) = NewClock::new(&new, early, &mut Vec::new()) {
            let (boot, counter) = (clock.boot_at(Cycles(at)), clock.counter_at(at));
            assert!(boot.lo <= boot.mid && boot.mid <= boot.hi);
            assert!(counter.lo <= counter.mid && counter.mid <= counter.hi);
        }
        if let Ok(bridge) = Bridge::new(&old, &new, early) {
            let later = at.saturating_add(1);
            let place = |ns: u64| bridge.to_old(BootNs::stamped(ns));
            assert!(place(at) <= place(later));
            assert!(bridge.error_at(BootNs::stamped(at)) >= 2);
        }
    }
    for a in &old {
        let mut offset = PrintkOffset::new(PrintkSandwich {
            before_ns: a.before,
            stamp_us: a.boot_ns,
            after_ns: a.after,
        });
        assert!(offset.place(at).0 <= offset.place(at.saturating_add(1)).0);
        offset.refined = Some(Refined {
            refined_us: from_ns,
            switched_us: until_ns,
            hz_early,
            hz,
        });
        offset.lost = Some(Lost {
            from_us: from_ns,
            until_us: until_ns,
            ns,
        });
        let _ = offset.place(at);
    }
});

fn anchors((counter, boot): Start, steps: &Steps) -> Vec<Anchor> {
    let (mut counter, mut boot_ns) = (counter, boot);
    let step = |&(cycles, ns, width): &(u32, u32, u8)| {
        counter = counter.saturating_add(cycles.into());
        boot_ns = boot_ns.saturating_add(ns.into());
        Anchor {
            before: counter,
            boot_ns,
            after: counter.saturating_add(width.into()),
            realtime_ns: 0,
        }
    };
    steps.iter().map(step).collect()
}
