//! What makes the next kernel record its own boot and every call on LUO, from before
//! its first process on.
//!
//! `trace_event=` on a command line would do, but has its events switched off and on
//! again early in the boot, which waits for a grace period
//! (`event_trace_enable_again`, `kernel/trace/trace_events.c`, v7.3): 7 of its 11 ms. A
//! boot configuration has no such step, 2 ms in all, and can filter; its events begin
//! after the core initcalls (`trace_boot_init`, `kernel/trace/trace_boot.c`, v7.3).

use luo_trace_ebpf::ProbeId;
use serde::Serialize;

use super::persistent;
use crate::arch::TRACE_CLOCK;

/// The word that has a kernel look for a boot configuration.
pub const BOOTCONFIG: &str = "bootconfig";
/// Room for the records of a CPU, bytes: the initcalls of a distribution's kernel, all on one
/// CPU, take 100 KiB. Each further MiB makes the boot 2 ms longer.
const ROOM: u64 = 256 << 10;
/// What the calls on a file take, named or not, bytes: twice, since the record is ended when
/// it is half full.
const PER_FILE: u64 = 2 * 96;
const PER_NAMED_FILE: u64 = 2 * 256;
/// What all CPUs have at most, but for [`ROOM`] of each, bytes.
const MOST: u64 = 64 << 20;

/// LUO's commands, all of them (include/uapi/linux/liveupdate.h, v7.3).
pub(super) const LUO_COMMANDS: &str = "cmd >= 0xba00 && cmd <= 0xbaff";
/// … and the one that runs a virtual CPU ([`KVM_RUN`]).
const RECORDED: &str = "cmd >= 0xba00 && cmd <= 0xbaff || cmd == 0xae80";

/// `KVM_RUN` (include/uapi/linux/kvm.h).
pub(super) const KVM_RUN: u64 = 0xae80;

/// System calls on LUO: opens of the device, which have filters; and commands, whose results
/// come with those of all other `ioctl`. Results of opens would come with those of all other
/// files, thousands on a host.
pub(super) const OPENS: &str = "sys_enter_openat";
pub(super) const COMMANDS: [&str; 2] = ["sys_enter_ioctl", "sys_exit_ioctl"];

/// Functions that each LUO call runs, and what their arguments say of it: `name` is a
/// session's, and the first member of `struct luo_session`
/// (`kernel/liveupdate/luo_internal.h`, v7.3).
pub(super) const DETAIL: [(ProbeId, &str); 4] = [
    (ProbeId::LuoSessionRetrieve, "name=+0($arg1):string"),
    (ProbeId::LuoSessionRetrieveFd, "name=+0($arg1):string"),
    (ProbeId::LuoSessionFinish, "name=+0($arg1):string"),
    (ProbeId::LuoRetrieveFile, "token=$arg2:u64"),
];

/// What the next kernel is to have room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// CPUs; the agent may be on any.
    pub cpus: u32,
    /// Files that will come back, as far as they are known.
    pub files: usize,
    /// Whether its own tracer is to keep its last functions over the next kexec.
    pub persistent_tail: bool,
}

impl Room {
    /// Parameters of the persistent ring buffer, if there is to be one.
    fn tail(self) -> impl Iterator<Item = (&'static str, String)> {
        let parameters = self
            .persistent_tail
            .then(|| persistent::parameters(self.cpus));
        parameters.into_iter().flatten()
    }

    /// Of each CPU, bytes.
    fn bytes(self, trace: BootTrace) -> u64 {
        let per_file = match trace {
            BootTrace::Detail => PER_NAMED_FILE,
            BootTrace::Off | BootTrace::Calls => PER_FILE,
        };
        let wanted = ROOM.saturating_add(per_file.saturating_mul(self.files as u64));
        let most = MOST / u64::from(self.cpus.max(1));
        wanted.min(most.max(ROOM)).next_multiple_of(4096)
    }
}

/// What the next kernel records of its boot and of every LUO call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BootTrace {
    /// No boot and no call.
    Off,
    /// Initcalls and the calls.
    #[default]
    Calls,
    /// The calls with session names and tokens, too.
    Detail,
}

impl BootTrace {
    fn detail(self) -> &'static [(ProbeId, &'static str)] {
        match self {
            Self::Detail => &DETAIL,
            Self::Off | Self::Calls => &[],
        }
    }
}

