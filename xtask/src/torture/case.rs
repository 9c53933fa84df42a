//! A case: an update, and what goes wrong in it; drawn from a seed.

use std::fmt;

use super::{kinds, later};
use crate::draw::Draw;

/// Programs that a fault may be put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Record,
    Kexec,
    Collect,
}

impl Who {
    pub const ALL: [&'static Self; 3] = [&Self::Record, &Self::Kexec, &Self::Collect];

    /// Its name in a script and in the names of logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Kexec => "kexec",
            Self::Collect => "collect",
        }
    }
}

/// Where steps are put into an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before `record` is started.
    OldStart,
    /// `record` is ready; nothing is preserved yet.
    Recorded,
    /// All is preserved, and the kexec is next.
    Preserved,
    /// Before `collect` is started.
    NewStart,
    /// `collect` is ready; nothing is restored yet.
    Collected,
    /// All is restored. Only for a panic.
    Restored,
}

impl At {
    /// Whether that is in the new kernel.
    pub fn is_new(self) -> bool {
        matches!(self, Self::NewStart | Self::Collected | Self::Restored)
    }
}

/// How a fault changes an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// One more step.
    Step(At, String),
    /// Options of the lab's `inject`, for this program.
    Inject(Who, String),
    /// Other arguments of this program.
    Args(Who, String),
    /// Words on the command line of the new kernel.
    Append(String),
    /// Words on the command line of every kernel.
    Everywhere(String),
    /// So many updates, one after the other.
    Chain(u32),
    /// Kernels as distributions build them, in place of the small one.
    LikeHosts,
    /// The new kernel panics here, and the machine boots again.
    Panic(At),
}

/// How an update ends, …
const END: &str = "wait collect; run left lab-agent leftovers; run doctor doctor";

/// … or: the kernel panics, and what is done once the machine has booted again.
const PANIC: &str = "panic | try again collect --timeout 4s -o /run/out/{n}-again.json; \
                     wait again; run left lab-agent leftovers; run doctor doctor";

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The row of the table that it counts in.
    pub kind: &'static str,
    pub edits: Vec<Edit>,
}

/// An update and what goes wrong in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub seed: u64,
    pub faults: Vec<Fault>,
}

