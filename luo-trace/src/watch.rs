//! Both halves as one service: collects where something came over the kexec, then records
//! for the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::setpriority_process;

use crate::collect;
use crate::exit::{Exit, Failure};
use crate::host;
use crate::host::manager::Handed;
use crate::host::ready::{Ready, Started};
use crate::record;
use crate::sources::{boot_trace, facts, kmsg};

/// How a run file's name ends.
const SUFFIX: &str = ".run.json";

/// What `watch` is asked for.
#[derive(Debug)]
pub struct Config {
    /// Where runs go, one file for each update.
    pub directory: PathBuf,
    /// How much is kept there.
    pub keep: Keep,
    /// The half that comes first; its `handed` and `output` are set here.
    pub collect: collect::Config,
    /// The half that comes second; its `handed` is set here.
    pub record: record::Config,
}

/// Bounds of what is kept: the oldest runs are deleted.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Most files to keep.
    pub runs: usize,
    /// Most bytes of all of them together.
    pub bytes: u64,
}

/// Collects, if anything came over, and records until the kexec or a signal.
///
/// # Errors
/// Nothing can be recorded here. That nothing could be collected is said and is none.
pub fn run(
    config: Config,
    handed: Option<Handed>,
    ready: Ready,
    started: Started,
) -> anyhow::Result<Exit> {
    let Config {
        directory,
        keep,
        collect,
        record,
    } = config;
    let output = directory.join(format!("{}{SUFFIX}", facts::kernel().boot_id));
    host::await_watchers();
    let came_over = handed
        .as_ref()
        .is_some_and(|handed| handed.session.came_over());
    // One that came over is finished with the run; the next one is made here.
    let (arrived, made) = if came_over {
        (handed, None)
    } else {
        (None, handed)
    };
    let record = record::Config {
        handed: made,
        ..record
    };
    if !came_over && !has_crossed(&output) {
        stop_boot_trace();
        // One that was collected in the initial file system counts, too.
        prune(&directory, keep);
        return quietly(record, ready, started);
    }
    let collect = collect::Config {
        handed: arrived,
        output,
        ..collect
    };
    let collected = collect::run(&collect, ready, started);
    // The session that came over, too: it is finished.
    drop(collect);
    match collected {
        Err(error) if Failure::exit_of(&error) == Exit::BadInput => return Err(error),
        Err(error) => log::error!(
            "this update was not collected as asked: {error:#}; going on to record the next one"
        ),
        Ok(_) => {}
    }
    prune(&directory, keep);
    quietly(record, Ready::on(None)?, Started::here())
}

/// Records; a service's log has a line for each update and for what goes wrong.
fn quietly(record: record::Config, ready: Ready, started: Started) -> anyhow::Result<Exit> {
    if log::max_level() == log::LevelFilter::Info {
        log::set_max_level(log::LevelFilter::Warn);
    }
    // To collect it stepped behind whoever restored; the last records are urgent.
    if let Err(error) = setpriority_process(None, 0) {
        log::debug!("cannot step forward again: {error}");
    }
    record::run(record, ready, started)
}

/// Whether this kernel was booted by a live update that nobody has collected yet. A service
/// that is started again finds its run.
fn has_crossed(output: &Path) -> bool {
    !output.exists() && kmsg::kexec_count() > 0
}

/// A kernel that was told to record a restore has none: it was not booted by kexec.
fn stop_boot_trace() {
    if boot_trace::watches_luo()
        && let Err(error) = boot_trace::stop()
    {
        log::warn!(
            "cannot stop system call tracing, which slows down every system call: {error}; run \
             `luo-trace {} </dev/null`",
            collect::GUARD
        );
    }
}

/// Deletes the oldest runs beyond the bounds.
fn prune(directory: &Path, keep: Keep) {
    for path in beyond(runs(directory), keep) {
        if let Err(error) = fs::remove_file(&path) {
            log::warn!("cannot delete the old run {}: {error}", path.display());
        }
    }
}

/// A run file: when it was written, its size in bytes, its path.
type File = (SystemTime, u64, PathBuf);

fn runs(directory: &Path) -> Vec<File> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter(|file| file.file_name().to_string_lossy().ends_with(SUFFIX))
        .filter_map(|file| {
            let meta = file.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((meta.modified().ok()?, meta.len(), file.path()))
        })
        .collect()
}

/// What has to go; the newest stays, however large it is.
fn beyond(mut files: Vec<File>, keep: Keep) -> Vec<PathBuf> {
    files.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    let within = files.iter().enumerate().take_while(|(at, (_, size, _))| {
        bytes += size;
        *at == 0 || (*at < keep.runs && bytes <= keep.bytes)
    });
    let within = within.count();
    files.drain(within..).map(|(.., path)| path).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_runs_go_first_and_the_newest_never() {
        let file = |age: u64, size| {
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age);
            (written, size, PathBuf::from(age.to_string()))
        };
        let files = || vec![file(3, 10), file(1, 10), file(2, 10)];
        let gone = |runs, bytes| -> Vec<_> {
            let gone = beyond(files(), Keep { runs, bytes });
            gone.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(gone(9, 99), Vec::<String>::new());
        assert_eq!(gone(2, 99), ["3"]);
        assert_eq!(gone(9, 19), ["2", "3"]);
        assert_eq!(gone(0, 0), ["2", "3"]);
    }

    #[test]
    fn only_runs_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["a.run.json", "b.json", ".a.run.json.tmp"] {
            fs::write(path.join(name), "{}").unwrap();
        }
        fs::create_dir(path.join("c.run.json")).unwrap();
        prune(path, Keep { runs: 0, bytes: 0 });
        assert!(path.join("a.run.json").exists());
        assert_eq!(fs::read_dir(path).unwrap().count(), 4);
    }
}
