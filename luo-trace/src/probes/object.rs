//! The embedded eBPF object: its maps, and its programs made ready for one way of
//! attaching.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::maps::MapData;
use aya_obj::generated::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_insn};
use aya_obj::{EbpfSectionKind, Object};

use super::ArmError;
use super::bpf::{self, AttachTo};
use crate::sources::facts;

const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/luo-trace-ebpf.o"));

/// `BPF_JMP | BPF_CALL` and `BPF_ALU64 | BPF_MOV | BPF_K`.
const CALL: u8 = 0x85;
const MOV64_IMM: u8 = 0xb7;
/// `bpf_probe_write_user` (include/uapi/linux/bpf.h).
const PROBE_WRITE_USER: i32 = 36;

/// The parsed object, relocated against freshly created maps.
pub struct Programs {
    object: Object,
    /// Maps not yet taken, by name.
    maps: HashMap<String, (MapData, aya_obj::Map)>,
    /// Why stores into the tail are not possible, once a program was loaded without them.
    pub tail_refused: Option<String>,
}

impl Programs {
    /// Parses the object and creates its maps: those of counters have slots for each CPU.
    pub fn new() -> Result<Self, ArmError> {
        let mut object = Object::parse(OBJECT).map_err(|e| ArmError::Object(e.to_string()))?;
        let cpus =
            cpus().map_err(|e| ArmError::Object(format!("the CPUs cannot be counted: {e}")))?;
        let mut maps = HashMap::new();
        for (name, mut map) in std::mem::take(&mut object.maps) {
            // Those of counters, and those that find a slot.
            if map.map_flags() & (BPF_F_MMAPABLE | BPF_F_NO_PREALLOC) != 0 {
                map.set_max_entries(map.max_entries() * cpus);
            }
            let data = MapData::create(map.clone(), &name, None)
                .map_err(|error| ArmError::from_map(&name, error))?;
            fill_section(&data, &map).map_err(|error| ArmError::Map {
                name: name.clone(),
                error,
            })?;
            maps.insert(name, (data, map));
        }
        let text: HashSet<usize> = object.functions.keys().map(|k| k.0).collect();
        object
            .relocate_maps(
                maps.iter()
                    .map(|(n, (data, map))| (n.as_str(), data.fd().as_fd().as_raw_fd(), map)),
                &text,
            )
            .and_then(|()| object.relocate_calls(&text))
            .map_err(|e| ArmError::Object(e.to_string()))?;
        Ok(Self {
            object,
            maps,
            tail_refused: None,
        })
    }

    /// Takes a map out, to be wrapped as its type.
    pub fn take_map(&mut self, name: &str) -> Result<MapData, ArmError> {
        self.maps
            .remove(name)
            .map(|(data, _)| data)
            .ok_or_else(|| ArmError::Object(format!("map {name} is not in it")))
    }

    /// Loads the program `name` for `to`; falls back to a program without tail
    /// stores where the kernel (lockdown) refuses that helper.
    pub fn load(&mut self, name: &str, to: AttachTo) -> Result<OwnedFd, ArmError> {
        let code = self.instructions(name)?;
        let mut without = code.clone();
        remove_tail_stores(&mut without);
        if self.tail_refused.is_some() {
            return self.load_code(name, to, &without);
        }
        match bpf::load(to, &code, &self.object.license, None) {
            Ok(fd) => Ok(fd),
            Err(first) if first.raw_os_error() == Some(libc::EPERM) && !has_privilege() => {
                Err(ArmError::Privilege(first))
            }
            Err(first) => {
                if let Ok(fd) = bpf::load(to, &without, &self.object.license, None) {
                    self.tail_refused = Some(format!(
                        "the kernel refuses bpf_probe_write_user ({first}; lockdown?)"
                    ));
                    return Ok(fd);
                }
                let refused = self.load_code(name, to, &code);
                refused.map_err(|error| because_of(facts::lockdown().as_deref(), error))
            }
        }
    }

    fn load_code(&self, name: &str, to: AttachTo, code: &[bpf_insn]) -> Result<OwnedFd, ArmError> {
        let mut log = vec![0; 256 * 1024];
        bpf::load(to, code, &self.object.license, Some(&mut log)).map_err(|error| {
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            let log = String::from_utf8_lossy(&log[..end]);
            let tail: Vec<_> = log.lines().rev().take(12).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            ArmError::Load {
                program: name.to_owned(),
                error,
                log: tail.join("\n"),
            }
        })
    }

    fn instructions(&self, name: &str) -> Result<Vec<bpf_insn>, ArmError> {
        let missing = || ArmError::Object(format!("program {name} is not in it"));
        let program = self.object.programs.get(name).ok_or_else(missing)?;
        let function = self
            .object
            .functions
            .get(&program.function_key())
            .ok_or_else(missing)?;
        Ok(function.instructions.clone())
    }
}

/// CPUs that there may ever be.
fn cpus() -> io::Result<u32> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    u32::try_from(cpus).map_err(io::Error::other)
}

/// Copies a data section into its map.
fn fill_section(data: &MapData, map: &aya_obj::Map) -> io::Result<()> {
    if map.section_kind() == EbpfSectionKind::Maps || map.data().is_empty() {
        return Ok(());
    }
    bpf::fill(data, map.data())?;
    if map.section_kind() == EbpfSectionKind::Rodata {
        // Helpers take a format from memory that nobody can change any more.
        bpf::freeze(data)?;
    }
    Ok(())
}

/// Why the kernel refused a program: its verifier does not say that it is locked down.
fn because_of(lockdown: Option<&str>, error: ArmError) -> ArmError {
    match (error, lockdown) {
        (ArmError::Load { .. }, Some("confidentiality")) => ArmError::LockedDown,
        (error, _) => error,
    }
}

fn has_privilege() -> bool {
    rustix::process::geteuid().is_root()
}

fn remove_tail_stores(code: &mut [bpf_insn]) {
    let stores =
        |i: &&mut bpf_insn| i.code == CALL && i.src_reg() == 0 && i.imm == PROBE_WRITE_USER;
    for insn in code.iter_mut().filter(stores) {
        *insn = bpf::insn(MOV64_IMM, 0, 0, 0, -libc::EPERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_into_the_tail_becomes_a_refusal_and_nothing_else_changes() {
        let mut code = [125, PROBE_WRITE_USER].map(|helper| bpf::insn(CALL, 0, 0, 0, helper));
        remove_tail_stores(&mut code);
        assert_eq!((code[0].code, code[0].imm), (CALL, 125));
        assert_eq!((code[1].code, code[1].imm), (MOV64_IMM, -libc::EPERM));
    }

    #[test]
    fn what_lockdown_refuses_is_not_told_in_the_verifiers_words() {
        let refused = || ArmError::Load {
            program: "luo_kprobe".to_owned(),
            error: io::Error::from_raw_os_error(libc::EINVAL),
            log: "policy check failed".to_owned(),
        };
        let said = |lockdown| because_of(lockdown, refused()).to_string();
        assert!(said(Some("confidentiality")).starts_with("this kernel is locked down"));
        for other in [None, Some("none"), Some("integrity")] {
            assert!(said(other).contains("policy check failed"));
        }
        let privilege = ArmError::Privilege(io::Error::from_raw_os_error(libc::EPERM));
        let told = because_of(Some("confidentiality"), privilege).to_string();
        assert!(told.contains("run luo-trace as root"), "{told}");
    }
}
