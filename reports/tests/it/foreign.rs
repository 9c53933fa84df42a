//! Programs of others that tests need; `cargo xtask setup` installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const PACKAGES: &str = include_str!("../requirements.txt");

/// The Python with the packages of `tests/requirements.txt`, in the user's cache.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
        let python = cache.join("luo-trace/venv/bin/python");
        let tests: Vec<String> = PACKAGES
            .lines()
            .filter_map(|line| line.split_once("=="))
            .map(|(name, version)| format!("assert version('{name}') == '{version}'"))
            .collect();
        let script = format!(
            "from importlib.metadata import version; {}",
            tests.join("; ")
        );
        let output = Command::new(&python)
            .args(["-c", &script])
            .stderr(Stdio::null())
            .status();
        output
            .is_ok_and(|status| status.success())
            .then_some(python)
    });
    found(
        python.as_deref(),
        "a Python with the packages of reports/tests/requirements.txt",
    )
}

/// Chromium, or a browser that is built from it.
pub fn chromium() -> Option<&'static str> {
    let starts = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    found(names.into_iter().find(starts), "chromium")
}

/// Without the program a test is skipped, but not where that would pass unseen.
fn found<T>(program: Option<T>, name: &str) -> Option<T> {
    if program.is_none() {
        let strict = ["CI", "LUO_TRACE_NO_SKIP"]
            .into_iter()
            .any(|key| std::env::var_os(key).is_some_and(|value| !value.is_empty()));
        assert!(!strict, "{name} is missing: run `cargo xtask setup`");
        eprintln!("skipped: {name} is missing: run `cargo xtask setup`");
    }
    program
}
