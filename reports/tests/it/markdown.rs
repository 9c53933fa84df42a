//! Whole reports in Markdown.

use std::path::PathBuf;

use reports::files::set::Set;
use reports::model::Run;
use reports::render::{markdown, text};

use crate::made::full_run;
use crate::recorded::recorded_set;

fn set(runs: Vec<Run>) -> Set {
    Set {
        paths: runs.iter().map(|run| PathBuf::from(&run.id)).collect(),
        runs,
        ..Set::default()
    }
}

#[test]
fn a_recorded_set() {
    insta::assert_snapshot!(markdown::render_set(&set(recorded_set())));
}

#[test]
fn a_recorded_set_for_mail() {
    insta::assert_snapshot!(text::render_set(&set(recorded_set())));
}

#[test]
fn one_run_begins_with_its_figures_and_folds_the_rest() {
    let page = markdown::render_run(&full_run());
    let (figures, rest) = page.split_once("<details>").unwrap();
    insta::assert_snapshot!(figures);
    assert!(rest.contains("luo-trace: restore 470.00 ms"));
}

#[test]
fn a_table_keeps_its_columns_whatever_names_hold() {
    let mut run = full_run();
    run.phases[0].id = "a|b`<img>\n".to_owned();
    let page = markdown::render_run(&run);
    let row = page.lines().find(|line| line.contains("a\\|b")).unwrap();
    assert_eq!(row.replace("\\|", "").matches('|').count(), 6, "{row}");
    assert!(!page.split_once("<details>").unwrap().0.contains("<img>"));
}