impl Case {
    /// The case of this seed. Kinds take turns, so that a row of seeds has each of them; one
    /// case in four has two faults.
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        if let Some(number) = seed.checked_sub(later::FIRST) {
            return Self::of_later(seed, number, &mut draw);
        }
        let turn = usize::try_from(seed % kinds::KINDS.len() as u64).unwrap_or(0);
        let mut faults = vec![kinds::KINDS[turn].fault(&mut draw)];
        if draw.below(4) == 0 {
            let other = usize::try_from(draw.below(kinds::KINDS.len() as u64)).unwrap_or(0);
            if other != turn {
                faults.push(kinds::KINDS[other].fault(&mut draw));
            }
        }
        Self { seed, faults }
    }

    /// A case of one of the later kinds; one in four has an earlier one beside it.
    fn of_later(seed: u64, number: u64, draw: &mut Draw) -> Self {
        let turn = usize::try_from(number % later::KINDS.len() as u64).unwrap_or(0);
        let mut faults = vec![later::KINDS[turn].fault(draw)];
        if draw.below(4) == 0 && !later::stands_alone(&faults[0]) {
            let other = usize::try_from(draw.below(kinds::KINDS.len() as u64)).unwrap_or(0);
            faults.push(kinds::KINDS[other].fault(draw));
        }
        Self { seed, faults }
    }

    /// All that its faults change.
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.faults.iter().flat_map(|fault| &fault.edits)
    }

    /// Updates in the machine.
    pub fn updates(&self) -> u32 {
        let chains = self.edits().filter_map(|edit| match edit {
            Edit::Chain(updates) => Some(*updates),
            _ => None,
        });
        chains.max().unwrap_or(1)
    }

    /// Whether its kernels are as distributions build them.
    pub fn is_like_hosts(&self) -> bool {
        self.edits().any(|edit| *edit == Edit::LikeHosts)
    }

    /// Where the new kernel panics, if it does.
    pub fn panics(&self) -> Option<At> {
        self.edits().find_map(|edit| match edit {
            Edit::Panic(at) => Some(*at),
            _ => None,
        })
    }

    /// Whether something is done to `collect`, or to the new kernel before `collect` has ended.
    pub fn touches_new(&self) -> bool {
        self.edits().any(|edit| match edit {
            Edit::Step(at, _) => at.is_new(),
            Edit::Inject(who, _) => *who == Who::Collect,
            Edit::Append(_) | Edit::Everywhere(_) | Edit::Panic(_) => true,
            // Where its files go, it sees the same.
            Edit::Args(..) | Edit::Chain(_) | Edit::LikeHosts => false,
        })
    }

    /// Whether something is done to `record`, `kexec` or the old kernel.
    pub fn touches_old(&self) -> bool {
        self.edits().any(|edit| match edit {
            Edit::Step(at, _) => !at.is_new(),
            Edit::Inject(who, _) => *who != Who::Collect,
            Edit::Everywhere(_) => true,
            Edit::Args(..)
            | Edit::Append(_)
            | Edit::Chain(_)
            | Edit::LikeHosts
            | Edit::Panic(_) => false,
        })
    }

    /// Whether the new kernel is locked down so that nobody may read what it traces.
    pub fn is_confidential(&self) -> bool {
        self.edits().any(|edit| match edit {
            Edit::Append(words) => words.contains("lockdown=confidentiality"),
            Edit::Step(at, step) => at.is_new() && step.ends_with("lockdown-confidentiality"),
            _ => false,
        })
    }

    /// Whether this is a step of it, whatever the step's name.
    pub fn has_step(&self, program: &str) -> bool {
        self.edits()
            .any(|edit| matches!(edit, Edit::Step(_, step) if step.ends_with(program)))
    }

    /// Whether this of the new kernel is spoilt.
    pub fn spoils_new(&self, what: &str) -> bool {
        let spoils = format!("lab-agent spoil {what}");
        self.edits().any(|edit| match edit {
            Edit::Step(at, step) => at.is_new() && step.ends_with(&spoils),
            _ => false,
        })
    }

    /// Whether a program is sent this signal.
    pub fn sends(&self, to: Who, signal: i64) -> bool {
        let injected = self.injected(to).unwrap_or_default();
        injected.contains(&format!("--signal {signal} "))
    }

    /// Whether somebody else than the agent preserves a file, which nobody takes back.
    pub fn has_another_session(&self) -> bool {
        self.edits().any(|edit| match edit {
            Edit::Step(_, step) => step.contains("record --session other"),
            _ => false,
        })
    }

    /// What every update carries …
    pub const WORKLOAD: &'static str = "memfd=4x64K";
    /// … in files …
    pub const FILES: u64 = 4;
    /// … and bytes.
    pub const BYTES: u64 = 4 << 16;

    /// Words for the new kernel's command line.
    pub fn append(&self) -> Option<String> {
        self.words(|edit| match edit {
            Edit::Append(words) => Some(words.as_str()),
            _ => None,
        })
    }

    /// Words for the command line of every kernel.
    pub fn everywhere(&self) -> Option<String> {
        self.words(|edit| match edit {
            Edit::Everywhere(words) => Some(words.as_str()),
            _ => None,
        })
    }

    fn words<'a>(&'a self, of: impl Fn(&'a Edit) -> Option<&'a str>) -> Option<String> {
        let words: Vec<_> = self.edits().filter_map(of).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    fn steps(&self, wanted: At) -> Vec<String> {
        let steps = self.edits().filter_map(|edit| match edit {
            Edit::Step(at, step) if *at == wanted => Some(step.clone()),
            _ => None,
        });
        steps.collect()
    }

    /// What is injected into a program; with two faults, the first counts.
    pub fn injected(&self, into: Who) -> Option<&str> {
        self.edits().find_map(|edit| match edit {
            Edit::Inject(who, options) if *who == into => Some(options.as_str()),
            _ => None,
        })
    }

    fn program(&self, who: Who, plain: &str) -> String {
        let args = self.edits().find_map(|edit| match edit {
            Edit::Args(whose, args) if *whose == who => Some(args.as_str()),
            _ => None,
        });
        let command = args.unwrap_or(plain);
        match self.injected(who) {
            Some(options) => format!("lab-agent inject {options} -- {command}"),
            None => command.to_owned(),
        }
    }

    /// The script, as `lab run --scenario` takes it.
    pub fn script(&self) -> String {
        let record = self.program(Who::Record, "record");
        let kexec = self.program(Who::Kexec, "{kexec}");
        let collect = self.program(Who::Collect, "{collect} --timeout 6s");
        let old = [
            self.steps(At::OldStart),
            vec![format!("try record {record}")],
            self.steps(At::Recorded),
            vec!["preserve".to_owned(), "pack".to_owned()],
            self.steps(At::Preserved),
            vec![format!("attempt kexec {kexec}"), "plain-kexec".to_owned()],
        ];
        let before = [
            (At::NewStart, vec![format!("try collect {collect}")]),
            (At::Collected, vec!["restore".to_owned()]),
        ];
        let mut new = Vec::new();
        for (at, then) in before {
            new.extend(self.steps(at));
            if self.panics() == Some(at) {
                break;
            }
            new.extend(then);
        }
        let end = match self.panics() {
            Some(_) => PANIC,
            None => END,
        };
        new.push(end.to_owned());
        format!("{} | {}", old.concat().join("; "), new.join("; "))
    }

    /// Smaller cases, one fault less each.
    pub fn smaller(&self) -> Vec<Self> {
        let one_less = |without: usize| {
            let mut smaller = self.clone();
            smaller.faults.remove(without);
            smaller
        };
        (0..self.faults.len()).map(one_less).collect()
    }

    /// The kinds of its faults.
    pub fn kinds(&self) -> String {
        let kinds: Vec<_> = self.faults.iter().map(|fault| fault.kind).collect();
        kinds.join(" + ")
    }
}

