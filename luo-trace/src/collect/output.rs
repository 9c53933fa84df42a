//! Where a run goes, and where it goes instead: after the restore it cannot be had
//! again, so an output that cannot be written never costs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reports::files::durable::{self, Output};
use reports::files::file;
use reports::model::Run;

use crate::exit::Failure;
use crate::host::ending::Ending;

/// Between two rounds over all places.
const AGAIN: Duration = Duration::from_secs(1);

/// Finds out before the restore, not after it, that there can be no such file.
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        return Err(Failure::bad_input(format!(
            "{}: not a regular file, and a run has to be on disk before the kernel gives up the \
             trace; name a file",
            path.display()
        )));
    }
    // Made and removed again: what lies there for a whole restore may be left behind.
    Output::create(path).map(drop).map_err(Failure::bad_input)
}

/// Writes the run to `path` or, if that fails, to another place, which is an error that
/// names it. Tries until `patience` is over or a signal comes; then it is lost.
pub(super) fn write(
    run: &Run,
    path: &Path,
    patience: Duration,
    ending: &Ending,
) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    loop {
        let Err(failed) = file::write(run, path) else {
            return Ok(());
        };
        let put = |place: &Path| file::write(run, place).map_err(|e| e.to_string());
        if let Some(place) = elsewhere(&places(), &name(run, "run.json"), put) {
            return Err(Failure::environment(format!(
                "{failed}; the run is whole in {}: move it from there",
                place.display()
            )));
        }
        if Instant::now() >= until {
            return Err(Failure::environment(format!(
                "{failed}; no file can be written in {} either: the run is lost",
                list(&places())
            )));
        }
        log::error!(
            "{failed}; no file can be written in {} either: make room, luo-trace keeps trying",
            list(&places())
        );
        // A signal does not give it up at once: it may be the one that ended the watch.
        let _ = ending.wait(&[], Instant::now() + AGAIN);
        std::thread::sleep(AGAIN / 10);
    }
}

/// Keeps the bytes of a carrier that could not be read, or that was asked for where
/// nothing can be written; says where.
pub(super) fn keep(bytes: &[u8]) -> String {
    let name = format!("luo-trace-{}.carrier", std::process::id());
    let put = |place: &Path| durable::write(place, bytes).map_err(|e| e.to_string());
    match elsewhere(&places(), &name, put) {
        Some(place) => format!("it is kept in {}", place.display()),
        None => format!("no file can be written in {} to keep it", list(&places())),
    }
}

/// Places that outlive this process; the last ones are memory.
fn places() -> Vec<PathBuf> {
    let asked = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/var/tmp", "/run", "/dev/shm"].map(PathBuf::from);
    asked.into_iter().chain(usual).collect()
}

fn list(places: &[PathBuf]) -> String {
    let each: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
    each.join(", ")
}

fn name(run: &Run, suffix: &str) -> String {
    let id: String = run
        .id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    format!("luo-trace-{id}.{suffix}")
}

/// The first of the places that takes a file of this name, which none has yet.
fn elsewhere(
    places: &[PathBuf],
    name: &str,
    put: impl Fn(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    places.iter().map(|place| place.join(name)).find(|path| {
        // Whatever is there, a planted link too, is not ours to replace.
        path.symlink_metadata().is_err() && put(path).inspect_err(|why| log::warn!("{why}")).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_be_a_run_is_refused_before_anything_is_armed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (bad, why) in [
            (path, "is a directory"),
            (Path::new("/dev/full"), "not a regular file"),
            (&path.join("no/such/x.run.json"), "no file can be made"),
            (Path::new("/proc/x.run.json"), "no file can be made"),
        ] {
            let error = check(bad).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(Failure::exit_of(&error), crate::exit::Exit::BadInput);
        }
        check(&path.join("x.run.json")).unwrap();
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn the_next_place_takes_what_the_first_cannot() {
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().to_owned();
        let put = |place: &Path| durable::write(place, b"run").map_err(|e| e.to_string());
        let places = [PathBuf::from("/proc"), good.clone()];
        let found = elsewhere(&places, "x", put).unwrap();
        assert_eq!(fs::read(&found).unwrap(), b"run");
        // A second one does not replace it.
        assert_eq!(elsewhere(&places, "x", put), None);
        // Nor does it follow a link that somebody planted.
        std::os::unix::fs::symlink("/nowhere", good.join("y")).unwrap();
        assert_eq!(elsewhere(&places, "y", put), None);
    }
}
