//! What became of the update.

use std::collections::HashSet;

use luo_trace_ebpf::{Command, ProbeId};
use reports::model::{Ended, Outcome};

use super::beside::Seen;
use super::calls::Call;
use super::{Joined, Outstanding};
use crate::clock::{BootNs, New};
use crate::sources::Called;

/// The outcome, where what was seen tells it.
pub(super) fn of(joined: &Joined<'_>, seen: &Seen<'_>) -> Option<Ended> {
    if joined.new.same_boot {
        let why = "the trace was recorded in this very boot: there was no kexec";
        return Some(ended(Outcome::NoOp, why));
    }
    // Where it refuses, it keeps the carrier, too.
    if let Some(why) = refused(joined) {
        return Some(ended(Outcome::Refused, why));
    }
    let meta = &joined.old?.meta;
    let mut outstanding = Outstanding::default();
    outstanding.expect(&joined.old_calls, &meta.session, meta.pid);
    let (files, _) = outstanding.expected()?;
    if files == 0 {
        return given_up(joined);
    }
    let restore = Restore::of(joined, seen);
    for call in &restore.probed {
        outstanding.saw(call);
    }
    let named = restore.is_named() && outstanding.is_known();
    let left: Vec<_> = outstanding.files().filter(|_| named).collect();
    let retrieved = restore.retrieved();
    let missing = if named {
        left.len()
    } else {
        files.saturating_sub(retrieved)
    };
    // What came before the probes, or was lost, only the boot trace could have seen. And a file
    // may be asked for twice: more answers than files do not say that all came back.
    if missing > 0 && !restore.whole || !named && retrieved > files {
        return None;
    }
    if missing > 0 {
        return Some(ended(
            Outcome::Partial,
            left_over(files, missing, &left, &restore),
        ));
    }
    Some(match restore.unfinished() {
        Some(ret) => ended(
            Outcome::Unfinished,
            format!("all files came back, but FINISH returned {ret} and may be tried again"),
        ),
        None => Ended {
            outcome: Outcome::Done,
            why: restore.tried_again(),
        },
    })
}

fn ended(outcome: Outcome, why: impl Into<String>) -> Ended {
    Ended {
        outcome,
        why: Some(why.into()),
    }
}

fn left_over(
    files: usize,
    missing: usize,
    left: &[&(String, u64)],
    restore: &Restore<'_>,
) -> String {
    let names = left
        .iter()
        .map(|(session, token)| format!("token {token} of {session}"));
    let names: Vec<_> = names.take(3).collect();
    let more = if missing > 3 { ", …" } else { "" };
    let which = match names.as_slice() {
        [] => String::new(),
        some => format!(" ({}{more})", some.join(", ")),
    };
    let failed = restore.failed(Command::RetrieveFd);
    let failed = failed.map_or(String::new(), |ret| {
        format!("; the last RETRIEVE_FD that failed returned {ret}")
    });
    format!("{missing} of {files} files had not come back when collect ended{which}{failed}")
}

/// Files were preserved, and all of their sessions were closed before the kexec.
fn given_up(joined: &Joined<'_>) -> Option<Ended> {
    let preserved = joined
        .old_calls
        .iter()
        .filter(|call| !joined.own.call(call) && call.file(Command::PreserveFd).is_some());
    let files = preserved.count();
    let why = format!("{files} files were preserved, and their sessions closed before the kexec");
    (files > 0).then(|| ended(Outcome::Partial, why))
}

/// How the new kernel refused what was preserved, if it did: by its log, else by what its function
/// returned.
fn refused(joined: &Joined<'_>) -> Option<String> {
    let probe = ProbeId::LuoSessionDeserialize;
    let ret = || {
        let mut ends = joined.new_calls.each(probe).filter_map(|call| call.ret);
        let ret = ends.find(|ret| *ret < 0)?;
        Some(format!("{} returned {ret}", probe.name()))
    };
    let how = match joined.new.boot.refusals.as_slice() {
        [] => ret()?,
        said => format!("its log says \"{}\"", said.join("\", \"")),
    };
    Some(format!(
        "the new kernel could not read the preserved sessions: {how}"
    ))
}

/// Whose call it was: of a session, or where that is not known, of a thread.
#[derive(Clone, PartialEq, Eq)]
enum Of {
    Session(String),
    Thread(u32),
}

/// A call that has ended.
struct Answer {
    start: BootNs<New>,
    command: Command,
    of: Of,
    token: Option<u64>,
    ret: i64,
}

