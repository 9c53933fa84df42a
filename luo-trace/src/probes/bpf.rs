//! The `bpf(2)` and `perf_event_open(2)` calls that aya 0.14 does not wrap: program
//! load with an expected attach type, and links over many kprobes.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya_obj::generated::{
    BPF_F_SLEEPABLE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_info, bpf_prog_type,
    perf_event_attr,
};

/// `BPF_TRACE_KPROBE_SESSION` (include/uapi/linux/bpf.h, since v6.10).
const TRACE_KPROBE_SESSION: u32 = 56;
/// `PERF_FLAG_FD_CLOEXEC` (`include/uapi/linux/perf_event.h`).
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// `BPF_F_KPROBE_MULTI_RETURN`.
const MULTI_RETURN: u32 = 1;

/// What a program is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachTo {
    /// One link, entry and return of many functions.
    KprobeSession,
    /// One link, entry or return of many functions.
    KprobeMulti,
    /// One perf event per function.
    Kprobe,
    /// Trampoline at the entry of the function with this BTF id.
    Fentry(u32),
    /// Trampoline at its return.
    Fexit(u32),
    /// A tracepoint.
    Tracepoint,
}

impl AttachTo {
    fn program_type(self) -> bpf_prog_type {
        match self {
            Self::KprobeSession | Self::KprobeMulti | Self::Kprobe => {
                bpf_prog_type::BPF_PROG_TYPE_KPROBE
            }
            Self::Fentry(_) | Self::Fexit(_) => bpf_prog_type::BPF_PROG_TYPE_TRACING,
            Self::Tracepoint => bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::KprobeSession => TRACE_KPROBE_SESSION,
            Self::KprobeMulti => bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32,
            Self::Kprobe | Self::Tracepoint => 0,
            Self::Fentry(_) => bpf_attach_type::BPF_TRACE_FENTRY as u32,
            Self::Fexit(_) => bpf_attach_type::BPF_TRACE_FEXIT as u32,
        }
    }
}

