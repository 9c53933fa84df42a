//! The record of one probe hit.

/// Version of [`Event`]'s layout and of the meaning of its fields.
pub const FORMAT: u16 = 1;

/// Bytes of a session name that fit one [`Kind::Name`] record.
pub const NAME_CHUNK: usize = 40;

/// Length of a LUO session name with its NUL (`LIVEUPDATE_SESSION_NAME_LENGTH`,
/// include/uapi/linux/liveupdate.h, v7.3).
pub const SESSION_NAME_LEN: usize = 64;

/// One probe hit: 64 bytes, the same in the ring buffer, the carrier and the tail.
///
/// A slot whose `boot_ns` is 0 was never written. Every other slot must satisfy
/// [`Event::is_intact`], or it is torn.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_BOOTTIME` of the kernel that ran the probe, ns.
    pub boot_ns: u64,
    /// First captured value: an argument at entry, the return value at return.
    pub a: u64,
    /// Second captured value.
    pub b: u64,
    /// Third captured value.
    pub c: u64,
    /// Name of the task, or the third part of a name.
    pub comm: [u8; 16],
    /// Process (thread group) id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Number of this record among those of its CPU, from 0 at attach.
    pub seq: u32,
    /// CPU that ran the probe.
    pub cpu: u16,
    /// Which probe of the table: [`crate::ProbeId`] as a number.
    pub probe: u8,
    /// A [`Kind`] as a number.
    pub kind: u8,
    /// [`Event::checksum`] over everything above.
    pub check: u32,
    /// Zero; reserved.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Event>() == 72);

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The function was entered; `a`, `b`, `c` hold what its [`crate::Capture`] says.
    Entry = 1,
    /// The function returned; `a` is the return value.
    Return = 2,
    /// Bytes 0..40 of the session name that belongs to the entry that follows
    /// on the same thread, held in `a`, `b`, `c`, `comm`.
    Name = 3,
    /// Bytes 40..64 of that name, where it is that long, held in `a`, `b`, `c`.
    NameRest = 4,
}

impl Kind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Entry),
            2 => Some(Self::Return),
            3 => Some(Self::Name),
            4 => Some(Self::NameRest),
            _ => None,
        }
    }
}

impl Event {
    /// Checksum of the record: tells a torn or stale slot from a whole one. It
    /// is no defence against forgery. A multiply-rotate fold, because it has to
    /// run in BPF on every hit.
    #[must_use]
    #[inline(always)]
    pub const fn checksum(&self) -> u32 {
        let comm = &self.comm;
        let words = [
            self.boot_ns,
            self.a,
            self.b,
            self.c,
            u64::from_ne_bytes([
                comm[0], comm[1], comm[2], comm[3], comm[4], comm[5], comm[6], comm[7],
            ]),
            u64::from_ne_bytes([
                comm[8], comm[9], comm[10], comm[11], comm[12], comm[13], comm[14], comm[15],
            ]),
            self.tgid as u64 | (self.tid as u64) << 32,
            self.seq as u64
                | (self.cpu as u64) << 32
                | (self.probe as u64) << 48
                | (self.kind as u64) << 56,
        ];
        let mut sum = 0x9e37_79b9_7f4a_7c15_u64 ^ FORMAT as u64;
        let mut i = 0;
        while i < words.len() {
            sum = (sum ^ words[i])
                .wrapping_mul(0xff51_afd7_ed55_8ccd)
                .rotate_left(29);
            i += 1;
        }
        (sum ^ (sum >> 32)) as u32
    }

    /// Closes the record: sets [`Event::check`].
    #[inline(always)]
    pub const fn seal(&mut self) {
        self.reserved = 0;
        self.check = self.checksum();
    }

    /// Whether the slot was never written.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.boot_ns == 0
    }

    /// Whether the record is whole.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.boot_ns != 0 && self.reserved == 0 && self.check == self.checksum()
    }

    /// The bytes of a name record ([`Kind::Name`] or [`Kind::NameRest`]).
    #[must_use]
    pub const fn name_bytes(&self) -> [u8; NAME_CHUNK] {
        let words = [
            self.a.to_ne_bytes(),
            self.b.to_ne_bytes(),
            self.c.to_ne_bytes(),
        ];
        let mut out = [0; NAME_CHUNK];
        let mut i = 0;
        while i < NAME_CHUNK {
            out[i] = if i < 24 {
                words[i / 8][i % 8]
            } else {
                self.comm[i - 24]
            };
            i += 1;
        }
        out
    }
}
