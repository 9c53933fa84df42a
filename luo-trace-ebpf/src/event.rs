//! The record of one probe hit.

/// Version of [`Event`]'s layout and of the meaning of its fields.
pub const FORMAT: u16 = 1;

/// Bytes of a session name that fit one [`Kind::Name`] record.
pub const NAME_CHUNK: usize = 40;

/// Length of a LUO session name with its NUL (`LIVEUPDATE_SESSION_NAME_LENGTH`,
/// include/uapi/linux/liveupdate.h, v7.3).
pub const SESSION_NAME_LEN: usize = 64;

/// One probe hit: 72 bytes, the same in the ring buffer, the carrier and the tail.
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
    /// Name of the task as words ([`Event::comm_bytes`]), or the end of a name where
    /// the probe captures one ([`crate::Capture::Device`]).
    pub comm: [u64; 2],
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
    /// Room for more: 0, or the record is not whole.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Event>() == 72);

/// A record that brings a session name along; in the ring buffer only. Userspace
/// splits it into [`Kind::Name`] records and the event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The record of the call that the name belongs to.
    pub event: Event,
    /// The name, NUL-terminated.
    pub name: [u8; SESSION_NAME_LEN],
}

const _: () = assert!(size_of::<Named>() == 136);

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
    /// Bytes 40..64 of that name, where it is that long, held alike.
    NameRest = 4,
    /// Bytes 0..40 of the text of the mark that follows, held like a name. Marks
    /// are made by userspace, from the kernel's trace.
    MarkText = 5,
    /// A mark: bytes 40..64 of its text in `a`, `b`, `c`; no probe.
    Mark = 6,
}

/// Bytes of a mark's text that are kept.
pub const MARK_LEN: usize = NAME_CHUNK + 24;

