//! The `bpf(2)` calls that aya 0.14 does not wrap: program load with an expected
//! attach type, links over many functions, and what the kernel counted of them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya::maps::{MapData, MapType};
use aya_obj::generated::{
    BPF_F_SLEEPABLE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_link_info, bpf_link_type,
    bpf_prog_info, bpf_prog_type,
};

/// `BPF_F_KPROBE_MULTI_RETURN`.
const MULTI_RETURN: u32 = 1;

/// What a program is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachTo {
    /// One link, entry or return of many functions.
    KprobeMulti,
    Tracepoint,
    /// Nothing: it is run by [`run_syscall`].
    Syscall,
}

impl AttachTo {
    fn program_type(self) -> bpf_prog_type {
        match self {
            Self::KprobeMulti => bpf_prog_type::BPF_PROG_TYPE_KPROBE,
            Self::Tracepoint => bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT,
            Self::Syscall => bpf_prog_type::BPF_PROG_TYPE_SYSCALL,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::KprobeMulti => bpf_attach_type::BPF_TRACE_KPROBE_MULTI as u32,
            Self::Tracepoint | Self::Syscall => 0,
        }
    }
}

/// Loads a program; `log` takes the verifier's words where the caller wants them.
pub fn load(
    to: AttachTo,
    instructions: &[bpf_insn],
    license: &CStr,
    log: Option<&mut [u8]>,
) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: all zeroes is a value of every member of this union.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = to.program_type() as u32;
    load.expected_attach_type = to.attach_type();
    if to == AttachTo::Syscall {
        load.prog_flags = BPF_F_SLEEPABLE;
    }
    load.insns = instructions.as_ptr() as u64;
    load.insn_cnt = u32::try_from(instructions.len()).map_err(io::Error::other)?;
    load.license = license.as_ptr() as u64;
    if let Some(log) = log {
        load.log_level = 1;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = u32::try_from(log.len()).map_err(io::Error::other)?;
    }
    // SAFETY: instructions and log are slices with their lengths, the licence ends in
    // a NUL, and all three outlive the call.
    unsafe { bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr) }
}

/// Runs a program of [`AttachTo::Syscall`] on `context`, of which it may change every bit; its return value.
pub fn run_syscall<T: bytemuck::Pod>(program: BorrowedFd<'_>, context: &mut T) -> io::Result<u32> {
    let context = bytemuck::bytes_of_mut(context);
    let mut attr = zeroed_attr();
    attr.test.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.test.ctx_in = context.as_mut_ptr() as u64;
    // SAFETY: the kernel reads and writes as many bytes of the context as it is told,
    // it has that many, and any bytes are a value of a Pod.
    unsafe {
        attr.test.ctx_size_in = u32::try_from(context.len()).map_err(io::Error::other)?;
        bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
        Ok(attr.test.retval)
    }
}

/// The functions of a multi-link; all must exist.
#[derive(Clone, Copy, Debug)]
pub enum Functions<'a> {
    /// By name: the kernel walks its symbol table for them.
    Named(&'a [&'a CStr]),
    /// By address, which needs no walk.
    At(&'a [u64]),
}

/// Links a program to many functions at once, with a cookie for each.
pub fn link_multi(
    program: BorrowedFd<'_>,
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
    // SAFETY: these are the fields of BPF_LINK_CREATE for kprobe_multi; names, addresses
    // and cookies are `count` each and outlive the call.
    unsafe {
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
        attr.link_create.attach_type = AttachTo::KprobeMulti.attach_type();
        let multi = &mut attr.link_create.__bindgen_anon_3.kprobe_multi;
        multi.flags = if returning { MULTI_RETURN } else { 0 };
        multi.cnt = u32::try_from(count).map_err(io::Error::other)?;
        multi.syms = syms;
        multi.addrs = addrs;
        multi.cookies = cookies.as_ptr() as u64;
        bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
    }
}