/// On one line: what is put into the update.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let edits = self.edits().map(|edit| match edit {
            Edit::Step(at, step) => format!("{at:?}: {step}"),
            Edit::Inject(who, options) => format!("{} {options}", who.name()),
            Edit::Args(who, args) => format!("{}: {args}", who.name()),
            Edit::Append(words) => format!("new kernel: {words}"),
            Edit::Everywhere(words) => format!("every kernel: {words}"),
            Edit::Chain(2) => "two updates".to_owned(),
            Edit::Chain(updates) => format!("{updates} updates"),
            Edit::LikeHosts => "kernels of hosts".to_owned(),
            Edit::Panic(at) => format!("{at:?}: panic"),
        });
        f.write_str(&edits.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_case_each_time_and_a_row_of_seeds_every_kind() {
        let kinds = kinds::KINDS.len() as u64;
        let row: Vec<_> = (0..kinds).map(Case::of).collect();
        assert_eq!(row, (0..kinds).map(Case::of).collect::<Vec<_>>());
        for (case, kind) in row.iter().zip(&kinds::KINDS) {
            assert_eq!(case.faults[0].kind, kind.name);
        }
        assert_ne!(Case::of(1).script(), Case::of(1 + kinds).script());
    }

    #[test]
    fn later_kinds_are_drawn_from_seeds_of_their_own() {
        for (seed, kind) in (later::FIRST..).zip(&later::KINDS) {
            assert_eq!(Case::of(seed).faults[0].kind, kind.name);
        }
        let earlier = |fault: &Fault| kinds::KINDS.iter().any(|kind| kind.name == fault.kind);
        assert!((0..later::FIRST).all(|seed| Case::of(seed).faults.iter().all(earlier)));
    }

    #[test]
    fn a_panic_ends_the_boot_and_the_machine_boots_again() {
        let case = |at| Case {
            seed: 0,
            faults: vec![Fault {
                kind: "x",
                edits: vec![Edit::Panic(at)],
            }],
        };
        let script = |at| case(at).script();
        assert!(script(At::NewStart).contains("plain-kexec | panic | try again collect"));
        assert!(script(At::Collected).contains("--timeout 6s; panic | try again"));
        assert!(script(At::Restored).contains("restore; panic | try again"));
    }

    #[test]
    fn what_a_case_does_to_the_new_kernel_is_known() {
        let case = |edit| Case {
            seed: 0,
            faults: vec![Fault {
                kind: "x",
                edits: vec![edit],
            }],
        };
        let step = |at, step: &str| case(Edit::Step(at, step.to_owned()));
        let spoil = "run spoil lab-agent spoil tracefs";
        assert!(step(At::Collected, spoil).spoils_new("tracefs"));
        assert!(!step(At::Collected, spoil).spoils_new("state"));
        assert!(!step(At::Recorded, spoil).spoils_new("tracefs"));
        assert!(!step(At::Recorded, spoil).touches_new());
        assert!(step(At::Recorded, spoil).touches_old());
        assert!(!step(At::Collected, spoil).touches_old());
        let other = step(At::Recorded, "try second record --session other");
        assert!(other.has_another_session() && !other.touches_new());
        let inject = |who| case(Edit::Inject(who, "--signal 15 --after 1".to_owned()));
        assert!(inject(Who::Collect).touches_new() && !inject(Who::Kexec).touches_new());
        assert!(inject(Who::Kexec).sends(Who::Kexec, 15));
        assert!(!inject(Who::Kexec).sends(Who::Kexec, 1));
        assert!(!inject(Who::Kexec).sends(Who::Record, 15));
    }

    #[test]
    fn a_script_has_its_faults_where_they_belong() {
        let fault = |edit| Fault {
            kind: "x",
            edits: vec![edit],
        };
        let case = Case {
            seed: 0,
            faults: vec![
                fault(Edit::Inject(Who::Collect, "--signal 9".to_owned())),
                fault(Edit::Step(At::Preserved, "run a b".to_owned())),
            ],
        };
        assert_eq!(
            case.script(),
            "try record record; preserve; pack; run a b; attempt kexec {kexec}; plain-kexec | \
             try collect lab-agent inject --signal 9 -- {collect} --timeout 6s; restore; \
             wait collect; run left lab-agent leftovers; run doctor doctor"
        );
        assert_eq!(case.smaller().len(), 2);
        assert!(!case.smaller()[1].script().contains("run a b"));
    }
}
