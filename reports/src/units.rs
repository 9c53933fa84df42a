//! Lengths, shares and sizes as people read them: three or four digits and a unit.

/// Digits in tables.
const TABLE_DIGITS: u32 = 4;
/// Digits in sentences.
const SENTENCE_DIGITS: u32 = 3;
/// From here on a length is only said to be long, s.
const LONG_S: i128 = 1_000_000;

/// A length of `ns` for a sentence: `577 ms`.
pub(crate) fn brief(ns: impl Into<i128>) -> String {
    in_words(ns.into(), SENTENCE_DIGITS)
}

/// A length of `ns` with one more digit, in a sentence: `577.2 ms`.
pub(crate) fn exact(ns: impl Into<i128>) -> String {
    in_words(ns.into(), TABLE_DIGITS)
}

/// A length of `ns` in a sentence, with as many digits as an error of `error_ns` leaves, at
/// least two: `2.33418 s` where that is 16 us, `2.3 s` where it is 40 ms.
pub(crate) fn within(ns: i64, error_ns: u64) -> String {
    // Values that are all alike do not make one digit more true.
    if error_ns == 0 {
        return brief(ns);
    }
    let all = length(ns.unsigned_abs().into());
    let lost = length(error_ns.into()) - 1;
    in_words(ns.into(), all.saturating_sub(lost).max(2))
}

/// A length of `ns` for a column of 8, the digits of all units aligned:
/// `577.2 ms`, `1.234 s `.
pub(crate) fn column(ns: impl Into<i128>) -> String {
    let (number, unit) = split(ns.into(), TABLE_DIGITS);
    format!("{number:>5} {unit:<2}")
}

fn in_words(ns: i128, digits: u32) -> String {
    let (number, unit) = split(ns, digits);
    format!("{number} {unit}")
}

/// Rounds to `digits` significant digits before choosing the unit, so that
/// 999 999 ns is 1.000 ms rather than 1000.0 us.
fn split(ns: i128, digits: u32) -> (String, &'static str) {
    let sign = if ns < 0 { "-" } else { "" };
    let rounded = round(ns.unsigned_abs(), digits);
    let (unit, name) = match rounded {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let whole = rounded / unit;
    if whole >= LONG_S.unsigned_abs() {
        return (format!("{sign}>11"), "days");
    }
    let decimals = digits.saturating_sub(length(whole)).min(length(unit) - 1);
    if decimals == 0 {
        return (format!("{sign}{whole}"), name);
    }
    let step = unit / 10_u128.pow(decimals);
    let fraction = rounded % unit / step;
    let places = decimals as usize;
    (format!("{sign}{whole}.{fraction:0places$}"), name)
}

fn round(value: u128, digits: u32) -> u128 {
    let step = 10_u128.pow(length(value).saturating_sub(digits));
    (value + step / 2) / step * step
}

/// Decimal digits of a number; 1 for 0.
fn length(value: u128) -> u32 {
    value.checked_ilog10().unwrap_or(0) + 1
}

/// A share in a column of 6: ` 12.3%`; a trace that rounds to nothing is `<0.1%`.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    let text = if !percent.is_finite() || percent.abs() >= 10_000.0 {
        "-".to_owned()
    } else if percent > 0.0 && percent < 0.05 {
        "<0.1%".to_owned()
    } else {
        format!("{percent:.1}%")
    };
    format!("{text:>6}")
}

/// A percentage in a sentence: `0.7 %`, `0.012 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = match percent.abs() {
        p if !p.is_finite() => return "unknown".to_owned(),
        // What rounding leaves of a difference is nothing.
        p if p < 1e-7 => return "0.0 %".to_owned(),
        p if p >= 99.5 => 0,
        p if p >= 0.0995 => 1,
        p if p >= 0.001 => 3,
        _ => return "<0.001 %".to_owned(),
    };
    format!("{percent:.decimals$} %")
}

/// A p with two digits of what matters.
pub(crate) fn p_value(p: f64) -> String {
    match p {
        p if p < 0.0001 => "<1e-4".to_owned(),
        p if p < 0.01 => format!("{p:.4}"),
        p => format!("{p:.3}"),
    }
}

/// A shift with its sign.
pub(crate) fn signed(ns: i64) -> String {
    plus(ns, brief(ns))
}

/// An interval of shifts in the unit of its larger end, three digits: `+4.90..+5.12 ms`.
pub(crate) fn between(low: i64, high: i64) -> String {
    let widest = low.unsigned_abs().max(high.unsigned_abs());
    let (name, unit, digits) = match round(widest.into(), SENTENCE_DIGITS) {
        0..1_000 => ("ns", 1.0, 0),
        1_000..1_000_000 => ("us", 1e3, 3),
        1_000_000..1_000_000_000 => ("ms", 1e6, 3),
        _ => ("s", 1e9, 3),
    };
    let number = |ns: i64| {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let (value, widest) = (ns as f64 / unit, widest as f64 / unit);
        let decimals: usize = match widest {
            _ if digits == 0 => 0,
            w if w < 9.995 => 2,
            w if w < 99.95 => 1,
            _ => 0,
        };
        // Zero has no sign.
        let text = format!("{value:+.decimals$}");
        match text.trim_start_matches(['+', '-', '0', '.']) {
            "" => text[1..].to_owned(),
            _ => text,
        }
    };
    format!("{}..{} {name}", number(low), number(high))
}

