//! Every ordered pair of kernels, one campaign each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use luo_trace_ebpf::Probe;
use reports::matrix::{self, Cause, FILE, Failure, Kernel, Matrix, Pair};
use reports::model::mode;

use super::runner::{Progress, Runner};
use super::settings::Campaign;
use super::summary::{Summary, VmSummary};
use crate::exit::Failure as Ending;
use crate::lab::host::{image, qemu};

/// Updates after which a pair that has not worked once is given up.
const HOPELESS: usize = 2;

/// A kernel and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is called; where it was not told, its release.
    pub name: Option<String>,
    /// Its image.
    pub image: PathBuf,
}

impl std::str::FromStr for Named {
    type Err = String;

    /// `[NAME=]IMG`. A file that has a `=` in its path is no name.
    fn from_str(text: &str) -> Result<Self, String> {
        let unnamed = |image: &str| Self {
            name: None,
            image: image.into(),
        };
        let Some((name, image)) = text.split_once('=').filter(|_| !Path::new(text).exists()) else {
            return Ok(unnamed(text));
        };
        if !is_plain(name) {
            return Err(format!(
                "'{name}' is no name for a kernel: it names directories, so it has letters, \
                 digits, '.', '-' and '_' only"
            ));
        }
        Ok(Self {
            name: Some(name.to_owned()),
            image: image.into(),
        })
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

/// Told of each pair, beside each VM.
pub trait Watch: Progress {
    /// The next VM is of this pair, or of this side.
    fn turn(&mut self, whose: &str);
    /// So many VMs of it will not be run, since the pair is hopeless.
    fn given_up(&mut self, left: u32);
}

/// Runs every ordered pair of `kernels`, each `template.vms` times, below
/// `template.out`, and writes the matrix after each VM.
///
/// The pairs take turns, every second round backwards, so that what drifts over
/// the hours meets all of them alike. Fails where nothing can be run. An
/// interrupt ends it; the matrix is then of what there is.
pub fn run(
    kernels: &[Named],
    template: &Campaign,
    watch: &mut dyn Watch,
    interrupted: &Arc<AtomicBool>,
) -> Result<Matrix> {
    let kernels = described(kernels)?;
    let campaigns: Vec<Campaign> = pairs(&kernels)
        .map(|(old, new)| campaign(template, old, new))
        .collect();
    let mut runners = started(&campaigns, interrupted)?;
    let first = runners
        .first()
        .ok_or_else(|| Ending::bad_input("a matrix needs a kernel: name it with --kernel"))?;
    let mut matrix = empty(&kernels, template, &first.summary);
    for round in 0..template.vms {
        for number in turn(runners.len(), round) {
            let (runner, left) = (&mut runners[number], template.vms - round);
            if is_hopeless(&runner.summary) {
                continue;
            }
            let (old, new) = nth(&kernels, number);
            watch.turn(&format!("{} -> {}", old.name, new.name));
            runner.next_vm(watch)?;
            if is_hopeless(&runner.summary) {
                watch.given_up(left - 1);
            }
            matrix.pairs = judged(&kernels, &runners);
            matrix.measure(&template.out, &lost);
            matrix::write(&matrix, &template.out.join(FILE))?;
            if interrupted.load(Ordering::Relaxed) {
                return Ok(matrix);
            }
        }
    }
    Ok(matrix)
}

/// All of them, the accelerator being tried out once.
fn started<'a>(
    campaigns: &'a [Campaign],
    interrupted: &'a Arc<AtomicBool>,
) -> Result<Vec<Runner<'a>>> {
    let mut accel = None;
    campaigns
        .iter()
        .map(|campaign| {
            let runner = Runner::start(campaign, accel, interrupted)?;
            accel = Some(runner.accel());
            Ok(runner)
        })
        .collect()
}

/// The pairs of a round, by number.
fn turn(pairs: usize, round: u32) -> impl Iterator<Item = usize> {
    (0..pairs).map(move |place| match round % 2 {
        0 => place,
        _ => pairs - 1 - place,
    })
}

