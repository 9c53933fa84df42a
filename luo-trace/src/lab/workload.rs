//! What is carried across the update, and the pattern that proves it arrived.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::liveupdate::{NameError, SessionName};

/// Memfds in sessions, e.g. `memfd=500x64K,sessions=8,delay=20ms,between=1ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Workload {
    /// Memfds, over all sessions.
    pub files: u32,
    /// Size of each memfd, bytes.
    pub size: u64,
    /// Sessions that they are dealt to in turn.
    pub sessions: u32,
    /// What the agent waits before it opens the device in the new kernel.
    pub delay: Duration,
    /// What it waits between two retrieves.
    pub between: Duration,
}

/// Why a workload's spec is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "workload '{spec}': {problem}; expected \
     memfd=COUNTxSIZE[,sessions=N][,delay=DURATION][,between=DURATION], e.g. memfd=4x1M,sessions=2"
)]
pub struct SpecError {
    spec: String,
    problem: String,
}

impl Workload {
    /// Bytes of all memfds.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.files) * self.size
    }

    /// The name of session `index`.
    pub fn session_name(index: u32) -> Result<SessionName, NameError> {
        SessionName::new(format!("lab-{index}"))
    }

    /// The tokens of session `index`. No two sessions share one.
    pub fn tokens(&self, index: u32) -> impl Iterator<Item = u64> + use<> {
        let first = u64::from(index) + 1;
        (first..=u64::from(self.files)).step_by(self.sessions as usize)
    }
}

/// Makes a memfd of `size` bytes with the pattern of a session and token.
pub fn patterned_memfd(size: u64, session: u32, token: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(format!("lab-{session}-{token}"), MemfdFlags::CLOEXEC)?;
    let file = File::from(fd);
    file.set_len(size)?;
    let mut block = [0; BLOCK];
    for (index, offset) in (0..size).step_by(BLOCK).enumerate() {
        fill(&mut block, session, token, index as u64);
        file.write_all_at(&block[..block_len(size, offset)], offset)?;
    }
    Ok(file.into())
}

/// Counts the bytes of a retrieved memfd that are not as they were preserved.
///
/// A file of another size counts as wholly mismatched.
pub fn mismatches(fd: OwnedFd, size: u64, session: u32, token: u64) -> io::Result<u64> {
    let file = File::from(fd);
    if file.metadata()?.len() != size {
        return Ok(size.max(1));
    }
    let (mut expected, mut found) = ([0; BLOCK], [0; BLOCK]);
    let mut wrong = 0;
    for (index, offset) in (0..size).step_by(BLOCK).enumerate() {
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

/// Reads a size: bytes, or with one of the suffixes K, M and G, powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let error = || format!("'{text}' is no size; expected bytes, or e.g. 64K, 4M, 1G");
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

/// Reads a duration: a number with one of the suffixes us, ms, s, m.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || format!("'{text}' is no duration; expected e.g. 20ms, 1.5s, 2m");
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(error)?;
    let number: f64 = text[..split].parse().map_err(|_| error())?;
    let unit = match &text[split..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| error())
}

/// Writes a size as [`parse_size`] reads it.
fn show_size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1 << 30) == 0 => format!("{}G", b >> 30),
        b if b > 0 && b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b if b > 0 && b % (1 << 10) == 0 => format!("{}K", b >> 10),
        b => b.to_string(),
    }
}

