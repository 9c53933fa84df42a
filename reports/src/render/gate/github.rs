//! GitHub's workflow commands: `::error title=…::…` in the log becomes an
//! annotation of the run.

use super::{headline, sentence};
use crate::compare::Verdict;
use crate::escape::plain;
use crate::gate::{Outcome, Report, Subject};

/// An annotation per check that is no plain pass, and one for the verdict.
#[must_use]
pub fn render_github(report: &Report) -> String {
    let level = |outcome| match outcome {
        Outcome::Pass => "notice",
        Outcome::Inconclusive => "warning",
        Outcome::Regression => "error",
    };
    let faster = |subject: &Subject| matches!(subject, Subject::Comparison(row) if row.verdict == Verdict::Faster);
    let checks = report.checks.iter();
    let told = checks.filter(|check| check.outcome != Outcome::Pass || faster(&check.subject));
    let told = told.map(|check| annotation(level(check.outcome), &check.name, &sentence(check)));
    told.collect::<String>() + &annotation(level(report.verdict), "verdict", &headline(report))
}

fn annotation(level: &str, name: &str, message: &str) -> String {
    let title = property(&format!("luo-trace gate: {name}"));
    format!("::{level} title={title}::{}\n", data(message))
}

/// What a message may not hold, as the runner decodes it.
fn data(text: &str) -> String {
    let text = text
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A");
    plain(&text)
}

/// What a property may not hold beyond that.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_ends_its_field() {
        let text = annotation("error", "count(a,b::c) == 5", "50 %\r\nof it: no, none");
        let title = "luo-trace gate%3A count(a%2Cb%3A%3Ac) == 5";
        let message = "50 %25%0D%0Aof it: no, none";
        assert_eq!(text, format!("::error title={title}::{message}\n"));
    }
}