/// The calls of others on LUO in the new kernel.
struct Restore<'a> {
    probed: Vec<&'a Call<New>>,
    /// In order, each once, whoever saw it.
    results: Vec<Answer>,
    /// Whether it was seen from its beginning: by the boot trace, or by probes that lost nothing.
    whole: bool,
}

impl<'a> Restore<'a> {
    fn of(joined: &'a Joined<'_>, seen: &Seen<'_>) -> Self {
        let probed = joined.new_calls.iter().filter(|c| !joined.own.new_call(c));
        let probed: Vec<_> = probed.collect();
        let opened = probed
            .iter()
            .any(|c| c.is(ProbeId::LuoOpen) && c.succeeded());
        // Where the trace was cleared meanwhile, it begins later than with an open.
        let first = seen.calls().min_by_key(|(call, _)| call.start.boot_ns);
        let traced = first.is_some_and(|(call, _)| call.what == Called::Open);
        let traced = traced && !joined.new.boot.calls_cut;
        let whole = traced || opened && joined.new.counters.lost == 0;
        let both: HashSet<_> = seen.both().map(|(_, call)| call.start).collect();
        let of = |session: Option<&String>, thread| {
            session.map_or(Of::Thread(thread), |name| Of::Session(name.clone()))
        };
        let alone = probed.iter().filter(|c| !both.contains(&c.start));
        let mut results: Vec<Answer> = alone
            .filter_map(|c| {
                // Whoever closes a session has finished it.
                let closes = c.is(ProbeId::LuoSessionRelease) && c.session.is_some();
                Some(Answer {
                    start: c.start,
                    command: c.command.or(closes.then_some(Command::Finish))?,
                    of: of(c.session.as_ref(), c.tid),
                    token: c.token,
                    ret: c.ret?,
                })
            })
            .collect();
        results.extend(seen.calls().filter_map(|(traced, probed)| {
            let session = probed.and_then(|c| c.session.as_ref());
            Some(Answer {
                start: traced.start.boot_ns,
                command: traced.command()?,
                of: of(session.or(traced.of.session.as_ref()), traced.tid),
                token: probed.and_then(|c| c.token).or(traced.of.token),
                ret: probed.and_then(|c| c.ret).or(traced.ret)?,
            })
        }));
        results.sort_by_key(|result| result.start);
        Self {
            probed,
            results,
            whole,
        }
    }

    fn came_back(&self) -> impl Iterator<Item = &Answer> {
        let came = |r: &&Answer| r.command == Command::RetrieveFd && r.ret == 0;
        self.results.iter().filter(came)
    }

    /// Whether a probe named each file that came back.
    fn is_named(&self) -> bool {
        let named = self
            .probed
            .iter()
            .filter(|c| c.file(Command::RetrieveFd).is_some());
        named.count() == self.came_back().count()
    }

    /// Files that came back; one that is named and asked for again counts once.
    fn retrieved(&self) -> usize {
        let mut names = HashSet::new();
        let new = |r: &&Answer| match (&r.of, r.token) {
            (Of::Session(session), Some(token)) => names.insert((session.clone(), token)),
            _ => true,
        };
        self.came_back().filter(new).count()
    }

    /// What the last of these calls that failed returned.
    fn failed(&self, command: Command) -> Option<i64> {
        let mut of = self.results.iter().rev().filter(|r| r.command == command);
        of.find(|r| r.ret < 0).map(|r| r.ret)
    }

    /// What FINISH returned where nothing better followed.
    fn unfinished(&self) -> Option<i64> {
        let finishes = || self.results.iter().filter(|r| r.command == Command::Finish);
        let last = |of: &Of| finishes().rfind(|r| r.of == *of).map(|r| r.ret);
        finishes().filter_map(|r| last(&r.of)).find(|ret| *ret < 0)
    }