impl FromStr for Workload {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let error = |problem: String| SpecError {
            spec: spec.to_owned(),
            problem,
        };
        let mut workload = Self {
            files: 0,
            size: 0,
            sessions: 1,
            delay: Duration::ZERO,
            between: Duration::ZERO,
        };
        for part in spec.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| error(format!("'{part}' has no '='")))?;
            let number = |text: &str| {
                text.parse()
                    .map_err(|_| error(format!("'{text}' is no number")))
            };
            match key {
                "memfd" => {
                    let (count, size) = value
                        .split_once('x')
                        .ok_or_else(|| error(format!("'{value}' is not COUNTxSIZE")))?;
                    workload.files = number(count)?;
                    workload.size = parse_size(size).map_err(error)?;
                }
                "sessions" => workload.sessions = number(value)?,
                "delay" => workload.delay = parse_duration(value).map_err(error)?,
                "between" => workload.between = parse_duration(value).map_err(error)?,
                _ => return Err(error(format!("'{key}' is unknown"))),
            }
        }
        if workload.files == 0 || workload.sessions == 0 {
            return Err(error("it has no file or no session".to_owned()));
        }
        if workload.sessions > workload.files {
            return Err(error("it has more sessions than files".to_owned()));
        }
        if workload.size.checked_mul(workload.files.into()).is_none() {
            return Err(error("it is larger than any memory".to_owned()));
        }
        Ok(workload)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files,
            size,
            sessions,
            delay,
            between,
        } = self;
        write!(f, "memfd={files}x{}", show_size(*size))?;
        if *sessions != 1 {
            write!(f, ",sessions={sessions}")?;
        }
        if !delay.is_zero() {
            write!(f, ",delay={}ms", delay.as_millis())?;
        }
        if !between.is_zero() {
            write!(f, ",between={}ms", between.as_millis())?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Workload {
    type Error = SpecError;

    fn try_from(spec: String) -> Result<Self, SpecError> {
        spec.parse()
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &str) -> Result<Workload, SpecError> {
        spec.parse()
    }

    #[test]
    fn specs_are_read_and_shown_alike() {
        for spec in [
            "memfd=4x1M",
            "memfd=500x64K,sessions=8",
            "memfd=1x5,delay=20ms,between=5ms",
        ] {
            assert_eq!(parse(spec).unwrap().to_string(), spec);
        }
        let big = parse("memfd=500x64K,sessions=8").unwrap();
        assert_eq!((big.files, big.size, big.sessions), (500, 65536, 8));
        assert_eq!(parse("memfd=1x1k").unwrap().size, 1024);
    }

    #[test]
    fn bad_specs_say_what_is_wrong() {
        for (spec, problem) in [
            ("", "has no '='"),
            ("memfd=4", "is not COUNTxSIZE"),
            ("memfd=0x1M", "no file"),
            ("memfd=fourx1M", "'four' is no number"),
            ("memfd=4x1T", "'1T' is no size"),
            ("memfd=4x1M,sessions=5", "more sessions than files"),
            ("memfd=4000000000x17179869184G", "is no size"),
            ("memfd=4000000000x8000000000G", "larger than any memory"),
            ("memfd=1x1M,delay=5", "'5' is no duration"),
            ("memfd=1x1M,delay=-5s", "'-5s' is no duration"),
            ("disk=1", "'disk' is unknown"),
        ] {
            let error = parse(spec).unwrap_err().to_string();
            assert!(error.contains(problem), "{spec}: {error}");
        }
    }

    #[test]
    fn every_file_has_one_token_in_one_session() {
        let workload = parse("memfd=10x4K,sessions=3").unwrap();
        let mut tokens: Vec<_> = (0..3).flat_map(|s| workload.tokens(s)).collect();
        assert_eq!(workload.tokens(2).collect::<Vec<_>>(), [3, 6, 9]);
        tokens.sort_unstable();
        assert_eq!(tokens, (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn the_pattern_tells_files_and_pages_apart() {
        let size = 3 * 4096 + 100;
        let make = || patterned_memfd(size, 1, 7).unwrap();
        assert_eq!(mismatches(make(), size, 1, 7).unwrap(), 0);
        assert!(mismatches(make(), size, 1, 8).unwrap() > size / 2);
        assert!(mismatches(make(), size, 2, 7).unwrap() > size / 2);
        assert_eq!(mismatches(make(), size + 1, 1, 7).unwrap(), size + 1);

        let file = File::from(make());
        let mut page = [0; 4096];
        file.read_exact_at(&mut page, 0).unwrap();
        file.write_all_at(&page, 4096).unwrap();
        assert!(mismatches(file.into(), size, 1, 7).unwrap() > 4000);
    }

    #[test]
    fn one_flipped_bit_is_one_mismatch() {
        let file = File::from(patterned_memfd(8192, 0, 1).unwrap());
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5000).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 5000).unwrap();
        assert_eq!(mismatches(file.into(), 8192, 0, 1).unwrap(), 1);
    }
}