/// The settings of a boot configuration.
#[must_use]
pub fn settings(room: Room, trace: BootTrace) -> String {
    let event = |name| format!("ftrace.event.syscalls.{name}");
    let (open, ioctl) = (event(OPENS), event(COMMANDS[0]));
    let mut lines = vec![
        format!("ftrace.trace_clock = {}", TRACE_CLOCK.name()),
        format!("ftrace.buffer_size = {}", room.bytes(trace)),
        // What comes first is what counts.
        "ftrace.options = nooverwrite".to_owned(),
        "ftrace.event.initcall.enable".to_owned(),
        format!("{open}.filter = '__filename_val ~ \"/dev/liveupdate\"'"),
        format!("{ioctl}.filter = '{RECORDED}'"),
    ];
    let events = [OPENS].into_iter().chain(COMMANDS);
    lines.extend(events.map(|name| format!("{}.enable", event(name))));
    for (function, arguments) in trace.detail() {
        let function = function.name();
        let event = format!("ftrace.event.kprobes.{function}");
        lines.push(format!("{event}.probes = '{function} {arguments}'"));
        lines.push(format!("{event}.enable"));
    }
    let tail = room.tail();
    lines.extend(tail.map(|(name, value)| format!("kernel.{name} = \"{value}\"")));
    lines.join("\n") + "\n"
}

/// The same as boot parameters. These have no filters: a service manager opens thousands of
/// files, so no open is recorded, and the first command stands in for that of the device.
#[must_use]
pub fn parameters(room: Room, trace: BootTrace) -> String {
    let system_calls = COMMANDS.map(|name| format!("syscalls:{name}"));
    let detail = trace.detail().iter().map(|(function, arguments)| {
        let function = function.name();
        format!("p:{function},{function},{arguments}")
    });
    let detail = detail.collect::<Vec<_>>().join(";");
    let detail = match &detail[..] {
        "" => String::new(),
        probes => format!(" kprobe_event={probes}"),
    };
    let tail = room.tail();
    let tail = tail.fold(String::new(), |all, (name, value)| {
        format!("{all} {name}={value}")
    });
    format!(
        "trace_event=initcall:initcall_level,initcall:initcall_start,initcall:initcall_finish,{} \
         trace_clock={} trace_buf_size={} trace_options=nooverwrite{detail}{tail}",
        system_calls.join(","),
        TRACE_CLOCK.name(),
        room.bytes(trace)
    )
}

/// A command line with the boot trace on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The whole command line.
    pub cmdline: String,
    /// What of it was added, in order.
    pub added: Vec<String>,
    /// What was left as it is, although the trace cannot be read that way.
    pub in_the_way: Option<String>,
}

/// Has the kernel look for a boot configuration, which brings [`settings`].
#[must_use]
pub fn with_config(cmdline: &str) -> Traced {
    let mut line = Line::of(cmdline);
    if !line
        .kernel
        .split_ascii_whitespace()
        .any(|word| word == BOOTCONFIG)
    {
        line.added.push(BOOTCONFIG.to_owned());
    }
    line.traced()
}

/// Adds to a command line what of [`parameters`] it lacks. What it has stays: of
/// the events the missing ones are added, another clock or size is the user's wish.
#[must_use]
pub fn on_command_line(cmdline: &str, room: Room, trace: BootTrace) -> Traced {
    let mut line = Line::of(cmdline);
    for parameter in parameters(room, trace).split_ascii_whitespace() {
        let Some((key, wanted)) = parameter.split_once('=') else {
            continue;
        };
        let present = line.values(key);
        if key == "trace_event" {
            let has = |event: &&str| {
                let all = present.iter().flat_map(|value| value.split(','));
                let group = event.split(':').next().unwrap_or(event);
                all.into_iter().any(|one| {
                    one == *event || one == group || one.strip_suffix(":*") == Some(group)
                })
            };
            let missing: Vec<&str> = wanted.split(',').filter(|event| !has(event)).collect();
            if !missing.is_empty() {
                line.added.push(format!("{key}={}", missing.join(",")));
            }
        } else if present.is_empty() {
            line.added.push(parameter.to_owned());
        }
    }
    line.traced()
}

/// A command line: what is the kernel's, and what follows for init.
struct Line<'a> {
    kernel: &'a str,
    init: Option<&'a str>,
    added: Vec<String>,
}

impl<'a> Line<'a> {
    fn of(cmdline: &'a str) -> Self {
        let (kernel, init) = match cmdline.split_once(" -- ") {
            Some((kernel, init)) => (kernel, Some(init)),
            None => (cmdline, None),
        };
        Self {
            kernel: kernel.trim_end(),
            init,
            added: Vec::new(),
        }
    }