    /// What failed on the way to a good end.
    fn tried_again(&self) -> Option<String> {
        let commands = [Command::RetrieveFd, Command::Finish];
        let failed = commands.into_iter().filter_map(|command| {
            let of = self
                .results
                .iter()
                .filter(|r| r.command == command && r.ret < 0);
            let often = match of.count() {
                0 => return None,
                1 => "once".to_owned(),
                n => format!("{n} times"),
            };
            Some(format!("{command} failed {often}, and all files came back"))
        });
        let failed: Vec<_> = failed.collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use luo_trace_ebpf::Event;
    use reports::model::Source;

    use super::*;
    use crate::join::join;
    use crate::join::tests::{Log, halves};
    use crate::join::{Halves, NewHalf, OldHalf};
    use crate::sources::{Boot, BootCall, Named, Stamp};

    const TOKENS: std::ops::RangeInclusive<u64> = 1..=3;
    const EIO: u64 = (-5_i64).cast_unsigned();

    /// An update that preserves three files and does this in the new kernel.
    fn after(preserve: impl FnOnce(&mut Log), restore: impl FnOnce(&mut Log)) -> Option<Ended> {
        let mut new = Log::from(0);
        new.call(ProbeId::LuoOpen, [0; 3], 0, |_| {});
        new.named(ProbeId::LuoSessionAlloc, "vm", 8);
        restore(&mut new);
        before(preserve, &new.events, Boot::default())
    }

    /// The same of what the probes and the boot trace saw of the new kernel.
    fn before(preserve: impl FnOnce(&mut Log), new: &[Event], boot: Boot) -> Option<Ended> {
        let mut old = Log::from(0);
        old.named(ProbeId::LuoSessionAlloc, "vm", 7);
        preserve(&mut old);
        let Halves {
            old: half,
            new: other,
            bridge,
            checks,
            anchors,
        } = halves();
        let halves = Halves {
            old: half.map(|half| OldHalf {
                events: old.events,
                ..half
            }),
            new: NewHalf {
                events: new.to_vec(),
                boot,
                ..other
            },
            bridge,
            checks,
            anchors,
        };
        join(halves).outcome
    }

    fn call(log: &mut Log, command: Command, token: u64, ret: u64) {
        log.call(
            ProbeId::LuoSessionIoctl,
            [command.number().into(), token, 9],
            ret,
            |_| {},
        );
    }

    fn preserve_all(log: &mut Log) {
        TOKENS.for_each(|token| call(log, Command::PreserveFd, token, 0));
    }

    #[test]
    fn what_a_cleared_or_cut_boot_trace_lacks_is_not_said_to_be_missing() {
        let traced = |number: i64, what: Called| {
            let at = |ns| Stamp {
                boot_ns: BootNs::new(ns),
                error_ns: 0,
                source: Source::Ftrace,
            };
            BootCall {
                what,
                cpu: 0,
                tid: 77,
                comm: "agent".to_owned(),
                start: at(number * 1_000),
                end: Some(at(number * 1_000 + 500)),
                ret: Some(0),
                of: Named::default(),
            }
        };
        let open = traced(1, Called::Open);
        let retrieve = traced(2, Called::Ioctl(Command::RetrieveFd));
        for (calls, calls_cut, outcome) in [
            (vec![open.clone(), retrieve.clone()], false, Some("partial")),
            (vec![open, retrieve.clone()], true, None),
            (vec![retrieve], false, None),
        ] {
            let boot = Boot {
                calls,
                calls_cut,
                ..Boot::default()
            };
            assert_eq!(word(before(preserve_all, &[], boot)).0, outcome);
        }
    }

    fn word(ended: Option<Ended>) -> (Option<&'static str>, String) {
        let why = ended
            .as_ref()
            .and_then(|e| e.why.clone())
            .unwrap_or_default();
        (ended.map(|e| e.outcome.as_str()), why)
    }

    #[test]
    fn each_end_has_its_word() {
        let all = |log: &mut Log| TOKENS.for_each(|token| call(log, Command::RetrieveFd, token, 0));
        let done = after(preserve_all, |log| {
            all(log);
            call(log, Command::Finish, 0, 0);
        });
        assert_eq!(word(done), (Some("done"), String::new()));
        let finished_late = after(preserve_all, |log| {
            all(log);
            call(log, Command::Finish, 0, EIO);
            call(log, Command::Finish, 0, 0);
        });
        let late = "FINISH failed once, and all files came back";
        assert_eq!(word(finished_late), (Some("done"), late.to_owned()));
        let unfinished = after(preserve_all, |log| {
            all(log);
            call(log, Command::Finish, 0, EIO);
        });
        assert_eq!(word(unfinished).0, Some("unfinished"));
        let partial = after(preserve_all, |log| {
            call(log, Command::RetrieveFd, 1, 0);
            call(log, Command::RetrieveFd, 2, EIO);
        });
        let (outcome, why) = word(partial);
        assert_eq!(outcome, Some("partial"));
        assert!(why.starts_with("2 of 3 files had not come back"), "{why}");
        let nothing = after(|_| (), |_| ());
        assert_eq!(nothing, None);
    }
}
