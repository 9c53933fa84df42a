//! Which functions this kernel lets us trace.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};

use luo_trace_ebpf::{Probe, Series};

use super::kallsyms::Kallsyms;
use super::{Missing, Placed};
use crate::sources::{facts, tracefs};

/// Probes by whether this kernel has them.
pub type Resolved = (Vec<Placed>, Vec<Missing>);

/// Places each probe on the first of its symbols that the kernel has, with its
/// address. Cheap, but a function may exist and not be traceable.
pub fn look_up(table: &[&'static Probe]) -> io::Result<Resolved> {
    let kallsyms = Kallsyms::open()?;
    place(table, "this kernel has no such function", |symbol| {
        Ok(kallsyms.address(symbol)?.map(Some))
    })
}

/// Places each probe on the first of its symbols that tracefs lists.
pub fn look_up_traceable(table: &[&'static Probe]) -> io::Result<Resolved> {
    let wanted: HashSet<&str> = table.iter().flat_map(|p| p.symbols()).collect();
    let list = File::open(tracefs::file("available_filter_functions")?)?;
    let mut traceable = HashSet::new();
    for line in BufReader::with_capacity(1 << 16, list).lines() {
        let line = line?;
        if let Some(word) = line.split_ascii_whitespace().next()
            && let Some(symbol) = wanted.get(word)
        {
            traceable.insert(*symbol);
        }
    }
    place(table, "not traceable in this kernel", |symbol| {
        Ok(traceable.contains(symbol).then_some(None))
    })
}

/// `find`: a symbol's address, if that is known, where the kernel has the symbol.
fn place(
    table: &[&'static Probe],
    absent: &str,
    find: impl Fn(&str) -> io::Result<Option<Option<u64>>>,
) -> io::Result<Resolved> {
    let (mut placed, mut missing) = (Vec::new(), Vec::new());
    for probe in table {
        let mut found = None;
        for symbol in probe.symbols() {
            if let Some(address) = find(symbol)? {
                found = Some(Placed {
                    probe,
                    symbol,
                    address,
                });
                break;
            }
        }
        match found {
            Some(one) => placed.push(one),
            None if probe.optional => {}
            None => missing.push(Missing {
                probe,
                why: why_absent(probe, absent, facts::series()),
            }),
        }
    }
    Ok((placed, missing))
}

fn why_absent(probe: &Probe, absent: &str, here: Option<Series>) -> String {
    let reason = match (here, probe.until) {
        (Some(here), _) if here < probe.since => {
            format!("it came with Linux {}.{}", probe.since.0, probe.since.1)
        }
        (Some(here), Some(last)) if last < here => {
            format!("Linux {}.{} was the last with it", last.0, last.1)
        }
        _ => "renamed, inlined or not built".to_owned(),
    };
    format!("{absent} ({reason})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use luo_trace_ebpf::ProbeId;

    #[test]
    fn an_absent_function_is_explained_by_the_kernels_series_where_that_explains_it() {
        let flb = Probe::of(ProbeId::LuoFlbSerialize);
        let of = |series| why_absent(flb, "none", series);
        assert_eq!(of(Some((6, 19))), "none (it came with Linux 7.0)");
        assert_eq!(of(Some((7, 3))), "none (renamed, inlined or not built)");
        assert_eq!(of(None), "none (renamed, inlined or not built)");
        let mut gone = *flb;
        gone.until = Some((7, 2));
        let why = why_absent(&gone, "none", Some((7, 3)));
        assert_eq!(why, "none (Linux 7.2 was the last with it)");
    }
}
