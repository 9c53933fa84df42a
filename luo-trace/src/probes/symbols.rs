//! Which functions this kernel lets us trace.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use luo_trace_ebpf::Probe;

use super::{Missing, Placed};

/// Where tracefs lists what can be traced.
const LISTS: [&str; 2] = [
    "/sys/kernel/tracing/available_filter_functions",
    "/sys/kernel/debug/tracing/available_filter_functions",
];

/// Places each probe on the first of its symbols without asking the kernel:
/// right on the reference series, and cheap to find wrong.
pub fn assume(table: &'static [Probe]) -> Vec<Placed> {
    let of_arch = |symbol: &&str| match symbol
        .strip_prefix("__")
        .and_then(|s| s.split_once("_sys_"))
    {
        Some(("x64", _)) => cfg!(target_arch = "x86_64"),
        Some(("arm64", _)) => cfg!(target_arch = "aarch64"),
        _ => true,
    };
    table
        .iter()
        .filter_map(|probe| {
            Some(Placed {
                probe,
                symbol: probe.symbols().find(of_arch)?,
            })
        })
        .collect()
}

/// Places each probe on the first of its symbols that tracefs (or else kallsyms) lists.
pub fn resolve(table: &'static [Probe]) -> (Vec<Placed>, Vec<Missing>) {
    let wanted: HashSet<&str> = table.iter().flat_map(Probe::symbols).collect();
    let (available, list) = LISTS
        .iter()
        .find_map(|path| {
            Some((
                first_words(path, 0, &wanted)?,
                "not traceable here (inlined, renamed or not built)",
            ))
        })
        .or_else(|| {
            Some((
                first_words("/proc/kallsyms", 2, &wanted)?,
                "not in /proc/kallsyms",
            ))
        })
        .unwrap_or_default();
    let (mut placed, mut missing) = (Vec::new(), Vec::new());
    for probe in table {
        match probe.symbols().find(|s| available.contains(*s)) {
            Some(symbol) => placed.push(Placed { probe, symbol }),
            None => missing.push(Missing {
                probe,
                why: list.to_owned(),
            }),
        }
    }
    (placed, missing)
}

/// Those of `wanted` that stand in column `column` of the file.
fn first_words(path: &str, column: usize, wanted: &HashSet<&str>) -> Option<HashSet<String>> {
    let mut found = HashSet::new();
    for line in BufReader::with_capacity(1 << 16, File::open(path).ok()?).lines() {
        let line = line.ok()?;
        if let Some(word) = line.split_ascii_whitespace().nth(column)
            && wanted.contains(word)
        {
            found.insert(word.to_owned());
        }
    }
    Some(found)
}
