//! What the lines of the boot trace tell.

use std::collections::HashMap;

use luo_trace_ebpf::Command;
use luo_trace_ebpf::maps::NO_RUN_NS;

use crate::liveupdate::DEVICE_PATH;
use crate::sources::boot_args::{DETAIL, KVM_RUN};
use crate::sources::tracefs::Record;
use crate::sources::{Boot, BootCall, BootMark, BootVcpu, Called, Named, Stamp};

/// What the lines of a trace tell, placed by `place`; others are passed over.
pub fn parse(lines: impl Iterator<Item = String>, place: impl Fn(&str) -> Option<Stamp>) -> Boot {
    let mut boot = Boot::default();
    let mut level = None;
    let mut open = HashMap::new();
    let mut runs = Runs::default();
    for line in lines {
        let Some(record) = Record::parse(&line) else {
            continue;
        };
        let Some(at) = place(record.stamp) else {
            continue;
        };
        boot.first_stamp.get_or_insert(at);
        match record.event {
            "initcall_level" => {
                if let Some(name) = record.text.strip_prefix("level=") {
                    level = Some(name.to_owned());
                    boot.stages.push((format!("initcalls.{name}"), at));
                }
            }
            "sys_ioctl" if runs.take(&record, at) => {}
            "initcall_start" | "initcall_finish" | "sys_openat" | "sys_ioctl" => {
                // A thread is in one such call at a time: what it was in before has
                // ended, seen or not.
                let before = open
                    .remove(&record.tid)
                    .map(|at: usize| &mut boot.calls[at]);
                if let Some(ret) = result(&record) {
                    if let Some(call) = before.filter(|call| ends(&record, &call.what)) {
                        call.end = Some(at);
                        call.ret = Some(ret);
                    }
                } else if let Some(what) = called(&record, level.as_ref()) {
                    open.insert(record.tid, boot.calls.len());
                    boot.calls.push(BootCall {
                        what,
                        cpu: record.cpu,
                        tid: record.tid,
                        comm: record.comm.to_owned(),
                        start: at,
                        end: None,
                        ret: None,
                        of: Named::default(),
                    });
                }
            }
            name if DETAIL.iter().any(|(probe, _)| probe.name() == name) => {
                if let Some(call) = open.get(&record.tid) {
                    learn(&mut boot.calls[*call].of, record.text);
                }
            }
            _ if record.is_mark() => boot.marks.push(BootMark {
                at,
                text: record.text.to_owned(),
                tid: record.tid,
                comm: record.comm.to_owned(),
            }),
            _ => {}
        }
    }
    boot.vcpus = runs.of;
    // Those of `do_initcalls` and the early ones: console initcalls run before, from
    // `start_kernel`. A boot configuration comes too late for the early and core ones.
    let mut initcalls = boot.calls.iter().filter(|call| !call.what.is_luo());
    let first = initcalls.find(|call| call.tid == 1);
    boot.first_initcall = first.map(|call| call.start);
    boot
}

/// Runs of virtual CPUs.
#[derive(Default)]
struct Runs {
    of: Vec<BootVcpu>,
    /// Threads that are in one, and since when.
    open: HashMap<u32, Stamp>,
}

impl Runs {
    /// Takes a record if it is of one.
    fn take(&mut self, record: &Record<'_>, at: Stamp) -> bool {
        let Some(ret) = result(record) else {
            self.open.remove(&record.tid);
            if command(record) != Some(KVM_RUN) {
                return false;
            }
            self.open.insert(record.tid, at);
            if self.of_thread(record.tid).is_none() {
                self.of.push(BootVcpu {
                    tid: record.tid,
                    pid: None,
                    comm: record.comm.to_owned(),
                    first: None,
                    tried: None,
                });
            }
            if let Some(vcpu) = self.of_thread(record.tid) {
                vcpu.first.get_or_insert(at);
            }
            return true;
        };
        let Some(start) = self.open.remove(&record.tid) else {
            return false;
        };
        let inside = at.boot_ns - start.boot_ns;
        let short = inside.unsigned_abs() < NO_RUN_NS;
        if ret == EINTR
            && short
            && let Some(vcpu) = self.of_thread(record.tid)
            && vcpu.first == Some(start)
        {
            // Whether it ran at all is not known.
            vcpu.first = None;
            vcpu.tried.get_or_insert(start);
        }
        true
    }

    fn of_thread(&mut self, tid: u32) -> Option<&mut BootVcpu> {
        self.of.iter_mut().find(|vcpu| vcpu.tid == tid)
    }
}

/// What `KVM_RUN` returns when it was interrupted.
const EINTR: i64 = -4;

/// The command of an ioctl: `(fd: 3, cmd: 0xba01, arg: 0x7fff54b58a70)`.
fn command(record: &Record<'_>) -> Option<u64> {
    let (_, rest) = record.text.split_once("cmd: 0x")?;
    let (command, _) = rest.split_once(',')?;
    u64::from_str_radix(command, 16).ok()
}