/// Links a program to a tracepoint (v4.17).
pub fn link_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    attr.raw_tracepoint.name = name.as_ptr() as u64;
    attr.raw_tracepoint.prog_fd = program.as_raw_fd().cast_unsigned();
    // SAFETY: the name ends in a NUL and outlives the call.
    unsafe { bpf_fd(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// Writes the one element of an array map.
pub fn fill(map: &MapData, value: &[u8]) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    let kind = info.map_type().map_err(io::Error::other)?;
    expect_element(kind, info.value_size(), value)?;
    let key = 0_u32;
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_2.map_fd = map.fd().as_fd().as_raw_fd().cast_unsigned();
    attr.__bindgen_anon_2.key = &raw const key as u64;
    attr.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    // SAFETY: the key of an array is a u32, and the kernel reads as many bytes of the
    // value as the map's elements have: both were just asked for.
    unsafe { bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// Whether `value` is what the kernel would read of it: an array's key is a u32, and
/// a per-CPU one takes an element for each CPU.
fn expect_element(kind: MapType, value_size: u32, value: &[u8]) -> io::Result<()> {
    if kind != MapType::Array || usize::try_from(value_size) != Ok(value.len()) {
        return Err(io::Error::other(format!(
            "{} bytes are no element of a {kind:?} of {value_size} bytes each",
            value.len()
        )));
    }
    Ok(())
}

/// Makes a map read-only for everybody (v5.2).
pub fn freeze(map: &MapData) -> io::Result<()> {
    let mut attr = zeroed_attr();
    attr.__bindgen_anon_2.map_fd = map.fd().as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: this command takes no pointer.
    unsafe { bpf(bpf_cmd::BPF_MAP_FREEZE, &mut attr) }.map(drop)
}

/// Hits that the kernel skipped because another program ran on that CPU.
pub fn recursion_misses(program: impl AsFd) -> io::Result<u64> {
    // SAFETY: the struct is the one of a program, and of numbers.
    let info: bpf_prog_info = unsafe { info(program.as_fd())? };
    Ok(info.recursion_misses)
}

/// Hits that the kernel skipped before it came to the program; 0 of a link that is no
/// multi-link.
pub fn link_misses(link: impl AsFd) -> io::Result<u64> {
    // SAFETY: the struct is the one of a link, and of numbers.
    let info: bpf_link_info = unsafe { info(link.as_fd())? };
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_KPROBE_MULTI as u32 {
        return Ok(0);
    }
    // SAFETY: the member of this type of link, and all of its bits are numbers.
    Ok(unsafe { info.__bindgen_anon_1.kprobe_multi.missed })
}

/// What the kernel tells of an object.
///
/// # Safety
/// `T` is the kernel's struct for the type of the object, and holds nothing but numbers.
unsafe fn info<T>(object: BorrowedFd<'_>) -> io::Result<T> {
    let mut attr = zeroed_attr();
    // SAFETY: all zeroes is a value of a struct of numbers, and no pointer that the
    // kernel would follow; room and length are those of `info`.
    unsafe {
        let mut info: T = std::mem::zeroed();
        attr.info.bpf_fd = object.as_raw_fd().cast_unsigned();
        attr.info.info = &raw mut info as u64;
        attr.info.info_len = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
        bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
        Ok(info)
    }
}

/// An instruction as the kernel takes it; its registers share a byte.
pub fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
        off,
        imm,
    }
}

fn zeroed_attr() -> bpf_attr {
    // SAFETY: all zeroes is the documented blank of this union of numbers.
    unsafe { std::mem::zeroed() }
}

/// # Safety
/// What the fields of this command point to is as long as they say, lives until the
/// call returns, and may be written to where the command does.
unsafe fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    let size = size_of::<bpf_attr>();
    // SAFETY: `attr` is whole and initialised; the caller vouches for what it points to.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size) };
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// # Safety
/// As of [`bpf`], and the command returns a new descriptor.
unsafe fn bpf_fd(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for both.
    unsafe {
        let fd = bpf(command, attr)?;
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_size_or_of_another_kind_of_map_is_refused() {
        assert!(expect_element(MapType::Array, 8, &[0; 8]).is_ok());
        assert!(expect_element(MapType::Array, 8, &[0; 7]).is_err());
        assert!(expect_element(MapType::Array, 8, &[0; 9]).is_err());
        assert!(expect_element(MapType::PerCpuArray, 8, &[0; 8]).is_err());
        assert!(expect_element(MapType::Hash, 8, &[0; 8]).is_err());
    }
}
