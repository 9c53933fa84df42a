//! Every ordered pair of kernels, one campaign each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use luo_trace_ebpf::Probe;
use reports::matrix::{self, Cause, FILE, Kernel, Matrix, Pair};
use reports::model::mode;

use super::place;
use super::runner::Bench;
use super::settings::{Campaign, MachineOptions};
use super::summary::VmSummary;
use super::turns;
use crate::exit::Failure;
use crate::lab::host::{image, qemu};
use crate::lab::wire::ship::is_plain;

/// Updates after which a pair that has not worked once is given up.
const HOPELESS: usize = 2;

/// A kernel and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is called; where it was not told, its release.
    pub name: Option<String>,
    /// Path of its image.
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
                "'{name}' cannot name a kernel, since it names directories: use letters, digits, \
                 '.', '-' and '_' only"
            ));
        }
        Ok(Self {
            name: Some(name.to_owned()),
            image: image.into(),
        })
    }
}

/// Runs every ordered pair of `kernels`, each `updates` times, in turns, below the
/// directory of `options`, and writes the matrix after each VM.
///
/// Fails where nothing can be run. An interrupt ends it; the matrix is then of what
/// there is.
pub fn run(
    kernels: &[Named],
    updates: u32,
    options: &MachineOptions,
    interrupted: &Arc<AtomicBool>,
) -> Result<Matrix> {
    let kernels = described(kernels)?;
    let sides: Vec<(&Kernel, &Kernel)> = pairs(&kernels).collect();
    let campaigns = sides.iter().map(|(old, new)| campaign(options, old, new));
    let campaigns: Vec<Campaign> = campaigns.collect();
    let bench = Bench::check(&campaigns, interrupted)?;
    let _lock = place::take(&options.out).map_err(Failure::bad_input)?;
    let mut matrix = Matrix {
        schema: matrix::SCHEMA.to_owned(),
        updates,
        workload: options.workload.to_string(),
        mode: String::new(),
        traced: !options.no_trace,
        cpus: if options.deterministic {
            1
        } else {
            options.cpus
        },
        memory_bytes: options.memory,
        kernels: kernels.clone(),
        pairs: Vec::new(),
    };
    turns::run(
        &campaigns,
        &bench,
        updates,
        interrupted,
        |runners, number| {
            runners[number].given_up = is_hopeless(&runners[number].vms);
            matrix.mode = mode(bench.accel.as_str(), options.deterministic);
            let judged = sides.iter().zip(runners);
            matrix.pairs = judged
                .filter_map(|((old, new), runner)| pair(old, new, &runner.vms))
                .collect();
            matrix.measure(&options.out, &lost);
            matrix::write(&matrix, &options.out.join(FILE))?;
            Ok(!interrupted.load(Ordering::Relaxed))
        },
    )?;
    Ok(matrix)
}

/// A pair, if it was tried: an update that was broken off says nothing of it.
fn pair(old: &Kernel, new: &Kernel, vms: &[VmSummary]) -> Option<Pair> {
    let broken_off = |vm: &&VmSummary| {
        let reason = vm.reason.as_ref();
        reason.is_some_and(|reason| reason.cause == Cause::Interrupted)
    };
    let vms: Vec<&VmSummary> = vms.iter().filter(|vm| !broken_off(vm)).collect();
    let failures: Vec<_> = vms.iter().filter_map(|vm| vm.reason.clone()).collect();
    let intact = u32::try_from(vms.len() - failures.len()).unwrap_or(u32::MAX);
    let verified = vms.iter().flat_map(|vm| vm.verified.values());
    let bytes = verified.map(|verified| verified.bytes).sum();
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
            qemu::check_image(image)?;
            let (release, version) = image::version(image);
            let name = name.clone().unwrap_or_else(|| release.clone());
            let image = image.display().to_string();
            if !is_plain(&name) {
                return Err(Failure::bad_input(format!(
                    "{image} does not say which kernel it is; name it: --kernel NAME={image}"
                )));
            }
            if !names.insert(name.clone()) {
                return Err(Failure::bad_input(format!(
                    "two kernels are called {name}; rename one: --kernel NAME={image}"
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

fn directory(old: &Kernel, new: &Kernel) -> String {
    format!("{}-to-{}", old.name, new.name)
}

fn campaign(options: &MachineOptions, old: &Kernel, new: &Kernel) -> Campaign {
    let mut campaign = options.campaign(PathBuf::from(&old.image));
    campaign.name = Some(format!("{} -> {}", old.name, new.name));
    campaign.new_kernel = (old != new).then(|| PathBuf::from(&new.image));
    campaign.machine.out.push(directory(old, new));
    campaign
}

/// Whether another try tells nothing new. A kernel that refuses does so each
/// time; one that hangs or dies may do so only now and then.
fn is_hopeless(vms: &[VmSummary]) -> bool {
    let cause = |vm: &VmSummary| vm.reason.as_ref().map(|reason| reason.cause);
    let worked = vms.iter().any(|vm| cause(vm).is_none());
    let refused = vms.iter().any(|vm| cause(vm) == Some(Cause::Refused));
    !worked && (refused || vms.len() >= HOPELESS)
}

/// What a run lacks without a probe.
fn lost(probe: &str) -> String {
    Probe::by_name(probe).map_or_else(String::new, |row| row.absence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(error.contains("'../x' cannot name a kernel"), "{error}");

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
        let (refused, hung) = (Some(Cause::Refused), Some(Cause::Hung));
        for (causes, hopeless) in [
            (&[refused][..], true),
            (&[None, refused], false),
            (&[hung], false),
            (&[hung, hung], true),
            (&[hung, None, hung], false),
            (&[], false),
        ] {
            let vms: Vec<_> = causes.iter().map(|cause| VmSummary::that(*cause)).collect();
            assert_eq!(is_hopeless(&vms), hopeless, "{causes:?}");
        }
    }

    #[test]
    fn an_update_that_was_broken_off_says_nothing_of_its_pair() {
        let broken_off = VmSummary::that(Some(Cause::Interrupted));
        let of = |vms: &[VmSummary]| pair(&kernel("a"), &kernel("b"), vms);
        assert_eq!(of(std::slice::from_ref(&broken_off)), None);
        let some = of(&[VmSummary::default(), broken_off]).unwrap();
        assert_eq!((some.intact, some.failures), (1, Vec::new()));
    }
}