/// What a record says is called: `func=con_init+0x0/0x250`,
/// `(dfd: 4294967196, filename: 4689952 "/dev/liveupdate", flags: O_RDWR)`,
/// `(fd: 3, cmd: 0xba01, arg: 0x7fff54b58a70)`.
fn called(record: &Record<'_>, level: Option<&String>) -> Option<Called> {
    match record.event {
        "sys_openat" => {
            let (_, rest) = record.text.split_once(" \"")?;
            let (name, _) = rest.split_once('"')?;
            (name == DEVICE_PATH).then_some(Called::Open)
        }
        "sys_ioctl" => match Command::from_register(command(record)?) {
            Command::Other(_) => None,
            command => Some(Called::Ioctl(command)),
        },
        _ => Some(Called::Initcall {
            function: function(record.text)?.to_owned(),
            level: level.filter(|_| record.tid == 1).cloned(),
        }),
    }
}

/// What a record says was returned: `func=con_init+0x0/0x250 ret=0`, ` -> 0x0`.
fn result(record: &Record<'_>) -> Option<i64> {
    if let Some(ret) = record.text.strip_prefix(" -> 0x") {
        let ret = u64::from_str_radix(ret.trim(), 16).ok()?;
        return Some(ret.cast_signed());
    }
    let (_, ret) = record.text.rsplit_once(" ret=")?;
    ret.trim().parse().ok()
}

/// Takes what a function's arguments say: `(luo_session_retrieve+0x0/0x190) name="vm-1"`,
/// `(luo_retrieve_file+0x0/0x120) token=7`.
fn learn(of: &mut Named, text: &str) {
    if let Some((_, name)) = text.split_once(" name=\"") {
        of.session = name.rsplit_once('"').map(|(name, _)| name.to_owned());
    }
    if let Some((_, token)) = text.split_once(" token=") {
        of.token = token.trim().parse().ok();
    }
}

/// Whether a record that returns is of such a call.
fn ends(record: &Record<'_>, what: &Called) -> bool {
    match what {
        Called::Initcall { function: of, .. } => function(record.text) == Some(of),
        Called::Open => record.event == "sys_openat",
        Called::Ioctl(_) => record.event == "sys_ioctl",
    }
}

fn function(text: &str) -> Option<&str> {
    text.strip_prefix("func=")?.split(['+', ' ']).next()
}

#[cfg(test)]
mod tests {
    use reports::model::Source;

    use super::*;
    use crate::clock::BootNs;

    const TRACE: &str = "\
# tracer: nop
          <idle>-0       [000] ...1.   2403295402: initcall_level: level=console
          <idle>-0       [000] ...1.   2403295403: initcall_start: func=con_init+0x0/0x250
          <idle>-0       [000] ...1.   2414897932: initcall_finish: func=con_init+0x0/0x250 ret=0
       swapper/0-1       [000] .....   3419742000: initcall_level: level=early
       swapper/0-1       [000] .....   3419742555: initcall_start: func=init_hw_perf_events+0x0/0x7b0
       swapper/0-1       [000] .....   3422580400: initcall_finish: func=init_hw_perf_events+0x0/0x7b0 ret=-19
       swapper/0-1       [000] .....   3422580412: initcall_start: func=bts_init+0x0/0x110
           agent-9       [001] ...1.   4422580412: tracing_mark_write: resume vm
";

    /// The trace on a clock of one cycle a ns.
    fn parsed(text: &str) -> Boot {
        parse(text.lines().map(str::to_owned), |stamp| {
            Some(Stamp {
                boot_ns: BootNs::stamped(stamp.parse().ok()?),
                error_ns: 0,
                source: Source::Ftrace,
            })
        })
    }

