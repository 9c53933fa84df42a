//! Memfds whose every page says where it belongs, so that misplaced pages show.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};

/// Makes a memfd of `size` bytes with the pattern of a session and token.
pub fn patterned(size: u64, session: u32, token: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(format!("lab-{session}-{token}"), MemfdFlags::CLOEXEC)?;
    let file = File::from(fd);
    file.set_len(size)?;
    write_pattern(&file, size, session, token)?;
    Ok(file.into())
}

/// Fills the first `size` bytes of a file with the pattern of a session and token.
pub fn write_pattern(file: &File, size: u64, session: u32, token: u64) -> io::Result<()> {
    let mut block = [0; BLOCK];
    for (index, offset) in (0..size).step_by(BLOCK).enumerate() {
        give_sign(offset, size);
        fill(&mut block, session, token, index as u64);
        file.write_all_at(&block[..block_len(size, offset)], offset)?;
    }
    Ok(())
}

/// Counts the bytes of a retrieved memfd that are not as they were preserved.
///
/// A file of another size counts as wholly mismatched.
pub fn mismatches(file: &File, size: u64, session: u32, token: u64) -> io::Result<u64> {
    if file.metadata()?.len() != size {
        return Ok(size.max(1));
    }
    differing(file, size, session, token)
}

/// Counts those of the first `size` bytes of a file that are not of the pattern.
pub fn differing(file: &File, size: u64, session: u32, token: u64) -> io::Result<u64> {
    let (mut expected, mut found) = ([0; BLOCK], [0; BLOCK]);
    let mut wrong = 0;
    for (index, offset) in (0..size).step_by(BLOCK).enumerate() {
        give_sign(offset, size);
        fill(&mut expected, session, token, index as u64);
        let len = block_len(size, offset);
        file.read_exact_at(&mut found[..len], offset)?;
        if expected[..len] != found[..len] {
            let differ = expected[..len]
                .iter()
                .zip(&found[..len])
                .filter(|(a, b)| a != b);
            wrong += differ.count() as u64;
        }
    }
    Ok(wrong)
}

/// Says now and then how far it has come: a lab without a sign of life is given up.
fn give_sign(offset: u64, size: u64) {
    const EACH: u64 = 256 << 20;
    if offset > 0 && offset.is_multiple_of(EACH) {
        log::info!("at {} of {} MiB", offset >> 20, size >> 20);
    }
}

/// Pages, so that one that went to the wrong place shows.
const BLOCK: usize = 4096;

fn block_len(size: u64, offset: u64) -> usize {
    usize::try_from(size - offset).map_or(BLOCK, |left| left.min(BLOCK))
}

/// Fills a block with xorshift64* output, seeded by where the block belongs.
fn fill(block: &mut [u8; BLOCK], session: u32, token: u64, index: u64) {
    let mut state = [u64::from(session), token, index]
        .into_iter()
        .fold(0x9e37_79b9_7f4a_7c15, mix)
        | 1;
    for word in block.as_chunks_mut::<8>().0 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        *word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
    }
}

/// One round of splitmix64.
fn mix(state: u64, value: u64) -> u64 {
    let mut z = (state ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_tells_files_and_pages_apart() {
        let size = 3 * 4096 + 100;
        let file = File::from(patterned(size, 1, 7).unwrap());
        assert_eq!(mismatches(&file, size, 1, 7).unwrap(), 0);
        assert!(mismatches(&file, size, 1, 8).unwrap() > size / 2);
        assert!(mismatches(&file, size, 2, 7).unwrap() > size / 2);
        assert_eq!(mismatches(&file, size + 1, 1, 7).unwrap(), size + 1);

        let mut page = [0; 4096];
        file.read_exact_at(&mut page, 0).unwrap();
        file.write_all_at(&page, 4096).unwrap();
        assert!(mismatches(&file, size, 1, 7).unwrap() > 4000);
    }

    #[test]
    fn one_flipped_bit_is_one_mismatch() {
        let file = File::from(patterned(8192, 0, 1).unwrap());
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 5000).unwrap();
        assert_eq!(mismatches(&file, 8192, 0, 1).unwrap(), 1);
    }
}
