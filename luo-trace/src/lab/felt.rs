//! What the virtual machines felt, as a witness of their windows.

use reports::model::{self, Guest, GuestVcpu, Lint, Run};

use super::wire::results::MachineReport;
use crate::join;

/// By how much a machine may feel more than its window, as a share of it and beside that, ns: its
/// threads wait for a CPU, and its first instructions for their pages.
const MORE: (u64, u64) = (10, 20_000_000);
/// … and less: where a CPU does not promise that its TSC keeps its pace, KVM takes the rate that
/// was known early in the boot.
const LESS: (u64, u64) = (100, 1_000_000);

/// Puts what a machine felt into the run, and says where its clocks did not run on.
pub fn testify(run: &mut Run, report: &MachineReport) {
    let Some(guest) = run
        .guests
        .iter_mut()
        .find(|guest| guest.name == report.name)
    else {
        return;
    };
    if !report.on_host_tsc {
        let why = "KVM did not trust the host's TSC, so what the guest felt is left out";
        let place = format!("guest {}", report.name);
        run.holes.push(join::hole(place, why));
        return;
    }
    for felt in &report.felt {
        let mut vcpus = guest.vcpus.iter_mut();
        if let Some(vcpu) = vcpus.find(|vcpu| vcpu.index == felt.vcpu) {
            let ns = |cycles| felt.ns(cycles);
            let first_tick = felt.tick.to.checked_sub(felt.tsc.to);
            let first_io = felt.device.checked_sub(felt.tsc.to);
            vcpu.felt = Some(model::Felt {
                tsc_ns: ns(felt.tsc.length()),
                clock_ns: felt.kvmclock.length(),
                tsc_back_ns: ns(felt.tsc.back_max),
                clock_back_ns: felt.kvmclock.back_max,
                tick_ns: ns(felt.tick.length()),
                first_tick_ns: first_tick.map(ns),
                first_io_ns: first_io.map(ns),
            });
        }
    }
    let jumps = [
        (
            "TSC",
            "guest.tsc-jumped",
            tsc as fn(&model::Felt) -> (u64, u64),
        ),
        ("kvmclock", "guest.clock-jumped", clock),
    ];
    let lints = jumps.map(|(name, id, of)| jumped(guest, name, id, of));
    run.lints.extend(lints.into_iter().flatten());
}

/// The longest gap by this clock, and its largest step back, ns.
const fn tsc(felt: &model::Felt) -> (u64, u64) {
    (felt.tsc_ns, felt.tsc_back_ns)
}

/// The same by the other.
const fn clock(felt: &model::Felt) -> (u64, u64) {
    (felt.clock_ns, felt.clock_back_ns)
}

/// A clock of the machine that does not show how long it was out, or that went back.
fn jumped(guest: &Guest, name: &str, id: &str, of: fn(&model::Felt) -> (u64, u64)) -> Option<Lint> {
    let off = guest.vcpus.iter().filter_map(|vcpu| off(vcpu, of)).max()?;
    Some(Lint {
        id: id.to_owned(),
        severity: "warning".to_owned(),
        text: format!(
            "guest {}: after the update its {name} is wrong by {} us: the VMM has to restore it as if it had \
             run on, or the guest may crash",
            guest.name,
            off / 1_000
        ),
        cost_ns: None,
    })
}

/// By how much what a virtual CPU felt differs from how long it was out, ns, if that is more than
/// there is a reason for.
fn off(vcpu: &GuestVcpu, of: fn(&model::Felt) -> (u64, u64)) -> Option<u64> {
    let felt = vcpu.felt.as_ref()?;
    let out = u64::try_from(vcpu.outage_ns()?).ok()?;
    let (longest, back) = of(felt);
    let off = longest.abs_diff(out);
    let (share, beside) = if longest > out { MORE } else { LESS };
    let allowed = out / share + beside + vcpu.error_ns;
    // Emulated CPUs' counters are a few us apart.
    let stepped = Some(back).filter(|back| *back > LESS.1);
    stepped.or_else(|| (off > allowed).then_some(off))
}
