//! Time axes: a unit, round steps, and labels with no more digits than needed.

/// A range of time in one unit.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    /// `ns`, `us`, `ms` or `s`.
    pub(super) unit: &'static str,
    /// Nanoseconds of the unit.
    ns: f64,
    /// The ends, in the unit.
    pub(super) from: f64,
    pub(super) to: f64,
    /// From one tick to the next, in the unit.
    step: f64,
}

impl Scale {
    /// An axis from `from` to `to`, ns, with about `ticks` ticks.
    pub(super) fn new(from: f64, to: f64, ticks: u32) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let (unit, ns) = unit(from.abs().max(to.abs()));
        let step = round_step((to - from) / f64::from(ticks)) / ns;
        Self {
            unit,
            ns,
            from: from / ns,
            to: to / ns,
            step,
        }
    }

    /// A length in the unit of the axis.
    pub(super) fn of(&self, ns: i64) -> f64 {
        ns as f64 / self.ns
    }

    /// Where the ticks are, in the unit.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let first = (self.from / self.step - 1e-9).ceil() as i64;
        let last = (self.to / self.step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * self.step).collect()
    }

    /// The number at a tick.
    pub(super) fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10()).ceil().clamp(0.0, 6.0) as usize;
        let text = format!("{value:.decimals$}");
        match text.strip_prefix('-') {
            Some(zero) if zero.bytes().all(|b| matches!(b, b'0' | b'.')) => zero.to_owned(),
            Some(rest) => format!("−{rest}"),
            None => text,
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

    fn labels(from: f64, to: f64) -> String {
        let scale = Scale::new(from, to, 6);
        let labels: Vec<String> = scale.ticks().into_iter().map(|t| scale.label(t)).collect();
        format!("{} {}", labels.join(" "), scale.unit)
    }

    #[test]
    fn ticks_are_round_and_carry_the_digits_that_they_need() {
        assert_eq!(labels(0.0, 2.33e9), "0 500 1000 1500 2000 ms");
        assert_eq!(labels(2.33e9, 2.35e9), "2330 2335 2340 2345 2350 ms");
        assert_eq!(labels(-5e6, 12e6), "−5 0 5 10 ms");
        assert_eq!(labels(0.0, 2.5e6), "0.0 0.5 1.0 1.5 2.0 2.5 ms");
        assert_eq!(labels(10_000.0, 11_400.0), "10.0 10.5 11.0 µs");
        assert_eq!(labels(0.0, 66e9), "0 20 40 60 s");
        assert_eq!(labels(5.0, 5.0), "5 6 ns");
    }
}
