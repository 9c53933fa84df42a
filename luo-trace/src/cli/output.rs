//! Writing to standard output and standard error, for all commands.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use reports::escape;
use reports::files::durable::{Output, WriteError};
use reports::files::set;

use crate::exit::Failure;

/// Where the output of a command goes.
#[derive(Debug, clap::Args)]
pub(super) struct Destination {
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

impl Destination {
    /// Opens it, before the work, so that a bad place fails first; refuses to replace
    /// what is read.
    pub(super) fn open(&self, inputs: &[PathBuf], create: Create) -> Result<Opened> {
        check_distinct(self.output.as_deref(), inputs)?;
        let file = self.output.as_deref().map(create).transpose();
        Ok(Opened(file.map_err(Failure::bad_input)?))
    }
}

/// [`Output::create`], or that for other users to read.
type Create = fn(&Path) -> Result<Output, WriteError>;

/// A [`Destination`] that is ready.
pub(super) struct Opened(Option<Output>);

impl Opened {
    /// Writes all of it, to the file or to standard output.
    pub(super) fn write(self, bytes: &[u8]) -> Result<()> {
        match self.0 {
            Some(output) => output.commit(bytes).map_err(Failure::bad_input),
            None => print(bytes),
        }
    }

    /// Whether it is a person's eyes.
    pub(super) fn is_terminal(&self) -> bool {
        self.0.is_none() && io::stdout().is_terminal()
    }
}

/// Writes to standard output. A reader that has gone, as in `… | head`, is no
/// error; any other failure is exit 2, never a verdict.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let text =
                format!("cannot write to standard output: {error}; make room or use -o FILE");
            Err(Failure::bad_input(text))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, where that is possible; what comes from a run
/// or a path in it moves no cursor.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", escape::lines(&line.to_string()));
}

/// Refuses outputs that would overwrite each other or a file that is read; inputs may be
/// directories, as sets are named.
pub(super) fn check_distinct<'a>(
    outputs: impl IntoIterator<Item = &'a Path>,
    inputs: &[PathBuf],
) -> Result<()> {
    let mut outputs = outputs.into_iter().peekable();
    let mut read = Vec::new();
    if outputs.peek().is_some() {
        let files = inputs.iter().flat_map(|input| set::files(input));
        read.extend(files.filter_map(|file| file.canonicalize().ok()));
    }
    let mut taken: Vec<PathBuf> = Vec::new();
    for path in outputs {
        let Some(place) = place(path) else { continue };
        let path = path.display();
        if taken.contains(&place) {
            let text = format!("{path} is asked for twice; give each output a file of its own");
            return Err(Failure::bad_input(text));
        }
        if read.contains(&place) {
            let text = format!("{path} is an input and would be replaced; name another file");
            return Err(Failure::bad_input(text));
        }
        taken.push(place);
    }
    Ok(())
}

/// The file that a path leads to; nothing for pipes and devices, which many may share.
fn place(path: &Path) -> Option<PathBuf> {
    if let Ok(place) = path.canonicalize() {
        return place.is_file().then_some(place);
    }
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    Some(directory.canonicalize().ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_output_replaces_neither_another_nor_an_input() {
        let dir = tempfile::tempdir().unwrap();
        let (set, new) = (dir.path().join("set"), dir.path().join("new"));
        let run = set.join("0001.run.json");
        fs::create_dir(&set).unwrap();
        fs::write(&run, "").unwrap();
        let error = |outputs: &[&Path], input: &Path| {
            let checked = check_distinct(outputs.iter().copied(), &[input.to_owned()]);
            checked.map_err(|error| error.to_string())
        };
        assert!(error(&[&new, &set.join("x.md")], &set).is_ok());
        let devices = [Path::new("/dev/null"); 2];
        assert!(error(&devices, &set).is_ok());
        let again = dir.path().join("./set/../new");
        assert!(error(&[&new, &again], &set).unwrap_err().contains("twice"));
        for input in [&set, &run] {
            let error = error(&[&run], input).unwrap_err();
            assert!(error.contains("is an input"), "{error}");
        }
    }
}
