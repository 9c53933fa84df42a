//! Maps that are read and written where they lie: a bpf(2) call on a map keeps every kprobe
//! program from running on its CPU while it lasts (`bpf_disable_instrumentation`,
//! include/linux/bpf.h, v7.3), and who preempts it there goes by unseen.

use std::io;

use aya::maps::MapData;

use crate::shared_memory::Mapping;

/// The elements of an array map made with `BPF_F_MMAPABLE`, of `N` words each.
pub struct Slots<const N: usize> {
    memory: Mapping,
    len: usize,
    /// Programs that are not loaded yet name it by its descriptor.
    _map: MapData,
}

impl<const N: usize> Slots<N> {
    pub fn new(map: MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let (len, size) = (info.max_entries() as usize, info.value_size() as usize);
        if size != N * size_of::<u64>() {
            return Err(io::Error::other(format!("elements of {size} bytes")));
        }
        let memory = Mapping::new(map.fd(), len * size)?;
        Ok(Self {
            memory,
            len,
            _map: map,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The words of an element; a program may be writing others of it.
    ///
    /// # Panics
    /// Where there is no such element.
    pub fn get(&self, index: usize) -> [u64; N] {
        std::array::from_fn(|i| self.memory.load_word((index * N + i) * size_of::<u64>()))
    }

    /// Stores a word of an element after all earlier stores.
    ///
    /// # Panics
    /// Where there is no such element.
    pub fn store(&self, index: usize, word: usize, value: u64) {
        assert!(word < N);
        let at = (index * N + word) * size_of::<u64>();
        self.memory.store_word(at, value);
    }

    pub fn iter(&self) -> impl Iterator<Item = [u64; N]> {
        (0..self.len).map(|i| self.get(i))
    }
}
