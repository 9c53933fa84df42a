//! Sizes and durations as people write them.

use std::time::Duration;

/// Reads a size: bytes, or with one of the suffixes K, M and G, powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let error = || format!("'{text}' is not a size; expected bytes, or e.g. 64K, 4M, 1G");
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

/// Reads a duration: numbers with their units, as `20ms` or `1.5s`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<jiff::SignedDuration>().ok();
    duration
        .and_then(|duration| duration.try_into().ok())
        .ok_or_else(|| format!("'{text}' is not a duration; expected e.g. 20ms, 1.5s, 2m"))
}

/// Writes a duration as [`parse_duration`] reads it, to the nanosecond.
pub(crate) fn show_duration(duration: Duration) -> String {
    match duration.as_nanos() {
        ns if ns % 1_000_000 == 0 => format!("{}ms", ns / 1_000_000),
        ns if ns % 1_000 == 0 => format!("{}us", ns / 1_000),
        ns => format!("{ns}ns"),
    }
}

/// Writes a size as [`parse_size`] reads it.
pub(crate) fn show_size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1 << 30) == 0 => format!("{}G", b >> 30),
        b if b > 0 && b % (1 << 20) == 0 => format!("{}M", b >> 20),
        b if b > 0 && b % (1 << 10) == 0 => format!("{}K", b >> 10),
        b => b.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let us = |text| parse_duration(text).unwrap().as_micros();
        let all = ["250us", "20ms", "1.5s", "2m"].map(us);
        assert_eq!(all, [250, 20_000, 1_500_000, 120_000_000]);
        for text in ["5", "-5s", "5 parsecs", "s"] {
            assert!(
                parse_duration(text)
                    .unwrap_err()
                    .contains("is not a duration")
            );
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_read() {
        for text in ["250us", "20ms", "1500ms", "7ns"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_are_read_and_shown_alike() {
        for text in ["5", "1K", "64K", "3M", "2G"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
        assert_eq!(parse_size("1k"), Ok(1024));
        for text in ["1T", "17179869184G", "", "K"] {
            assert!(parse_size(text).unwrap_err().contains("is not a size"));
        }
    }
}
