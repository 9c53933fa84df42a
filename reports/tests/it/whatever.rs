//! Whatever a file holds, it is refused or rendered, and what is rendered can
//! be mailed.

use std::path::Path;

use proptest::prelude::*;
use reports::files::file;
use reports::files::set::Set;
use reports::render::text::{TOP_OF_RUN, render_run, render_set};
use serde_json::{Value, json};

use crate::made::{full_run, run_without_carrier};

/// Odd values of every type that JSON has.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<f64>().prop_map(|f| json!(f)),
        any::<String>().prop_map(Value::from),
        Just(json!("restore")),
        Just(json!("a\tvery\nlong\u{1f980} name ".repeat(40))),
        Just(json!([])),
        Just(json!({})),
    ]
}

/// All leaves of a value, as JSON pointers.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(k, v)| leaves(v, &format!("{at}/{k}"), found)),
        // The tail of a long list is like its head.
        Value::Array(list) => (list.iter().take(20).enumerate())
            .for_each(|(i, v)| leaves(v, &format!("{at}/{i}"), found)),
        _ => found.push(at.to_owned()),
    }
}

fn base(carrier: bool) -> Value {
    let mut run = if carrier {
        full_run()
    } else {
        run_without_carrier(1)
    };
    run.spans.truncate(40);
    serde_json::to_value(run).unwrap()
}

/// Another value of the same type, so that the file is still a run.
fn twisted(value: &Value, number: i64, text: &str) -> Value {
    match value {
        Value::Number(n) if n.is_i64() => json!(number),
        Value::String(_) => json!(text),
        _ => value.clone(),
    }
}

fn assert_mail_ready(text: &str) {
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        assert!(line.len() <= 72, "{} columns: {line}", line.len());
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        assert!(!line.ends_with(' '), "{line:?}");
    }
}

/// Reads and renders; whether it was a run.
fn survives(text: &str) -> bool {
    let Ok(run) = file::read_str(text, Path::new("a.run.json")) else {
        return false;
    };
    let _ = run.check();
    assert_mail_ready(&render_run(&run, TOP_OF_RUN));
    assert_mail_ready(&render_run(&run, 0));
    let runs = vec![run.clone(), full_run(), run_without_carrier(2), run];
    let set = Set {
        runs,
        ..Set::default()
    };
    assert_mail_ready(&render_set(&set));
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn odd_values_anywhere(carrier in any::<bool>(),
                           twists in prop::collection::vec(
                               (any::<prop::sample::Index>(), odd(), any::<bool>()), 1..4)) {
        let mut json = base(carrier);
        let mut places = Vec::new();
        leaves(&json, "", &mut places);
        for (place, value, _) in &twists {
            *json.pointer_mut(place.get(places.as_slice()).as_str()).unwrap() = value.clone();
        }
        survives(&json.to_string());
    }

    #[test]
    fn odd_numbers_and_names_that_are_still_a_run(
        carrier in any::<bool>(),
        twists in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..u32::MAX, "\\PC{0,120}"), 1..40),
    ) {
        let mut json = base(carrier);
        let mut places = Vec::new();
        leaves(&json, "", &mut places);
        places.retain(|at| !at.starts_with("/schema") && !at.ends_with("kernel") && !at.ends_with("source"));
        for (place, number, text) in &twists {
            let leaf = json.pointer_mut(place.get(places.as_slice()).as_str()).unwrap();
            *leaf = twisted(leaf, i64::from(*number), text);
        }
        prop_assert!(survives(&json.to_string()));
    }

    #[test]
    fn times_at_the_ends_of_their_type(ends in prop::collection::vec(any::<i64>(), 12)) {
        let mut run = full_run();
        for (phase, t) in run.phases.iter_mut().zip(&ends) {
            phase.start_t = *t;
        }
        for (span, t) in run.spans.iter_mut().zip(&ends) {
            span.start_t = *t;
            span.duration_ns = Some(*t);
        }
        run.windows[1].start = ends[0];
        run.windows[1].end = ends[1];
        prop_assert!(survives(&serde_json::to_string(&run).unwrap()));
    }
}
