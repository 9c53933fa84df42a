//! The JSON Schemas: what is kept is what the types say, and real files obey it.

use std::fs;
use std::path::PathBuf;

use jsonschema::Validator;
use reports::files::set::read_set;
use reports::model::Run;
use reports::overview::Overview;
use reports::schema;
use serde_json::{Value, json};

use crate::made::{full_run, run_without_carrier};
use crate::recorded::{recorded, recorded_directory, recorded_set};

/// Compares with the kept file; with `UPDATE_SCHEMA` set, writes it instead.
fn assert_kept(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(name);
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, text,
        "{name} is not what the types say: run the test with UPDATE_SCHEMA=1"
    );
}

#[test]
fn the_kept_schemas_are_what_the_types_say() {
    assert_kept("run-1.json", &schema::run());
    assert_kept("report-1.json", &schema::report());
    assert_kept("matrix-1.json", &schema::matrix());
}

fn validator(text: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn faults(validator: &Validator, value: &Value) -> Vec<String> {
    let errors = validator.iter_errors(value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path))
        .collect()
}

#[test]
fn runs_obey_the_schema() {
    let validator = validator(&schema::run());
    let made = [full_run(), run_without_carrier(0), recorded()];
    let all: Vec<Run> = made.into_iter().chain(recorded_set()).collect();
    for run in all {
        let value = serde_json::to_value(&run).unwrap();
        assert_eq!(
            faults(&validator, &value),
            Vec::<String>::new(),
            "{}",
            run.id
        );
    }
}

#[test]
fn files_as_recorded_obey_the_schema() {
    let validator = validator(&schema::run());
    let directory = recorded_directory();
    for path in read_set(&[directory.path()]).unwrap().paths {
        let value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            faults(&validator, &value),
            Vec::<String>::new(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn figures_obey_the_schema() {
    let set = read_set(&[recorded_directory().path()]).unwrap();
    let value = serde_json::to_value(Overview::of(&set)).unwrap();
    assert_eq!(
        faults(&validator(&schema::report()), &value),
        Vec::<String>::new()
    );
}

#[test]
fn a_matrix_obeys_the_schema() {
    let value = serde_json::to_value(crate::matrix::recorded()).unwrap();
    assert_eq!(
        faults(&validator(&schema::matrix()), &value),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_no_run_does_not_obey_it() {
    let validator = validator(&schema::run());
    let whole = serde_json::to_value(full_run()).unwrap();
    let broken: [(&str, Value); 4] = [
        ("schema", json!("luo-trace.run/2")),
        ("captured_at", json!(7)),
        ("spans", json!([{"id": -1}])),
        ("host", Value::Null),
    ];
    for (field, value) in broken {
        let mut run = whole.clone();
        run[field] = value;
        assert!(!validator.is_valid(&run), "{field}");
    }
    let mut later = whole;
    later["added_later"] = json!(1);
    assert!(
        validator.is_valid(&later),
        "readers ignore fields they do not know"
    );
}