/// Loads a program; `log` takes the verifier's words where the caller wants them.
pub fn load(
    to: AttachTo,
    instructions: &[bpf_insn],
    license: &CString,
    log: Option<&mut Vec<u8>>,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the union is zeroed; these are the fields of BPF_PROG_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = to.program_type() as u32;
    load.expected_attach_type = to.attach_type();
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = license.as_ptr() as u64;
    if let AttachTo::Fentry(id) | AttachTo::Fexit(id) = to {
        load.attach_btf_id = id;
    }
    if let Some(log) = log {
        log.resize(256 * 1024, 0);
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
    }
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Loads a program that is run by [`run_syscall`] and attached to nothing.
pub fn load_syscall(instructions: &[bpf_insn]) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the union is zeroed; these are the fields of BPF_PROG_LOAD.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SYSCALL as u32;
    load.prog_flags = BPF_F_SLEEPABLE;
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = c"GPL".as_ptr() as u64;
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Runs such a program on `context`, which it may change; its return value.
pub fn run_syscall<T>(program: BorrowedFd<'_>, context: &mut T) -> io::Result<u32> {
    let mut attr = zeroed_attr();
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.test.ctx_in = std::ptr::from_mut(context) as u64;
    // SAFETY: the union is zeroed; these are the fields of BPF_PROG_TEST_RUN.
    unsafe {
        attr.test.ctx_size_in = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
        bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
        Ok(attr.test.retval)
    }
}

/// The functions of a multi-link; all must exist.
#[derive(Clone, Copy, Debug)]
pub enum Functions<'a> {
    /// By name: the kernel walks its symbol table for them.
    Named(&'a [CString]),
    /// By address.
    At(&'a [u64]),
}

/// Links a program to many functions at once.
pub fn link_multi(
    program: BorrowedFd<'_>,
    to: AttachTo,
    returning: bool,
    functions: Functions<'_>,
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    let pointers: Vec<_>;
    let (syms, addrs, count) = match functions {
        Functions::Named(names) => {
            pointers = names.iter().map(|s| s.as_ptr()).collect();
            (pointers.as_ptr() as u64, 0, names.len())
        }
        Functions::At(addresses) => (0, addresses.as_ptr() as u64, addresses.len()),
    };
    assert_eq!(count, cookies.len(), "one cookie per function");
    let mut attr = zeroed_attr();
    // SAFETY: the union is zeroed; these are the fields of BPF_LINK_CREATE for
    // kprobe_multi, and the arrays outlive the call.
    unsafe {
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
        attr.link_create.attach_type = to.attach_type();
        let multi = &mut attr.link_create.__bindgen_anon_3.kprobe_multi;
        multi.flags = if returning { MULTI_RETURN } else { 0 };
        multi.cnt = u32::try_from(count).map_err(io::Error::other)?;
        multi.syms = syms;
        multi.addrs = addrs;
        multi.cookies = cookies.as_ptr() as u64;
    }
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Links a program that was loaded for one function's trampoline.
pub fn link_tracing(program: BorrowedFd<'_>, to: AttachTo, cookie: u64) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.attach_type = to.attach_type();
    attr.link_create.__bindgen_anon_3.tracing.cookie = cookie;
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Links a program to a tracepoint (v4.17).
pub fn link_tracepoint(program: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// `perf_event_open(2)`. What the attribute points to must be alive.
fn open_event(event: &perf_event_attr) -> io::Result<OwnedFd> {
    // Every process on the first CPU; a probe's are hit on all.
    let (pid, cpu) = (-1, 0);
    // SAFETY: the attribute outlives the call, and the kernel copies what it points to,
    // or refuses it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const *event,
            pid,
            cpu,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    owned(fd)
}

/// Opens a kprobe as a perf event and links the program to it. The event must
/// live as long as the link, which holds it.
pub fn link_kprobe(
    program: BorrowedFd<'_>,
    pmu: &KprobePmu,
    symbol: &CString,
    returning: bool,
    cookie: u64,
) -> io::Result<OwnedFd> {
    // SAFETY: all zeroes is the documented blank of this plain-old-data struct.
    let mut event: perf_event_attr = unsafe { std::mem::zeroed() };
    event.type_ = pmu.kind;
    event.size = u32::try_from(size_of::<perf_event_attr>()).map_err(io::Error::other)?;
    event.config = if returning { 1 << pmu.return_bit } else { 0 };
    event.__bindgen_anon_3.config1 = symbol.as_ptr() as u64;
    let event = open_event(&event)?;
    let mut attr = zeroed_attr();
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_fd = event.as_raw_fd().cast_unsigned();
    attr.link_create.attach_type = bpf_attach_type::BPF_PERF_EVENT as u32;
    attr.link_create.__bindgen_anon_3.perf_event.bpf_cookie = cookie;
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Dynamic PMU behind kprobe perf events.
#[derive(Clone, Copy, Debug)]
pub struct KprobePmu {
    kind: u32,
    return_bit: u32,
}

impl KprobePmu {
    /// Reads it from sysfs.
    pub fn read() -> io::Result<Self> {
        let base = "/sys/bus/event_source/devices/kprobe";
        let number = |text: String| {
            text.trim()
                .trim_start_matches("config:")
                .parse()
                .map_err(|_| io::Error::other(format!("{base} holds no number: {text:?}")))
        };
        Ok(Self {
            kind: number(std::fs::read_to_string(format!("{base}/type"))?)?,
            return_bit: number(std::fs::read_to_string(format!("{base}/format/retprobe"))?)?,
        })
    }
}

/// Writes one element of an array map.
pub fn map_update(map: BorrowedFd<'_>, key: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = &raw const key as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Makes a map read-only for everybody (v5.2).
pub fn map_freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(drop)
}

/// Hits that the kernel skipped because another program ran on that CPU.
pub fn recursion_misses(program: impl AsFd) -> io::Result<u64> {
    Ok(info(program)?.recursion_misses)
}

/// The program's id.
pub fn program_id(program: impl AsFd) -> io::Result<u32> {
    Ok(info(program)?.id)
}

fn info(program: impl AsFd) -> io::Result<bpf_prog_info> {
    // SAFETY: plain old data.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut attr = zeroed_attr();
    attr.info.bpf_fd = program.as_fd().as_raw_fd().cast_unsigned();
    attr.info.info = &raw mut info as u64;
    attr.info.info_len = u32::try_from(size_of::<bpf_prog_info>()).map_err(io::Error::other)?;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn zeroed_attr() -> bpf_attr {
    // SAFETY: all zeroes is the documented blank of this union.
    unsafe { std::mem::zeroed() }
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: `attr` is a whole, initialised bpf_attr whose pointers the caller keeps alive.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as u32,
            &raw mut *attr,
            size_of::<bpf_attr>(),
        )
    };
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    owned(bpf(command, attr)?)
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given us this descriptor.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