/// The text of a length with a plus if it is one.
pub(crate) fn plus(ns: i64, text: String) -> String {
    if ns <= 0 {
        return text;
    }
    // In a column the sign goes before the number, not before the blanks.
    let (width, number) = (text.len(), text.trim_start());
    format!("{:>width$}", format!("+{number}"))
}

/// A shift as a share of what it was: `+4.9 %`.
pub(crate) fn relative(shift: i64, median: i64) -> String {
    format!("{} %", bare_relative(shift, median))
}

/// The same in percent, without the sign of that.
#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
pub(crate) fn bare_relative(shift: i64, median: i64) -> String {
    let percent = shift as f64 / median as f64 * 100.0;
    match percent.abs() {
        p if !p.is_finite() => "?".to_owned(),
        p if p >= 999.5 => format!("{}>999", if percent < 0.0 { "-" } else { "+" }),
        p if p >= 99.95 => format!("{percent:+.0}"),
        p if p >= 0.995 || shift == 0 => format!("{percent:+.1}"),
        p if p >= 0.095 => format!("{percent:+.2}"),
        p if p >= 0.0005 => format!("{percent:+.3}"),
        _ => format!("{percent:+.0}"),
    }
}

/// A frequency: `2.112345678 GHz`, or that it is unknown.
pub(crate) fn frequency(hz: f64) -> String {
    match hz {
        hz if !hz.is_finite() || hz <= 0.0 => "unknown".to_owned(),
        hz if hz >= 1e15 => "beyond 1 PHz".to_owned(),
        hz if hz >= 1e9 => format!("{:.6} GHz", hz / 1e9),
        hz => format!("{:.6} MHz", hz / 1e6),
    }
}

/// A number of bytes: `4.00 MiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1023.5 {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A number and its noun: `1 run`, `5 runs`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{n} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_read_well_at_every_scale() {
        let cases: [(i64, &str, &str); 13] = [
            (0, "0 ns", "    0 ns"),
            (7, "7 ns", "    7 ns"),
            (999, "999 ns", "  999 ns"),
            (1_000, "1.00 us", "1.000 us"),
            (12_345, "12.3 us", "12.35 us"),
            (999_949, "1.00 ms", "999.9 us"),
            (999_999, "1.00 ms", "1.000 ms"),
            (577_210_000, "577 ms", "577.2 ms"),
            (1_234_567_890, "1.23 s", "1.235 s "),
            (66_000_000_000, "66.0 s", "66.00 s "),
            (12_345_678_900_000, "12300 s", "12350 s "),
            (i64::MAX, ">11 days", "  >11 days"),
            (-1_500, "-1.50 us", "-1.500 us"),
        ];
        for (ns, sentence, table) in cases {
            assert_eq!(brief(ns), sentence);
            assert_eq!(column(ns), table);
        }
    }

    #[test]
    fn shares_bytes_and_frequencies_read_well() {
        assert_eq!(share(0.123), " 12.3%");
        assert_eq!(share(1.0), "100.0%");
        assert_eq!(share(0.000_01), " <0.1%");
        assert_eq!(share(f64::NAN), "     -");
        assert_eq!(percent(0.007), "0.7 %");
        assert_eq!(percent(0.000_999_6), "0.1 %");
        assert_eq!(percent(0.000_12), "0.012 %");
        assert_eq!(percent(-1e-17), "0.0 %");
        assert_eq!(percent(0.000_000_1), "<0.001 %");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(4 << 20), "4.00 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(frequency(2.1e9), "2.100000 GHz");
        assert_eq!(frequency(24e6), "24.000000 MHz");
        assert_eq!(frequency(0.0), "unknown");
    }

    #[test]
    fn a_length_has_the_digits_that_its_error_leaves() {
        for (ns, error, text) in [
            (2_334_182_345, 16_200, "2.33418 s"),
            (2_334_182_345, 40_000_000, "2.33 s"),
            (2_334_182_345, 400_000_000, "2.3 s"),
            (2_334_182_345, u64::MAX, "2.3 s"),
            (577_210_000, 4_000_000, "577 ms"),
            (577_210_000, 40_000, "577.21 ms"),
            (12, 1, "12 ns"),
            (2_334_182_345, 0, "2.33 s"),
            (0, 5, "0 ns"),
        ] {
            assert_eq!(within(ns, error), text);
        }
    }

    #[test]
    fn an_interval_has_one_unit_and_the_digits_of_its_larger_end() {
        assert_eq!(between(4_900_000, 5_123_000), "+4.90..+5.12 ms");
        assert_eq!(between(-70_000, 12_345_678), "-0.1..+12.3 ms");
        assert_eq!(between(-1, 300_000_000), "0..+300 ms");
        assert_eq!(between(-12, 999), "-12..+999 ns");
        assert_eq!(between(0, 0), "0..0 ns");
    }

    proptest! {
        #[test]
        fn a_length_never_outgrows_its_column(ns in any::<i64>()) {
            prop_assert!(column(ns).len() <= 11);
            prop_assert!(brief(ns).len() <= 9);
        }
    }
}
