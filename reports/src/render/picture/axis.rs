//! Axes: round steps, and labels with no more digits than needed.

/// What an axis says.
pub(super) struct Axis {
    /// What it measures, with its unit; may be empty.
    pub(super) title: String,
    /// Its ends.
    pub(super) range: (f64, f64),
    /// Its ticks, each with its label.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Time from `from` to `to`, ns, with about `wanted` ticks; the unit is added
    /// to the title.
    pub(super) fn time(title: &str, from: f64, to: f64, wanted: f64) -> Self {
        // Of large numbers a float is coarser than 1.
        let to = to.max(from + 1.0 + from.abs() * 1e-12);
        let (unit, ns) = unit(from.abs().max(to.abs()));
        let step = round_step((to - from) / wanted);
        let decimals = (-(step / ns).log10()).ceil().clamp(0.0, 6.0) as usize;
        let (first, last) = ((from / step - 1e-9).ceil(), (to / step + 1e-9).floor());
        let tick = |i: i64| {
            let at = i as f64 * step;
            // Zero has no sign.
            let text = format!("{:.decimals$}", at / ns + 0.0);
            (at, text.replace('-', "−"))
        };
        Self {
            title: [title, unit].join(if title.is_empty() { "" } else { ", " }),
            range: (from, to),
            ticks: (first as i64..=last as i64).map(tick).collect(),
        }
    }

    /// Whole numbers.
    pub(super) fn whole(
        title: &str,
        range: (f64, f64),
        ticks: impl Iterator<Item = usize>,
    ) -> Self {
        Self {
            title: title.to_owned(),
            range,
            ticks: ticks.map(|n| (n as f64, n.to_string())).collect(),
        }
    }
}

/// The unit for lengths up to `ns`.
fn unit(ns: f64) -> (&'static str, f64) {
    match ns {
        n if n < 2e3 => ("ns", 1.0),
        n if n < 2e6 => ("µs", 1e3),
        n if n < 5e9 => ("ms", 1e6),
        _ => ("s", 1e9),
    }
}

/// 1, 2 or 5 times a power of ten, at least `raw`.
pub(super) fn round_step(raw: f64) -> f64 {
    let raw = raw.max(1.0);
    let power = 10_f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|d| d * power >= raw * 0.999_999);
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_carry_the_digits_that_they_need() {
        for (from, to, labels) in [
            (0.0, 2.33e9, "0 500 1000 1500 2000 ms"),
            (2.33e9, 2.35e9, "2330 2335 2340 2345 2350 ms"),
            (-5e6, 12e6, "−5 0 5 10 ms"),
            (0.0, 2.5e6, "0.0 0.5 1.0 1.5 2.0 2.5 ms"),
            (10_000.0, 11_400.0, "10.0 10.5 11.0 µs"),
            (0.0, 66e9, "0 20 40 60 s"),
            (5.0, 5.0, "5 6 ns"),
        ] {
            let axis = Axis::time("", from, to, 6.0);
            let ticks: Vec<&str> = axis.ticks.iter().map(|(_, label)| &**label).collect();
            assert_eq!(format!("{} {}", ticks.join(" "), axis.title), labels);
        }
    }
}