/// What came of the pairs that had a turn.
fn judged(kernels: &[Kernel], runners: &[Runner<'_>]) -> Vec<Pair> {
    let all = runners.iter().enumerate();
    all.filter_map(|(number, runner)| {
        let (old, new) = nth(kernels, number);
        pair(old, new, &runner.summary.vms)
    })
    .collect()
}

/// A pair, if it was tried: an update that was broken off says nothing of it.
fn pair(old: &Kernel, new: &Kernel, vms: &[VmSummary]) -> Option<Pair> {
    let broken_off = |vm: &&VmSummary| {
        let reason = vm.reason.as_ref();
        reason.is_some_and(|reason| reason.cause == Cause::Interrupted)
    };
    let vms: Vec<&VmSummary> = vms.iter().filter(|vm| !broken_off(vm)).collect();
    let failures: Vec<Failure> = vms.iter().filter_map(|vm| failure(vm)).collect();
    let intact = u32::try_from(vms.len() - failures.len()).unwrap_or(u32::MAX);
    let verified = vms.iter().flat_map(|vm| vm.verified.values());
    let bytes = verified.map(|verified| verified.bytes_verified).sum();
    let mut pair = Pair::new(&old.name, &new.name, directory(old, new), intact, failures);
    pair.bytes_verified = bytes;
    (!vms.is_empty()).then_some(pair)
}

/// The kernels with their names and what their images say; refused where two
/// have the same name.
fn described(kernels: &[Named]) -> Result<Vec<Kernel>> {
    let mut names = BTreeSet::new();
    kernels
        .iter()
        .map(|Named { name, image }| {
            qemu::check_image(image).map_err(Ending::bad_input)?;
            let (release, version) = image::version(image);
            let name = name.clone().unwrap_or_else(|| release.clone());
            let image = image.display().to_string();
            if !is_plain(&name) {
                return Err(Ending::bad_input(format!(
                    "{image} does not say which kernel it is; name it: --kernel NAME={image}"
                )));
            }
            if !names.insert(name.clone()) {
                return Err(Ending::bad_input(format!(
                    "two kernels are called {name}; name one otherwise: --kernel NAME={image}"
                )));
            }
            Ok(Kernel {
                name,
                image,
                release,
                version,
                unprobed: None,
            })
        })
        .collect()
}

/// Each with each, row by row.
fn pairs(kernels: &[Kernel]) -> impl Iterator<Item = (&Kernel, &Kernel)> {
    let row = |old| kernels.iter().map(move |new| (old, new));
    kernels.iter().flat_map(row)
}

/// The pair that is the `number`th of [`pairs`].
fn nth(kernels: &[Kernel], number: usize) -> (&Kernel, &Kernel) {
    let kernels_count = kernels.len();
    (
        &kernels[number / kernels_count],
        &kernels[number % kernels_count],
    )
}

fn directory(old: &Kernel, new: &Kernel) -> String {
    format!("{}-to-{}", old.name, new.name)
}

fn campaign(template: &Campaign, old: &Kernel, new: &Kernel) -> Campaign {
    Campaign {
        kernel: PathBuf::from(&old.image),
        new_kernel: (old != new).then(|| PathBuf::from(&new.image)),
        out: template.out.join(directory(old, new)),
        ..template.clone()
    }
}

fn empty(kernels: &[Kernel], template: &Campaign, first: &Summary) -> Matrix {
    Matrix {
        schema: matrix::SCHEMA.to_owned(),
        updates: template.vms,
        workload: first.workload.clone(),
        mode: mode(&first.accel, first.deterministic),
        traced: first.traced,
        cpus: first.cpus,
        memory_bytes: first.memory_bytes,
        kernels: kernels.to_vec(),
        pairs: Vec::new(),
    }
}

fn failure(vm: &VmSummary) -> Option<Failure> {
    let reason = vm.reason.clone()?;
    Some(Failure {
        update: vm.first_update,
        cause: reason.cause,
        why: reason.why,
        said: reason.said,
    })
}

/// Whether another try tells nothing new. A kernel that refuses does so each
/// time; one that hangs or dies may do so only now and then.
fn is_hopeless(summary: &Summary) -> bool {
    let causes: Vec<Option<Cause>> = summary
        .vms
        .iter()
        .map(|vm| vm.reason.as_ref().map(|reason| reason.cause))
        .collect();
    let worked = causes.contains(&None);
    !worked && (causes.contains(&Some(Cause::Refused)) || causes.len() >= HOPELESS)
}

/// What a run lacks without a probe.
fn lost(probe: &str) -> String {
    Probe::by_name(probe).map_or_else(String::new, |row| row.absence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::campaign::Reason;

    fn kernel(name: &str) -> Kernel {
        Kernel {
            name: name.to_owned(),
            image: format!("{name}.img"),
            release: String::new(),
            version: String::new(),
            unprobed: None,
        }
    }

    #[test]
    fn every_kernel_meets_every_kernel_itself_included() {
        let kernels = [kernel("a"), kernel("b"), kernel("c")];
        let all: Vec<_> = pairs(&kernels).map(|(o, n)| directory(o, n)).collect();
        assert_eq!(
            all,
            [
                "a-to-a", "a-to-b", "a-to-c", "b-to-a", "b-to-b", "b-to-c", "c-to-a", "c-to-b",
                "c-to-c"
            ]
        );
    }

    #[test]
    fn a_kernel_is_named_or_names_itself() {
        let named: Named = "new=/k/bzImage".parse().unwrap();
        assert_eq!(named.name.as_deref(), Some("new"));
        assert_eq!(named.image, Path::new("/k/bzImage"));
        assert_eq!("/k/bzImage".parse::<Named>().unwrap().name, None);
        let error = "../x=/k/bzImage".parse::<Named>().unwrap_err();
        assert!(error.contains("'../x' is no name for a kernel"), "{error}");

        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a=b");
        std::fs::write(&odd, "").unwrap();
        let named: Named = odd.to_str().unwrap().parse().unwrap();
        assert_eq!(named.name, None);
    }

    #[test]
    fn two_kernels_of_one_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bzImage");
        std::fs::write(&path, image::tests::smallest()).unwrap();
        let named = |name: Option<&str>| Named {
            name: name.map(str::to_owned),
            image: path.clone(),
        };
        let error = |kernels: &[Named]| described(kernels).unwrap_err().to_string();
        let twice = error(&[named(Some("a")), named(Some("a"))]);
        assert!(twice.starts_with("two kernels are called a; "), "{twice}");
        let nameless = error(&[named(None)]);
        assert!(
            nameless.contains("does not say which kernel it is"),
            "{nameless}"
        );
        assert!(described(&[named(Some("a")), named(Some("b"))]).is_ok());
    }

    #[test]
    fn a_refusal_is_tried_once_and_a_hang_twice() {
        let hopeless = |causes: &[Option<Cause>]| {
            let vm = |cause: &Option<Cause>| VmSummary {
                reason: cause.map(|cause| Reason {
                    cause,
                    why: String::new(),
                    said: Vec::new(),
                }),
                ..VmSummary::default()
            };
            let vms = causes.iter().map(vm).collect();
            is_hopeless(&Summary {
                vms,
                ..Summary::default()
            })
        };
        let (refused, hung) = (Some(Cause::Refused), Some(Cause::Hung));
        assert!(hopeless(&[refused]));
        assert!(!hopeless(&[None, refused]));
        assert!(!hopeless(&[hung]));
        assert!(hopeless(&[hung, hung]));
        assert!(!hopeless(&[hung, None, hung]));
        assert!(!hopeless(&[]));
    }

    #[test]
    fn an_update_that_was_broken_off_says_nothing_of_its_pair() {
        let broken_off = VmSummary {
            reason: Some(Reason {
                cause: Cause::Interrupted,
                why: String::new(),
                said: Vec::new(),
            }),
            ..VmSummary::default()
        };
        let of = |vms: &[VmSummary]| pair(&kernel("a"), &kernel("b"), vms);
        assert_eq!(of(std::slice::from_ref(&broken_off)), None);
        let some = of(&[VmSummary::default(), broken_off]).unwrap();
        assert_eq!((some.intact, some.failures), (1, Vec::new()));
    }

    #[test]
    fn every_second_round_goes_backwards() {
        let order = |round| turn(4, round).collect::<Vec<_>>();
        assert_eq!(order(0), [0, 1, 2, 3]);
        assert_eq!(order(1), [3, 2, 1, 0]);
        assert_eq!(order(2), order(0));
    }
}
