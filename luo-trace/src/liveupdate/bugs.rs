//! Known bugs of kernels that a live update can hit, by series.

use luo_trace_ebpf::Series;

/// One bug.
#[derive(Debug)]
pub struct Bug {
    /// First and last series that have it.
    series: (Series, Series),
    /// What happens, and how to keep clear of it.
    pub text: &'static str,
}

/// As upstream reported them; the series follow from the dates of the fixes, and a distribution may
/// have taken one over earlier. The sources of 7.2 and 7.3 have them all.
static BUGS: [Bug; 3] = [
    Bug {
        series: ((6, 19), (6, 19)),
        text: "pages of a memfd that were allocated and never written may arrive with wrong content \
               (fixed in Linux 7.0): write every page before it is preserved",
    },
    Bug {
        series: ((6, 19), (7, 1)),
        text: "the same memfd can be preserved under two tokens, and does not survive that (seen with \
               Linux 7.0; Linux 7.2 refuses it): preserve each file once",
    },
    Bug {
        series: ((7, 1), (7, 1)),
        text: "GET_NAME, which asks a session for its name, mishandles the size of its argument (fixed \
               in July 2026): `record --session-fd` may be refused",
    },
];

/// Those of a series.
pub fn of(series: Series) -> impl Iterator<Item = &'static Bug> {
    BUGS.iter()
        .filter(move |bug| bug.series.0 <= series && series <= bug.series.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_the_bugs_that_were_not_fixed_before_it() {
        let count = |series| of(series).count();
        assert_eq!(
            [(6, 18), (6, 19), (7, 0), (7, 1), (7, 2), (7, 3)].map(count),
            [0, 2, 1, 2, 0, 0]
        );
    }
}
