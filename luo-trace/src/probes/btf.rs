//! Ids of kernel functions in the kernel's BTF.
//!
//! Read by a single walk over the raw blob: building a full type tree takes
//! longer than attaching the whole table does, and this sits on the path
//! between the start of `collect` and the agent's.

use std::collections::HashMap;

const PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_FUNC: u32 = 12;

/// BTF ids of those of `names` that are functions there; `None` without BTF.
pub fn function_ids(names: &[&str]) -> Option<HashMap<String, u32>> {
    find(&std::fs::read(PATH).ok()?, names)
}

fn find(blob: &[u8], names: &[&str]) -> Option<HashMap<String, u32>> {
    let u32_at = |at: usize| Some(u32::from_ne_bytes(blob.get(at..at + 4)?.try_into().ok()?));
    if u16::from_ne_bytes(blob.get(..2)?.try_into().ok()?) != MAGIC {
        return None;
    }
    let header = u32_at(4)? as usize;
    let section = |offset: u32, len: u32| {
        let start = header.checked_add(offset as usize)?;
        blob.get(start..start.checked_add(len as usize)?)
    };
    let types = section(u32_at(8)?, u32_at(12)?)?;
    let strings = section(u32_at(16)?, u32_at(20)?)?;
    let wanted = string_offsets(strings, names);

    let mut found = HashMap::new();
    let word = |at: usize| Some(u32::from_ne_bytes(types.get(at..at + 4)?.try_into().ok()?));
    let (mut at, mut id) = (0, 1);
    while let (Some(name), Some(info)) = (word(at), word(at + 4)) {
        let kind = info >> 24 & 0x1f;
        if kind == KIND_FUNC
            && let Some(name) = wanted.get(&name)
        {
            found.insert((*name).to_owned(), id);
        }
        at += 12 + trailing_bytes(kind, info & 0xffff)?;
        id += 1;
    }
    Some(found)
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
        let found = find(&blob(&types, b"\0a\0b\0"), &["a", "b", "c"]).expect("well formed");
        assert_eq!(
            found,
            HashMap::from([("b".to_owned(), 3), ("a".to_owned(), 4)])
        );
    }

    #[test]
    fn garbage_is_not_btf() {
        assert_eq!(find(b"", &["a"]), None);
        assert_eq!(find(&[0xff; 64], &["a"]), None);
        let whole = blob(&[1, KIND_FUNC << 24, 0], b"\0a\0");
        for len in 0..whole.len() {
            let _ = find(&whole[..len], &["a"]);
        }
    }
}
