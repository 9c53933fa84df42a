//! A kernel function's id in the kernel's BTF, and where its devices keep their names.
//!
//! Read by a single walk over the raw blob: building a full type tree, as aya-obj
//! does, takes longer than attaching the whole table does, and this sits on the path
//! between the start of `collect` and the agent's.

use std::collections::HashMap;

const PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_FUNC: u32 = 12;

/// The kernel's own BTF.
pub struct Btf(Vec<u8>);

impl Btf {
    /// Of the running kernel, if it has any.
    pub fn read() -> Option<Self> {
        std::fs::read(PATH).ok().map(Self)
    }

    /// The id of the function of this name.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let (types, strings) = sections(&self.0)?;
        let wanted = string_offsets(strings, &[name]);
        let mut found = None;
        for_each_type(types, |id, kind, name, _| {
            if kind == KIND_FUNC && wanted.contains_key(&name) {
                found = Some(id);
            }
        })?;
        found
    }

    /// Whether a `struct device` begins with its kobject, and that with its name, as
    /// the programs take it to be (include/linux/device.h, include/linux/kobject.h,
    /// v7.3).
    pub fn device_begins_with_name(&self) -> Option<bool> {
        let first = first_members(&self.0, &["device", "kobject"])?;
        let begins = |of: &str, with: &str| first.get(of).is_some_and(|member| member == with);
        Some(begins("device", "kobj") && begins("kobject", "name"))
    }
}

/// By name of those structures, the member at their very beginning.
fn first_members(blob: &[u8], structures: &[&str]) -> Option<HashMap<String, String>> {
    let (types, strings) = sections(blob)?;
    let wanted = string_offsets(strings, structures);
    let string = |at: u32| {
        let rest = strings.get(at as usize..)?;
        let end = rest.iter().position(|&b| b == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    };
    let mut found = HashMap::new();
    for_each_type(types, |_, kind, name, members| {
        let (KIND_STRUCT, Some(structure)) = (kind, wanted.get(&name)) else {
            return;
        };
        // Name, type and bit offset of the first member; a bit field's offset has flags above.
        let word = |at: usize| Some(u32::from_ne_bytes(*members.get(at..)?.first_chunk()?));
        if word(8) == Some(0)
            && let Some(member) = word(0).and_then(string)
        {
            found.entry((*structure).to_owned()).or_insert(member);
        }
    })?;
    Some(found)
}

/// The types and the strings of a blob.
fn sections(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(blob.get(at..at + 4)?.try_into().ok()?));
    if u16::from_ne_bytes(blob.get(..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = u32_at(4)? as usize;
    let section = |offset: u32, len: u32| {
        let start = header.checked_add(offset as usize)?;
        blob.get(start..start.checked_add(len as usize)?)
    };
    Some((
        section(u32_at(8)?, u32_at(12)?)?,
        section(u32_at(16)?, u32_at(20)?)?,
    ))
}

/// Calls `see` with each type's id, kind, name and what follows its head.
fn for_each_type(types: &[u8], mut see: impl FnMut(u32, u32, u32, &[u8])) -> Option<()> {
    let word = |at: usize| Some(u32::from_ne_bytes(types.get(at..at + 4)?.try_into().ok()?));
    let (mut at, mut id) = (0, 1);
    while let (Some(name), Some(info)) = (word(at), word(at + 4)) {
        let kind = info >> 24 & 0x1f;
        let len = trailing_bytes(kind, info & 0xffff)?;
        see(id, kind, name, types.get(at + 12..at + 12 + len)?);
        at += 12 + len;
        id += 1;
    }
    Some(())
}

/// Offsets of the wanted names in the string section, which holds each once.
fn string_offsets<'n>(strings: &[u8], names: &[&'n str]) -> HashMap<u32, &'n str> {
    let mut offsets = HashMap::new();
    let mut at = 0;
    for string in strings.split(|&b| b == 0) {
        if let Some(name) = names.iter().find(|n| n.as_bytes() == string) {
            offsets.insert(at, *name);
        }
        at += u32::try_from(string.len()).unwrap_or(u32::MAX) + 1;
    }
    offsets
}

/// Bytes after the 12-byte `struct btf_type` (Documentation/bpf/btf.rst, v7.3).
fn trailing_bytes(kind: u32, vlen: u32) -> Option<usize> {
    let vlen = vlen as usize;
    Some(match kind {
        1 | 14 | 17 => 4,             // INT, VAR, DECL_TAG
        3 => 12,                      // ARRAY
        4 | 5 | 15 | 19 => 12 * vlen, // STRUCT, UNION, DATASEC, ENUM64
        6 | 13 => 8 * vlen,           // ENUM, FUNC_PROTO
        2 | 7..=12 | 16 | 18 => 0,    // PTR, FWD .. FUNC, FLOAT, TYPE_TAG
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        let len = |section: &[u8]| u32::try_from(section.len()).expect("short");
        let (types_len, strings_len) = (len(&types), len(strings));
        for word in [24, 0, types_len, types_len, strings_len] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(types);
        out.extend(strings);
        out
    }

    #[test]
    fn functions_are_found_by_name_past_types_of_every_length() {
        // int (id 1), struct of one member (id 2), func "b" (id 3), func "a" (id 4).
        let types = [
            0,
            1 << 24,
            4,
            32, //
            0,
            4 << 24 | 1,
            4,
            0,
            1,
            0, //
            3,
            KIND_FUNC << 24,
            0, //
            1,
            KIND_FUNC << 24,
            0,
        ];
        let btf = Btf(blob(&types, b"\0a\0b\0"));
        let ids = ["a", "b", "c"].map(|name| btf.function_id(name));
        assert_eq!(ids, [Some(4), Some(3), None]);
    }

    #[test]
    fn a_device_that_does_not_begin_with_its_name_is_told() {
        // Two structures of one member each: device { kobj }, kobject { name }.
        let of = |kobj_at: u32, first: &str| {
            let strings = format!("\0device\0kobj\0kobject\0{first}\0");
            let types = [
                1,
                KIND_STRUCT << 24 | 1,
                8,
                8,
                2,
                kobj_at, //
                13,
                KIND_STRUCT << 24 | 1,
                8,
                21,
                0,
                0,
            ];
            Btf(blob(&types, strings.as_bytes())).device_begins_with_name()
        };
        assert_eq!(of(0, "name"), Some(true));
        assert_eq!(of(64, "name"), Some(false));
        assert_eq!(of(0, "entry"), Some(false));
        assert_eq!(Btf(b"no BTF".to_vec()).device_begins_with_name(), None);
    }

    #[test]
    fn garbage_is_not_btf() {
        assert_eq!(Btf(Vec::new()).function_id("a"), None);
        assert_eq!(Btf(vec![0xff; 64]).function_id("a"), None);
        let whole = blob(&[1, KIND_FUNC << 24, 0], b"\0a\0");
        for len in 0..whole.len() {
            let _ = Btf(whole[..len].to_vec()).function_id("a");
        }
    }
}
