//! The words by which this kernel knows what it hands over (`KHO_FDT_COMPATIBLE`,
//! `LUO_ABI_COMPATIBLE`): a kernel takes over only what has its own words.

use std::fs;

/// Where it shows them (`kernel/liveupdate/kexec_handover_debugfs.c`, v7.3; needs
/// `CONFIG_KEXEC_HANDOVER_DEBUGFS`).
const PLACE: &str = "/sys/kernel/debug/kho";

/// Its words, e.g. `kho-v4` and `luo-v5`; none where debugfs does not have them.
#[must_use]
pub fn words() -> Vec<String> {
    let read = |name: &str| fs::read(format!("{PLACE}/{name}")).ok();
    // A kernel that was handed something shows that tree alone. It took the tree, so the word is
    // its own.
    let kho = read("out/fdt").or_else(|| read("in/fdt"));
    let kho = kho.and_then(|blob| of_tree(&blob));
    // `struct luo_ser` (include/linux/kho/abi/luo.h, v7.3). The one that was handed over is freed
    // while the kernel boots.
    let luo = read("out/sub_fdts/LUO").and_then(|blob| of_struct(&blob));
    kho.into_iter().chain(luo).collect()
}

/// The first property of the root of a flattened device tree, which the kernel writes first: its
/// `compatible` (`kho_out_fdt_setup`, `kernel/liveupdate/kexec_handover.c`, v7.3). The file keeps
/// the size that the tree had before anything was added, so its end is cut off, names included,
/// and a whole reader of trees refuses it (Devicetree Specification 0.4, chapter 5).
fn of_tree(blob: &[u8]) -> Option<String> {
    const MAGIC: u32 = 0xd00d_feed;
    const BEGIN_NODE: u32 = 1;
    const PROPERTY: u32 = 3;
    let word = |at: usize| {
        let bytes = blob.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let root = usize::try_from(word(8)?).ok()?;
    // Its name is empty.
    let begins = [BEGIN_NODE, 0, PROPERTY];
    let property = blob.get(root..)?;
    let tagged = begins
        .iter()
        .zip(property.chunks(4))
        .all(|(tag, word)| word == tag.to_be_bytes());
    let len = usize::try_from(word(root + 12)?).ok()?;
    (word(0)? == MAGIC && tagged).then_some(())?;
    of_struct(property.get(20..)?.get(..len)?)
}

/// The string of printable characters that a structure begins with.
fn of_struct(blob: &[u8]) -> Option<String> {
    let word = blob.split(|byte| *byte == 0).next()?;
    let ended = !word.is_empty() && word.len() < blob.len();
    let printable = ended && word.iter().all(u8::is_ascii_graphic);
    printable.then(|| String::from_utf8_lossy(word).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libfdt writes it (Devicetree Specification 0.4, chapter 5): one node, two properties.
    fn tree() -> Vec<u8> {
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|w| w.to_be_bytes())
                .collect::<Vec<_>>()
        };
        let (node, property, end_node, end) = (1, 3, 2, 9);
        let nodes = [
            words(&[node, 0, property, 7, 0]),
            b"kho-v4\0\0".to_vec(),
            words(&[property, 8, 11, 0, 0, end_node, end]),
        ]
        .concat();
        let strings = b"compatible\0preserved-memory-map\0";
        let (reserved, header) = ([0; 16], 40);
        let (nodes_at, nodes_len) = (header + 16, u32::try_from(nodes.len()).unwrap());
        let strings_len = u32::try_from(strings.len()).unwrap();
        let total = nodes_at + nodes_len + strings_len;
        let header = words(&[
            0xd00d_feed,
            total,
            nodes_at,
            nodes_at + nodes_len,
            header,
            17,
            16,
            0,
            strings_len,
            nodes_len,
        ]);
        [header, reserved.to_vec(), nodes, strings.to_vec()].concat()
    }

    #[test]
    fn the_root_of_a_tree_has_the_word() {
        assert_eq!(of_tree(&tree()).as_deref(), Some("kho-v4"));
        // Cut off after the word, as the kernel does it, and before.
        let word_end = 56 + 20 + 7;
        for len in 0..tree().len() {
            let word = (len >= word_end).then_some("kho-v4");
            assert_eq!(of_tree(&tree()[..len]).as_deref(), word, "{len}");
        }
        // Wherever it says that the root is.
        for root in [0, 40, 60, u32::MAX] {
            let mut wild = tree();
            wild[8..12].copy_from_slice(&root.to_be_bytes());
            assert_eq!(of_tree(&wild), None, "{root}");
        }
    }

    #[test]
    fn a_structure_begins_with_its_word_or_has_none() {
        assert_eq!(
            of_struct(b"luo-v5\0\0\x01\0\0\0").as_deref(),
            Some("luo-v5")
        );
        for blob in [b"".as_slice(), b"\0\0", b"luo-v5", b"\xd0\x0d\xfe\xed\0"] {
            assert_eq!(of_struct(blob), None, "{blob:?}");
        }
    }
}
