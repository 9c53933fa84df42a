//! Which functions this kernel lets us trace.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};

use luo_trace_ebpf::Probe;

use crate::arch;

use super::kallsyms::Kallsyms;
use super::{Missing, Placed};

/// Where tracefs lists what can be traced.
const LISTS: [&str; 2] = [
    "/sys/kernel/tracing/available_filter_functions",
    "/sys/kernel/debug/tracing/available_filter_functions",
];

/// Probes by whether this kernel has them.
pub type Resolved = (Vec<Placed>, Vec<Missing>);

/// Places each probe on the first of its symbols that the kernel has, with its
/// address. Cheap, but a function may exist and not be traceable.
pub fn look_up(table: &[&'static Probe]) -> io::Result<Resolved> {
    let kallsyms = Kallsyms::open()?;
    let (mut placed, mut missing) = (Vec::new(), Vec::new());
    for probe in table {
        let mut found = None;
        for symbol in probe.symbols() {
            if let Some(address) = kallsyms.address(symbol)? {
                found = Some(Placed {
                    probe,
                    symbol,
                    address: Some(address),
                });
                break;
            }
        }
        match found {
            Some(one) => placed.push(one),
            None if probe.optional || arch::passes_by(probe) => {}
            None => missing.push(Missing {
                probe,
                why: "this kernel has no such function (renamed, inlined or not built)".to_owned(),
            }),
        }
    }
    Ok((placed, missing))
}

/// Places each probe on the first of its symbols that tracefs (or else kallsyms) lists.
pub fn resolve(table: &[&'static Probe]) -> Resolved {
    let wanted: HashSet<&str> = table.iter().flat_map(|p| p.symbols()).collect();
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
            Some(symbol) => placed.push(Placed {
                probe,
                symbol,
                address: None,
            }),
            None if probe.optional || arch::passes_by(probe) => {}
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