    #[test]
    fn console_initcalls_come_first_but_are_not_the_initcalls() {
        let boot = parsed(TRACE);
        let ns = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.boot_ns.ns());
        assert_eq!(ns(boot.first_stamp), Some(2_403_295_402));
        assert_eq!(ns(boot.first_initcall), Some(3_419_742_555));
        let initcall = |function: &str, level: Option<&str>| Called::Initcall {
            function: function.to_owned(),
            level: level.map(str::to_owned),
        };
        let told = |call: &BootCall| (call.what.clone(), ns(call.end), call.ret);
        assert_eq!(
            boot.calls.iter().map(told).collect::<Vec<_>>(),
            [
                (initcall("con_init", None), Some(2_414_897_932), Some(0)),
                (
                    initcall("init_hw_perf_events", Some("early")),
                    Some(3_422_580_400),
                    Some(-19)
                ),
                (initcall("bts_init", Some("early")), None, None),
            ]
        );
        assert_eq!(boot.marks[0].text, "resume vm");
    }

    const RESTORE: &str = "\
            init-1       [000] .....   1525426846: sys_openat(dfd: 4294967196, filename: 4689952 \"/dev/liveupdate\", flags: O_RDWR)
            init-1       [000] .....   1525433332: sys_openat -> 0x3
            init-1       [000] .....   1525434948: sys_ioctl(fd: 3, cmd: 0xba01, arg: 0x7fff54b58a70)
            init-1       [000] .....   1525437176: sys_ioctl -> 0xfffffffffffffffe
            init-1       [000] .....   1525438780: sys_ioctl(fd: 3, cmd: 0x5401, arg: 0x7fff54b58a70)
            init-1       [000] .....   1525440360: sys_ioctl -> 0xffffffffffffffe7
            init-1       [000] .....   1525675758: sys_openat(dfd: 4294967196, filename: 4690013 \"/dev/liveupdate2\", flags: O_RDONLY)
            init-1       [000] .....   1525691180: sys_openat -> 0x4
            init-1       [000] .....   1525700000: sys_ioctl(fd: 4, cmd: 0xba41, arg: 0x7fff54b58a70)
            init-1       [000] .....   1525700020: sys_ioctl(fd: 4, cmd: 0x5401, arg: 0x7fff54b58a70)
            init-1       [000] .....   1525700030: sys_ioctl -> 0x0
";

    #[test]
    fn system_calls_on_luo_are_told_from_others_and_end_with_their_own_result() {
        let boot = parsed(RESTORE);
        let ns = |stamp: Stamp| stamp.boot_ns.ns();
        let told = |call: &BootCall| {
            (
                call.what.clone(),
                ns(call.start),
                call.end.map(ns),
                call.ret,
            )
        };
        assert_eq!(
            boot.calls.iter().map(told).collect::<Vec<_>>(),
            [
                (Called::Open, 1_525_426_846, Some(1_525_433_332), Some(3)),
                (
                    Called::Ioctl(Command::RetrieveSession),
                    1_525_434_948,
                    Some(1_525_437_176),
                    Some(-2)
                ),
                // Its end was lost: the next one's is not taken for it.
                (
                    Called::Ioctl(Command::RetrieveFd),
                    1_525_700_000,
                    None,
                    None
                ),
            ]
        );
        assert_eq!(
            (boot.first_initcall, boot.calls[0].comm.as_str()),
            (None, "init")
        );
    }

    #[test]
    fn a_call_is_named_by_the_functions_that_it_runs() {
        let boot = parsed(
            "\
            init-1       [000] .....   100: sys_ioctl(fd: 4, cmd: 0xba41, arg: 0x7fff54b58a70)
            init-1       [000] .....   101: luo_session_retrieve_fd: (luo_session_retrieve_fd+0x0/0x110) name=\"vm \"1\"\"
            init-1       [000] .....   102: luo_retrieve_file: (luo_retrieve_file+0x0/0x190) token=7
            init-1       [000] .....   103: sys_ioctl -> 0x0
            init-1       [000] .....   104: luo_retrieve_file: (luo_retrieve_file+0x0/0x190) token=8
",
        );
        let [call] = &boot.calls[..] else {
            panic!("{boot:?}")
        };
        let named = (call.of.session.as_deref(), call.of.token, call.ret);
        assert_eq!(named, (Some("vm \"1\""), Some(7), Some(0)));
    }

    #[test]
    fn a_virtual_cpu_ran_first_when_it_did_not_come_back_at_once() {
        let boot = parsed(
            "\
           vcpu0-9       [000] .....   100: sys_ioctl(fd: 9, cmd: 0xae80, arg: 0x0)
           vcpu0-9       [000] .....   900: sys_ioctl -> 0xfffffffffffffffc
           vcpu0-9       [000] .....  1000: sys_ioctl(fd: 9, cmd: 0xae80, arg: 0x0)
           vcpu0-9       [000] .....  1500: sys_ioctl -> 0x0
           vcpu0-9       [000] .....  1600: sys_ioctl(fd: 9, cmd: 0xae80, arg: 0x0)
           vcpu0-9       [000] .....  1700: sys_ioctl -> 0xfffffffffffffffc
           vcpu1-8       [001] .....  2000: sys_ioctl(fd: 7, cmd: 0xae80, arg: 0x0)
           vcpu1-8       [001] .....  202000: sys_ioctl -> 0xfffffffffffffffc
           vcpu1-8       [001] .....  202100: sys_ioctl(fd: 5, cmd: 0xba01, arg: 0x7fff54b58a70)
           vcpu1-8       [001] .....  202200: sys_ioctl -> 0x0
           vcpu2-7       [001] .....  203000: sys_ioctl(fd: 7, cmd: 0xae80, arg: 0x0)
",
        );
        let ns = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.boot_ns.ns());
        let told: Vec<_> = boot
            .vcpus
            .iter()
            .map(|vcpu| (vcpu.tid, ns(vcpu.first), ns(vcpu.tried)))
            .collect();
        assert_eq!(
            told,
            [
                (9, Some(1_000), Some(100)),
                (8, Some(2_000), None),
                (7, Some(203_000), None)
            ]
        );
        assert_eq!(boot.calls.len(), 1);
    }

    #[test]
    fn an_empty_trace_has_nothing() {
        let header = TRACE.lines().next().unwrap_or_default();
        assert_eq!(parsed(header), Boot::default());
    }
}
