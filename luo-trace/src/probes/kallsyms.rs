//! Asks the kernel where its functions are, one binary search each.
//!
//! A multi-link that is given names walks the whole symbol table for them
//! (`ftrace_lookup_symbols`, kernel/trace/ftrace.c, v7.3), and so does whoever
//! reads /proc/kallsyms. A program of type `BPF_PROG_TYPE_SYSCALL` may search
//! the sorted index instead (`bpf_kallsyms_lookup_name`, v5.16).

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya_obj::generated::bpf_insn;

use super::bpf::{self, AttachTo, insn};

/// `BPF_FUNC_kallsyms_lookup_name` (include/uapi/linux/bpf.h).
const LOOKUP_NAME: i32 = 179;

/// Longest symbol that can be asked for, with its NUL.
const NAME_LEN: usize = 64;

/// What the program is given, and gives back in place.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Question {
    address: u64,
    name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Question>() == 72);

/// The search, ready to run.
pub struct Kallsyms {
    program: OwnedFd,
}

impl Kallsyms {
    /// Loads the program; an error where the kernel is too old for it, or we are not root.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            program: bpf::load(AttachTo::Syscall, &program(), c"GPL", None)?,
        })
    }

    /// The address of a symbol, if the kernel has it; `EPERM` where `kptr_restrict` hides addresses from everybody.
    pub fn address(&self, symbol: &str) -> io::Result<Option<u64>> {
        let mut question = Question {
            address: 0,
            name: [0; NAME_LEN],
        };
        let room = question.name[..NAME_LEN - 1].get_mut(..symbol.len());
        let Some(room) = room else {
            return Ok(None);
        };
        room.copy_from_slice(symbol.as_bytes());
        match bpf::run_syscall(self.program.as_fd(), &mut question)?.cast_signed() {
            0 => Ok(Some(question.address)),
            error if error == -libc::ENOENT => Ok(None),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

/// `question.address = lookup(question.name)`, by hand: rustc's eBPF loader
/// knows no section for this type.
fn program() -> [bpf_insn; 10] {
    const MOV: u8 = 0xbf;
    const MOV_IMM: u8 = 0xb7;
    const ADD_IMM: u8 = 0x07;
    const LOAD: u8 = 0x79;
    const STORE: u8 = 0x7b;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    [
        insn(MOV, 6, 1, 0, 0),
        insn(ADD_IMM, 1, 0, 0, 8), // r1 = &question.name
        insn(MOV_IMM, 2, 0, 0, 64),
        insn(MOV_IMM, 3, 0, 0, 0),
        insn(MOV, 4, 10, 0, 0),
        insn(ADD_IMM, 4, 0, 0, -8), // r4 = &result, on the stack
        insn(CALL, 0, 0, 0, LOOKUP_NAME),
        insn(LOAD, 1, 10, -8, 0),
        insn(STORE, 6, 1, 0, 0),
        insn(EXIT, 0, 0, 0, 0),
    ]
}