impl Kind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Entry),
            2 => Some(Self::Return),
            3 => Some(Self::Name),
            4 => Some(Self::NameRest),
            5 => Some(Self::MarkText),
            6 => Some(Self::Mark),
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
        let words = [
            self.boot_ns,
            self.a,
            self.b,
            self.c,
            self.comm[0],
            self.comm[1],
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

    /// The record in these bytes, whole or not; `None` if there are too few.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<Self>()] = bytes.get(..size_of::<Self>())?.try_into().ok()?;
        let u64_at = |i: usize| bytes[i..i + 8].try_into().map(u64::from_ne_bytes).ok();
        let u32_at = |i: usize| bytes[i..i + 4].try_into().map(u32::from_ne_bytes).ok();
        Some(Self {
            boot_ns: u64_at(0)?,
            a: u64_at(8)?,
            b: u64_at(16)?,
            c: u64_at(24)?,
            comm: [u64_at(32)?, u64_at(40)?],
            tgid: u32_at(48)?,
            tid: u32_at(52)?,
            seq: u32_at(56)?,
            cpu: u16::from_ne_bytes([bytes[60], bytes[61]]),
            probe: bytes[62],
            kind: bytes[63],
            check: u32_at(64)?,
            reserved: u32_at(68)?,
        })
    }

    /// The record as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; size_of::<Self>()] {
        let Self {
            boot_ns,
            a,
            b,
            c,
            comm,
            tgid,
            tid,
            seq,
            cpu,
            probe,
            kind,
            check,
            reserved,
        } = self;
        let mut out = [0; size_of::<Self>()];
        let [comm, comm_end] = comm;
        for (i, word) in [boot_ns, a, b, c, comm, comm_end].into_iter().enumerate() {
            out[i * 8..i * 8 + 8].copy_from_slice(&word.to_ne_bytes());
        }
        for (i, word) in [tgid, tid, seq].into_iter().enumerate() {
            out[48 + i * 4..52 + i * 4].copy_from_slice(&word.to_ne_bytes());
        }
        out[60..62].copy_from_slice(&cpu.to_ne_bytes());
        out[62] = *probe;
        out[63] = *kind;
        out[64..68].copy_from_slice(&check.to_ne_bytes());
        out[68..72].copy_from_slice(&reserved.to_ne_bytes());
        out
    }

    /// The records of an item of the ring buffer in order: the name's first where
    /// it brings one, sealed, then the event as the kernel made it.
    pub fn from_ring(item: &[u8]) -> impl Iterator<Item = Self> {
        let event = Self::from_bytes(item);
        let name: Option<[u8; SESSION_NAME_LEN]> = item
            .get(size_of::<Self>()..size_of::<Named>())
            .and_then(|b| b.try_into().ok());
        // What follows the NUL is whatever lay on the stack.
        let len = name
            .and_then(|n| n.iter().position(|&b| b == 0))
            .unwrap_or(SESSION_NAME_LEN);
        let part = move |kind: Kind, from: usize| {
            let (event, name) = (event?, name?);
            let byte = |i: usize| if from + i < len { name[from + i] } else { 0 };
            let word = |i: usize| u64::from_ne_bytes(core::array::from_fn(|k| byte(i + k)));
            let mut part = Self {
                a: word(0),
                b: word(8),
                c: word(16),
                ..event
            };
            part.comm = [word(24), word(32)];
            part.kind = kind as u8;
            part.seal();
            let blank = byte(0) == 0 && matches!(kind, Kind::NameRest);
            (!blank).then_some(part)
        };
        [part(Kind::Name, 0), part(Kind::NameRest, NAME_CHUNK), event]
            .into_iter()
            .flatten()
    }

    /// The two records of a mark; its text is cut at [`MARK_LEN`].
    #[must_use]
    pub fn mark(boot_ns: u64, text: &[u8], tid: u32, comm: &[u8]) -> [Self; 2] {
        let text = &text[..text.len().min(MARK_LEN)];
        let (head, rest) = text.split_at(text.len().min(NAME_CHUNK));
        let part = |kind: Kind, values: &[u8], comm: &[u8]| {
            let word = |bytes: &[u8], from: usize| {
                let byte = |i: usize| bytes.get(from + i).copied().unwrap_or(0);
                u64::from_ne_bytes(core::array::from_fn(byte))
            };
            let mut part = Self {
                boot_ns,
                a: word(values, 0),
                b: word(values, 8),
                c: word(values, 16),
                comm: [word(comm, 0), word(comm, 8)],
                tgid: tid,
                tid,
                kind: kind as u8,
                ..Self::default()
            };
            part.seal();
            part
        };
        let head_end = head.get(24..).unwrap_or_default();
        [
            part(Kind::MarkText, head, head_end),
            part(Kind::Mark, rest, comm),
        ]
    }

    /// The text of a mark whose [`Kind::MarkText`] is `head`.
    #[must_use]
    pub fn mark_text(&self, head: &Self) -> [u8; MARK_LEN] {
        let (head, rest) = (head.name_bytes(), [self.a, self.b, self.c]);
        core::array::from_fn(|i| match i.checked_sub(NAME_CHUNK) {
            None => head[i],
            Some(i) => rest[i / 8].to_ne_bytes()[i % 8],
        })
    }

    /// The task's name, NUL-padded.
    #[must_use]
    pub fn comm_bytes(&self) -> [u8; 16] {
        let words = self.comm.map(u64::to_ne_bytes);
        core::array::from_fn(|i| words[i / 8][i % 8])
    }

    /// The bytes of a name record ([`Kind::Name`] or [`Kind::NameRest`]), or of an
    /// entry that is a name ([`crate::Capture::Device`], [`crate::Capture::Symbol`]).
    #[must_use]
    pub fn name_bytes(&self) -> [u8; NAME_CHUNK] {
        let [comm, comm_end] = self.comm;
        let words = [self.a, self.b, self.c, comm, comm_end].map(u64::to_ne_bytes);
        core::array::from_fn(|i| words[i / 8][i % 8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_a_flipped_bit_is_seen() {
        let mut event = Event {
            boot_ns: 1,
            a: 2,
            b: 3,
            c: 4,
            comm: [0x3031, u64::MAX],
            tgid: 5,
            tid: 6,
            seq: 7,
            cpu: 8,
            probe: 9,
            kind: Kind::Entry as u8,
            ..Event::default()
        };
        event.seal();
        let bytes = event.to_bytes();
        assert_eq!(Event::from_bytes(&bytes), Some(event));
        assert!(event.is_intact() && !Event::default().is_intact());
        for bit in 0..bytes.len() * 8 {
            let mut torn = bytes;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !Event::from_bytes(&torn).is_some_and(|e| e.is_intact()),
                "bit {bit}"
            );
        }
        assert_eq!(Event::from_bytes(&bytes[1..]), None);
    }

    fn named(name: &str) -> ([u8; size_of::<Named>()], Event) {
        let mut event = Event {
            boot_ns: 9,
            seq: 3,
            kind: Kind::Entry as u8,
            ..Event::default()
        };
        event.seal();
        let mut item = [0; size_of::<Named>()];
        item[..size_of::<Event>()].copy_from_slice(&event.to_bytes());
        item[size_of::<Event>()..][..name.len()].copy_from_slice(name.as_bytes());
        (item, event)
    }

    #[test]
    fn a_named_record_splits_into_name_and_event() {
        let (item, event) = named("vm-1");
        let mut parts = Event::from_ring(&item);
        let name = parts.next().expect("the name");
        assert!(name.is_intact() && name.kind == Kind::Name as u8 && name.seq == event.seq);
        assert_eq!(&name.name_bytes()[..5], b"vm-1\0");
        assert_eq!(parts.next(), Some(event));
        assert_eq!(parts.next(), None);
    }

    #[test]
    fn a_marks_text_comes_back_and_is_cut_where_the_room_ends() {
        let long = [b'x'; 100];
        for text in [
            &b"pause vm-1"[..],
            b"",
            &long[..40],
            &long[..41],
            &long[..64],
            &long,
        ] {
            let [head, mark] = Event::mark(7, text, 42, b"lab-agent");
            assert!(head.is_intact() && mark.is_intact());
            assert_eq!((mark.boot_ns, mark.tgid), (7, 42));
            assert_eq!(&mark.comm_bytes()[..10], b"lab-agent\0");
            let back = mark.mark_text(&head);
            let len = text.len().min(MARK_LEN);
            assert_eq!(&back[..len], &text[..len]);
            assert!(back[len..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn a_long_name_comes_in_two_parts_and_a_plain_record_in_one() {
        let long = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";
        let (item, event) = named(long);
        let mut bytes = [0; 2 * NAME_CHUNK];
        let mut parts = Event::from_ring(&item);
        bytes[..NAME_CHUNK].copy_from_slice(&parts.next().expect("head").name_bytes());
        let rest = parts.next().expect("rest");
        assert_eq!(rest.kind, Kind::NameRest as u8);
        bytes[NAME_CHUNK..].copy_from_slice(&rest.name_bytes());
        assert_eq!(&bytes[..long.len()], long.as_bytes());
        assert_eq!(parts.next(), Some(event));
        assert_eq!(Event::from_ring(&item[..size_of::<Event>()]).count(), 1);
    }
}
