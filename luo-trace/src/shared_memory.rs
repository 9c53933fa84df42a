//! The one place that touches memory which others store into: a carrier, and the maps of
//! the programs' counters.
//!
//! Other processes, and BPF, store into the same pages at any time. So no
//! reference to them is ever made: everything goes through relaxed atomics of
//! one word, which are plain loads and stores on both architectures.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

const WORD: usize = size_of::<u64>();

/// A shared, writable mapping of a whole carrier or map, its pages populated.
#[derive(Debug)]
pub struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Maps the first `len` bytes of `fd`, which must have as many: a carrier
    /// is never shortened, and LUO freezes its size; a map keeps the size it is made with.
    pub fn new(fd: impl AsFd, len: usize) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let raw = MmapOptions::new()
            .len(len)
            .populate()
            .map_raw(fd.as_fd().as_raw_fd())?;
        Ok(Self { raw })
    }

    /// Keeps the pages mapped as far as the limits of the process allow.
    pub fn lock(&self) -> io::Result<()> {
        self.raw.lock()
    }

    /// Address of a byte in this process.
    ///
    /// # Panics
    /// Where `offset` is outside of the mapping.
    pub fn address(&self, offset: usize) -> u64 {
        assert!(offset <= self.raw.len());
        self.raw.as_ptr().addr() as u64 + offset as u64
    }

    /// Stores `bytes` in ascending order, the last word filled up with zeros;
    /// all of it before any later store of this process.
    ///
    /// # Panics
    /// Where the words are outside of the mapping or not aligned.
    pub fn store(&self, offset: usize, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(WORD).enumerate() {
            let mut word = [0; WORD];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(offset + i * WORD)
                .store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }

    /// Stores one word after all earlier stores.
    ///
    /// # Panics
    /// As [`Mapping::store`].
    pub fn store_word(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// Blanks `len` bytes, so that what lay there is not taken for a slot.
    ///
    /// # Panics
    /// As [`Mapping::store`].
    pub fn clear(&self, offset: usize, len: usize) {
        for at in (offset..offset + len).step_by(WORD) {
            self.word(at).store(0, Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }

    /// Loads one word.
    ///
    /// # Panics
    /// As [`Mapping::store`].
    pub fn load_word(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        let fits = offset.is_multiple_of(WORD)
            && offset
                .checked_add(WORD)
                .is_some_and(|end| end <= self.raw.len());
        assert!(fits, "a word at {offset} of {} bytes", self.raw.len());
        // SAFETY: the word lies inside of the mapping and is aligned (the
        // mapping starts at a page), the mapping lives as long as `self`, and
        // this process touches it through atomics only. What other processes
        // store there is any u64.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(offset).cast()) }
    }
}
