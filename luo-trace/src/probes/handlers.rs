//! The operations of this kernel's file handlers, whatever they are.

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::time::Instant;

use luo_trace_ebpf::handlers::FOUND;
use luo_trace_ebpf::{Operation, Probe};

use crate::carrier::Found;

/// Types of the whole kernel but its modules, to which LUO exports nothing (v7.3).
const BTF: &str = "/sys/kernel/btf/vmlinux";
const SYMBOLS: &str = "/proc/kallsyms";
/// What comes before the operation in the name of a function that is one.
const BEFORE: [&str; 3] = ["_luo", "_liveupdate", "_flb"];

/// How the operations were told from other functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By their arguments, in BTF.
    ByType,
    /// By their names: this kernel has no BTF.
    ByName,
}

impl Told {
    /// As a run has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ByType => "btf",
            Self::ByName => "names",
        }
    }
}

/// Which operations are looked for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The wanted ones.
    pub of: fn(&Probe) -> bool,
    /// Whether to go by names where there are no types. It takes long: the kernel spells out its
    /// whole symbol table.
    pub by_name: bool,
}

/// The operations that the table lacks, and how they were found.
pub fn find(search: Search) -> (Vec<&'static Probe>, Option<Told>) {
    let start = Instant::now();
    let by_type = fs::read(BTF).map_err(|e| e.to_string()).and_then(|blob| {
        let names = super::btf::operations(&blob)?;
        Ok(names.into_iter().map(str::to_owned).collect())
    });
    let (names, told) = match by_type {
        Ok(names) => (names, Some(Told::ByType)),
        Err(_) if !search.by_name => return (Vec::new(), None),
        Err(why) => {
            log::debug!("handlers by name: {BTF}: {why}");
            (by_name().unwrap_or_default(), Some(Told::ByName))
        }
    };
    let mut found = numbered(names);
    found.retain(|row| (search.of)(row));
    log::debug!(
        "{} operations of handlers found in {:.1?}, {told:?}",
        found.len(),
        start.elapsed()
    );
    (found, told)
}

/// Rows for those that the table does not list, each once.
fn numbered(names: Vec<String>) -> Vec<&'static Probe> {
    let mut seen = HashSet::new();
    let new = names
        .into_iter()
        .filter(|name| Probe::by_name(name).is_none() && seen.insert(name.clone()));
    let found = FOUND.zip(new);
    found
        .map(|(number, symbol)| Found { number, symbol }.row())
        .collect()
}

fn by_name() -> io::Result<Vec<String>> {
    let mut symbols = BufReader::with_capacity(1 << 16, fs::File::open(SYMBOLS)?);
    let (mut names, mut line) = (Vec::new(), Vec::new());
    while symbols.read_until(b'\n', &mut line)? > 0 {
        // Most lines end otherwise.
        if line.ends_with(b"e\n") || line.ends_with(b"h\n") {
            let text = String::from_utf8_lossy(&line);
            let mut words = text.split_ascii_whitespace().skip(1);
            if let (Some("t" | "T"), Some(name)) = (words.next(), words.next())
                && is_operation(name)
            {
                names.push(name.to_owned());
            }
        }
        line.clear();
    }
    Ok(names)
}

fn is_operation(name: &str) -> bool {
    Operation::of(name).is_some_and(|(before, _)| {
        let named = BEFORE.iter().any(|end| before.ends_with(end)) && before != "luo_flb";
        // Some kernels have a symbol of padding before each function: `__pfx_…`.
        named && !before.starts_with("__")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_operations_from_what_calls_them() {
        for name in [
            "memfd_luo_freeze",
            "pci_flb_retrieve",
            "vfio_pci_liveupdate_can_finish",
        ] {
            assert!(is_operation(name), "{name}");
        }
        for name in [
            "luo_file_freeze",
            "luo_flb_finish",
            "luo_session_retrieve",
            "memfd_luo_init",
            "__pfx_memfd_luo_freeze",
        ] {
            assert!(!is_operation(name), "{name}");
        }
    }

    #[test]
    fn what_the_table_lists_is_not_found_again() {
        let names = [
            "memfd_luo_freeze",
            "new_luo_freeze",
            "new_luo_freeze",
            "new_luo_finish",
        ];
        let found = numbered(names.map(str::to_owned).to_vec());
        let found: Vec<_> = found.iter().map(|row| (row.number, row.name)).collect();
        assert_eq!(found, [(160, "new_luo_freeze"), (161, "new_luo_finish")]);
    }
}
