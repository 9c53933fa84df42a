//! Finds the operations of file handlers in the kernel's own type information (BTF,
//! Documentation/bpf/btf.rst): one walk over the raw bytes, nothing decoded but what is looked for.

use std::collections::HashSet;

use luo_trace_ebpf::Operation;

/// The one argument of an operation (include/linux/liveupdate.h, v7.3).
const ARGUMENTS: [&[u8]; 2] = [b"liveupdate_file_op_args", b"liveupdate_flb_op_args"];
/// The first argument of `can_preserve`, whose second one is a file.
const HANDLER: &[u8] = b"liveupdate_file_handler";

const MAGIC: u16 = 0xeb9f;
const PTR: u32 = 2;
const STRUCT: u32 = 4;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

/// The functions in `blob` that are operations of handlers, by name.
///
/// # Errors
/// It is no BTF, or one with a kind of type that this build does not know.
pub fn operations(blob: &[u8]) -> Result<Vec<&str>, String> {
    let btf = Btf::new(blob).ok_or("no BTF")?;
    let (mut structs, mut handler) = (HashSet::new(), None);
    let (mut pointers, mut protos, mut functions) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = btf.types;
    let mut id = 0;
    while !rest.is_empty() {
        id += 1;
        let head = words::<3>(rest).ok_or("the BTF ends within a type")?;
        let [name, info, target] = head;
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        match kind {
            PTR => pointers.push((id, target)),
            STRUCT if ARGUMENTS.contains(&btf.bytes(name)) => {
                structs.insert(id);
            }
            STRUCT if btf.bytes(name) == HANDLER => handler = Some(id),
            FUNC => functions.push((name, target)),
            FUNC_PROTO if (1..=2).contains(&members) => {
                let [_, first] = words::<2>(&rest[12..]).ok_or("the BTF ends within a type")?;
                protos.push((id, members, first));
            }
            _ => {}
        }
        let extra = extra_bytes(kind, members).ok_or(format!("BTF of an unknown kind, {kind}"))?;
        rest = rest.get(12 + extra..).ok_or("the BTF ends within a type")?;
    }
    let to = |wanted: &dyn Fn(u32) -> bool| -> HashSet<u32> {
        let pointers = pointers.iter().filter(|(_, target)| wanted(*target));
        pointers.map(|(id, _)| *id).collect()
    };
    let arguments = to(&|target| structs.contains(&target));
    let handlers = to(&|target| Some(target) == handler);
    let protos_of = |members: usize, first: &HashSet<u32>| -> HashSet<u32> {
        let protos = protos.iter();
        protos
            .filter(|proto| proto.1 == members && first.contains(&proto.2))
            .map(|proto| proto.0)
            .collect()
    };
    let (operation, question) = (protos_of(1, &arguments), protos_of(2, &handlers));
    let found = functions.into_iter().filter_map(|(name, proto)| {
        let name = std::str::from_utf8(btf.bytes(name)).ok()?;
        let asks = || Operation::of(name).is_some_and(|(_, op)| op == Operation::CanPreserve);
        (operation.contains(&proto) || question.contains(&proto) && asks()).then_some(name)
    });
    Ok(found.collect())
}

/// Bytes that follow the head of a type.
fn extra_bytes(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // One element type, one index type, a count: an array.
        3 => 12,
        // Structure, union, section, 64-bit enumeration.
        4 | 5 | 15 | 19 => members * 12,
        // Enumeration, prototype.
        6 | 13 => members * 8,
        _ => return None,
    })
}

struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    fn new(blob: &'a [u8]) -> Option<Self> {
        let [magic, header, type_at, type_len, string_at, string_len] = words::<6>(blob)?;
        if magic & 0xffff != u32::from(MAGIC) {
            return None;
        }
        let section = |at: u32, len: u32| {
            let start = (header as usize).checked_add(at as usize)?;
            blob.get(start..start.checked_add(len as usize)?)
        };
        Some(Self {
            types: section(type_at, type_len)?,
            strings: section(string_at, string_len)?,
        })
    }

    /// The string at an offset; nothing where there is none.
    fn bytes(&self, offset: u32) -> &'a [u8] {
        let from = self.strings.get(offset as usize..).unwrap_or_default();
        from.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let (words, _) = bytes.as_chunks::<4>();
    let words = words.first_chunk::<N>()?;
    Some(words.map(u32::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A BTF of these types, each with its kind, its members and what follows the head.
    fn btf(types: &[(&str, u32, u32, u32, &[u32])]) -> Vec<u8> {
        let (mut body, mut strings) = (Vec::new(), vec![0]);
        for (name, kind, members, target, extra) in types {
            let at = u32::try_from(strings.len()).unwrap();
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            let words = [at, kind << 24 | members, *target];
            body.extend(
                words
                    .iter()
                    .chain(*extra)
                    .flat_map(|word| word.to_ne_bytes()),
            );
        }
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let head = [
            u32::from(MAGIC) | 1 << 16,
            24,
            0,
            len(&body),
            len(&body),
            len(&strings),
        ];
        let head = head.iter().flat_map(|word| word.to_ne_bytes());
        head.chain(body).chain(strings).collect()
    }

    fn small() -> Vec<u8> {
        btf(&[
            ("bool", 1, 0, 1, &[8]),                               // 1
            ("", PTR, 0, 4, &[]),                                  // 2
            ("", FUNC_PROTO, 1, 0, &[0, 2]),                       // 3
            ("liveupdate_file_op_args", STRUCT, 1, 8, &[0, 1, 0]), // 4
            ("new_luo_freeze", FUNC, 1, 3, &[]),                   // 5
            ("", FUNC_PROTO, 1, 0, &[0, 1]),                       // 6
            ("other_freeze", FUNC, 1, 6, &[]),                     // 7
            ("liveupdate_file_handler", STRUCT, 0, 0, &[]),        // 8
            ("", PTR, 0, 8, &[]),                                  // 9
            ("", FUNC_PROTO, 2, 1, &[0, 9, 0, 2]),                 // 10
            ("new_luo_can_preserve", FUNC, 1, 10, &[]),            // 11
            ("luo_get_id", FUNC, 1, 10, &[]),                      // 12
            ("liveupdate_flb_op_args", STRUCT, 0, 0, &[]),         // 13
            ("", PTR, 0, 13, &[]),                                 // 14
            ("", FUNC_PROTO, 1, 1, &[0, 14]),                      // 15
            ("new_flb_wake", FUNC, 1, 15, &[]),                    // 16
        ])
    }

    #[test]
    fn operations_are_told_by_what_they_take() {
        let blob = small();
        let found = operations(&blob).unwrap();
        assert_eq!(
            found,
            ["new_luo_freeze", "new_luo_can_preserve", "new_flb_wake"]
        );
        assert!(operations(b"no").is_err());
        assert!(operations(&blob[..40]).is_err());
        let unknown = btf(&[("", 30, 0, 0, &[])]);
        let error = operations(&unknown).unwrap_err();
        assert_eq!(error, "BTF of an unknown kind, 30");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(at in 0..600_usize, byte: u8, end in 0..600_usize) {
            let mut blob = small();
            if let Some(place) = blob.get_mut(at) {
                *place = byte;
            }
            let end = end.min(blob.len());
            let _ = operations(&blob[..end]);
            let _ = operations(&blob);
        }
    }
}