    fn values(&self, key: &str) -> Vec<&'a str> {
        let words = self.kernel.split_ascii_whitespace();
        words
            .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .collect()
    }

    fn traced(self) -> Traced {
        let other = |clock: &&str| *clock != TRACE_CLOCK.name();
        let clock = self.values("trace_clock").last().copied().filter(other);
        let mut words: Vec<&str> = vec![self.kernel];
        words.retain(|kernel| !kernel.is_empty());
        words.extend(self.added.iter().map(String::as_str));
        let mut cmdline = words.join(" ");
        if let Some(init) = self.init {
            cmdline.push_str(" -- ");
            cmdline.push_str(init);
        }
        Traced {
            cmdline,
            in_the_way: clock.map(|clock| format!("trace_clock={clock}")),
            added: self.added,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Room = Room {
        cpus: 2,
        files: 0,
        persistent_tail: false,
    };

    #[test]
    fn what_a_command_line_lacks_is_added_once_and_before_what_is_inits() {
        let cmdline = "console=ttyS0 quiet -- single";
        let by_line = |line: &str| on_command_line(line, SMALL, BootTrace::Detail);
        let add: [fn(&str) -> Traced; 2] = [with_config, by_line];
        let parameters = parameters(SMALL, BootTrace::Detail);
        for (add, added) in add.into_iter().zip([BOOTCONFIG.to_owned(), parameters]) {
            let traced = add(cmdline);
            assert_eq!(
                traced.cmdline,
                format!("console=ttyS0 quiet {added} -- single")
            );
            assert_eq!(
                (traced.added.join(" "), traced.in_the_way),
                (added.clone(), None)
            );
            let again = add(&traced.cmdline);
            assert_eq!((again.cmdline, again.added), (traced.cmdline, Vec::new()));
            assert_eq!(add("").cmdline, added);
        }
    }

    #[test]
    fn what_a_command_line_has_stays() {
        let cmdline =
            "trace_event=syscalls,initcall:initcall_start trace_clock=local trace_buf_size=8M";
        let traced = on_command_line(cmdline, SMALL, BootTrace::Calls);
        assert_eq!(
            traced.added,
            [
                "trace_event=initcall:initcall_level,initcall:initcall_finish",
                "trace_options=nooverwrite"
            ]
        );
        assert_eq!(traced.in_the_way.as_deref(), Some("trace_clock=local"));
        assert_eq!(with_config(cmdline).in_the_way, traced.in_the_way);
        let all = on_command_line(
            &format!(
                "trace_event=initcall:*,syscalls:* trace_clock=local trace_clock={}",
                TRACE_CLOCK.name()
            ),
            SMALL,
            BootTrace::Calls,
        );
        assert_eq!(
            all.added,
            ["trace_buf_size=262144", "trace_options=nooverwrite"]
        );
        assert_eq!(all.in_the_way, None);
    }

    #[test]
    fn a_persistent_tail_is_asked_for_at_the_end() {
        let room = Room {
            persistent_tail: true,
            ..SMALL
        };
        assert!(parameters(room, BootTrace::Calls).ends_with(
            "nooverwrite reserve_mem=65536:4096:luo_trace trace_instance=luo_trace^traceoff@luo_trace"
        ));
        assert!(settings(room, BootTrace::Calls).ends_with(
            "kernel.reserve_mem = \"65536:4096:luo_trace\"\n\
             kernel.trace_instance = \"luo_trace^traceoff@luo_trace\"\n"
        ));
    }

    #[test]
    fn room_grows_with_the_files_and_is_shared_by_many_cpus() {
        let room = |cpus, files| {
            let room = Room {
                cpus,
                files,
                ..SMALL
            };
            room.bytes(BootTrace::Calls) >> 10
        };
        assert_eq!(
            [room(1, 0), room(4096, 0), room(2, 20_000)],
            [256, 256, 4008]
        );
        assert_eq!([room(128, 20_000), room(0, usize::MAX)], [512, 64 << 10]);
        let settings = |trace| settings(SMALL, trace);
        let calls = settings(BootTrace::Calls);
        assert!(calls.contains("ftrace.buffer_size = 262144\n"));
        assert!(calls.ends_with("ftrace.event.syscalls.sys_exit_ioctl.enable\n"));
        assert!(!calls.contains("reserve_mem"));
        let detail = settings(BootTrace::Detail);
        assert!(detail.ends_with(
            "ftrace.event.kprobes.luo_retrieve_file.probes = 'luo_retrieve_file token=$arg2:u64'\n\
             ftrace.event.kprobes.luo_retrieve_file.enable\n"
        ));
    }
}
