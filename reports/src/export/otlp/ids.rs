//! Ids of traces and spans, made from the run: sent twice, it is the same trace.

/// A trace's id, of W3C's size.
pub(super) type TraceId = [u8; 16];
/// A span's id, of W3C's size.
pub(super) type SpanId = [u8; 8];

/// What a span stands for; with its number in the run, that makes its id.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// The whole update.
    Update,
    /// A window, by its place.
    Window(usize),
    /// A phase, by its place.
    Phase(usize),
    /// A phase of a guest, by the places of both.
    Guest(usize, usize),
    /// A call, by its id in the run.
    Call(u32),
}

/// The id of a run's trace.
pub(super) fn trace(run: &str) -> TraceId {
    let bytes = hash(run, "").to_be_bytes();
    not_zero(bytes)
}

/// The id of a span of a run.
pub(super) fn span(run: &str, of: Of) -> SpanId {
    let name = match of {
        Of::Update => "update".to_owned(),
        Of::Window(number) => format!("window {number}"),
        Of::Phase(number) => format!("phase {number}"),
        Of::Guest(guest, number) => format!("guest {guest} {number}"),
        Of::Call(id) => format!("call {id}"),
    };
    let [_, _, _, _, _, _, _, _, low @ ..] = hash(run, &name).to_be_bytes();
    not_zero(low)
}

/// Zeroes alone are no id.
fn not_zero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if let (true, Some(last)) = (bytes.iter().all(|byte| *byte == 0), bytes.last_mut()) {
        *last = 1;
    }
    bytes
}

/// FNV-1a of 128 bits, and both halves mixed, since samplers look at some of the bits only.
fn hash(run: &str, name: &str) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    // What no UTF-8 has divides the two.
    let bytes = run.bytes().chain([0xff]).chain(name.bytes());
    let fnv = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    let [low, high] = [fnv, fnv >> 64].map(|half| half & u128::from(u64::MAX));
    let low =
        mix(u64::try_from(low).unwrap_or(0) ^ u64::try_from(high).unwrap_or(0).rotate_left(32));
    let high = mix(u64::try_from(high).unwrap_or(0) ^ low);
    (u128::from(high) << 64) | u128::from(low)
}

/// The last step of `MurmurHash3`.
fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_the_same_every_time_and_differ_from_each_other() {
        assert_eq!(trace("a"), trace("a"));
        let mut ids: Vec<SpanId> = vec![span("a", Of::Update)];
        for number in 0..1000 {
            ids.push(span("a", Of::Window(number)));
            ids.push(span("a", Of::Phase(number)));
            ids.push(span("a", Of::Guest(number, 0)));
            ids.push(span("a", Of::Guest(0, number + 1)));
        }
        ids.extend((0..100_000).map(|id| span("a", Of::Call(id))));
        let count = ids.len();
        assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), count);
        let traces = (0..100_000).map(|run| trace(&format!("d82e048d-{run:08x}-1")));
        assert_eq!(traces.collect::<HashSet<_>>().len(), 100_000);
    }

    #[test]
    fn no_id_is_all_zero() {
        assert_eq!(not_zero([0; 8]), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(not_zero([0, 2]), [0, 2]);
    }
}
