//! What became of the update.

use luo_trace_ebpf::{Command, ProbeId};
use reports::model::{Ended, Outcome};

use super::beside::Seen;
use super::calls::Call;
use super::{Called, Joined, Outstanding};
use crate::clock::New;

/// The outcome, where it is known what was to come back.
pub(super) fn of(joined: &Joined<'_>, seen: &Seen<'_>) -> Option<Ended> {
    let meta = &joined.old?.meta;
    if meta.kernel.boot_id == joined.new.kernel.boot_id {
        let why = "this is the kernel that was recorded: there was no kexec";
        return Some(ended(Outcome::NoOp, why));
    }
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
    if let Some(ret) = refused(joined) {
        let why = format!("the new kernel did not take the sessions over: luo_open returned {ret}");
        return Some(ended(Outcome::Refused, why));
    }
    let mut left: Vec<_> = outstanding.files().collect();
    let named = restore.is_named() && outstanding.is_known();
    let missing = if named {
        left.len()
    } else {
        left.clear();
        files.saturating_sub(restore.retrieved)
    };
    if missing > 0 {
        let which = left
            .iter()
            .map(|(session, token)| format!("token {token} of {session}"));
        let which: Vec<_> = which.take(3).collect();
        let which = match which.as_slice() {
            [] => String::new(),
            some => format!(
                " ({}{})",
                some.join(", "),
                if missing > 3 { ", …" } else { "" }
            ),
        };
        let failed = restore.failed(Command::RetrieveFd);
        let failed = failed.map_or(String::new(), |ret| {
            format!("; the last RETRIEVE_FD that failed returned {ret}")
        });
        let why = format!("{missing} of {files} files did not come back{which}{failed}");
        return Some(ended(Outcome::Partial, why));
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

/// What `luo_session_deserialize` said, if that was no.
fn refused(joined: &Joined<'_>) -> Option<i64> {
    let deserialized = joined.new_calls.each(ProbeId::LuoSessionDeserialize);
    deserialized
        .filter_map(|call| call.ret)
        .find(|ret| *ret < 0)
}

/// The calls of others on LUO in the new kernel.
struct Restore<'a> {
    probed: Vec<&'a Call<New>>,
    /// Command, thread and result of each that ended, in order.
    results: Vec<(Command, u32, i64)>,
    /// Whether a probe saw each of them.
    named: bool,
    /// Files that came back.
    retrieved: usize,
}

impl<'a> Restore<'a> {
    fn of(joined: &'a Joined<'_>, seen: &Seen<'_>) -> Self {
        let probed = joined.new_calls.iter().filter(|c| !joined.own.new_call(c));
        let probed: Vec<_> = probed.collect();
        let unprobed: Vec<_> = seen.unprobed().collect();
        let mut results: Vec<_> = probed
            .iter()
            .filter_map(|c| Some((c.start, (c.command?, c.tid, c.ret?))))
            .collect();
        results.extend(unprobed.iter().filter_map(|c| match c.what {
            Called::Ioctl(command) => Some((c.start.boot_ns, (command, c.tid, c.ret?))),
            _ => None,
        }));
        results.sort_by_key(|(start, _)| *start);
        let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
        let came = |r: &&(Command, u32, i64)| r.0 == Command::RetrieveFd && r.2 == 0;
        Self {
            retrieved: results.iter().filter(came).count(),
            named: unprobed.is_empty(),
            probed,
            results,
        }
    }

    const fn is_named(&self) -> bool {
        self.named
    }

    /// What the last of these calls that failed returned.
    fn failed(&self, command: Command) -> Option<i64> {
        let mut of = self.results.iter().rev().filter(|r| r.0 == command);
        of.find(|r| r.2 < 0).map(|r| r.2)
    }

    /// What FINISH returned to a thread that was not told otherwise later.
    fn unfinished(&self) -> Option<i64> {
        let finishes = || self.results.iter().filter(|r| r.0 == Command::Finish);
        let last = |thread| finishes().rfind(|r| r.1 == thread).map(|r| r.2);
        finishes().filter_map(|r| last(r.1)).find(|ret| *ret < 0)
    }

    /// What failed on the way to a good end.
    fn tried_again(&self) -> Option<String> {
        let commands = [Command::RetrieveFd, Command::Finish];
        let failed = commands.into_iter().filter_map(|command| {
            let of = self.results.iter().filter(|r| r.0 == command && r.2 < 0);
            let n = of.count();
            let often = match n {
                1 => "once".to_owned(),
                n => format!("{n} times"),
            };
            (n > 0).then(|| format!("{command} failed {often} before it worked"))
        });
        let failed: Vec<_> = failed.collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::join;
    use crate::join::tests::{Log, halves};
    use crate::join::{Halves, NewHalf, OldHalf};

    const TOKENS: std::ops::RangeInclusive<u64> = 1..=3;
    const EIO: u64 = (-5_i64).cast_unsigned();

    /// An update that preserves three files and does this in the new kernel.
    fn after(preserve: impl FnOnce(&mut Log), restore: impl FnOnce(&mut Log)) -> Option<Ended> {
        let mut old = Log::from(0);
        old.named(ProbeId::LuoSessionAlloc, "vm", 7);
        preserve(&mut old);
        let mut new = Log::from(0);
        new.named(ProbeId::LuoSessionAlloc, "vm", 8);
        restore(&mut new);
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
                events: new.events,
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
        let late = "FINISH failed once before it worked";
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
        assert!(why.starts_with("2 of 3 files did not come back"), "{why}");
        let nothing = after(|_| (), |_| ());
        assert_eq!(nothing, None);
    }
}
