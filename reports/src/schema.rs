//! The JSON Schema of our files, generated from the types.

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::matrix::Matrix;
use crate::model::Run;
use crate::overview::Overview;

/// The schema of a run file, as it is kept in `schema/run-1.json`.
#[must_use]
pub fn run() -> String {
    of::<Run>("luo-trace.run/1")
}

/// The schema of `report --format json`, as it is kept in `schema/report-1.json`.
#[must_use]
pub fn report() -> String {
    of::<Overview>("luo-trace.report/1")
}

/// The schema of `matrix.json`, as it is kept in `schema/matrix-1.json`.
#[must_use]
pub fn matrix() -> String {
    of::<Matrix>("luo-trace.matrix/1")
}

fn of<T: JsonSchema>(name: &str) -> String {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    schema.insert("title".to_owned(), name.into());
    // The file says which schema it is of.
    if let Some(field) = schema.pointer_mut("/properties/schema")
        && let Some(field) = field.as_object_mut()
    {
        field.insert("const".to_owned(), name.into());
    }
    let mut text = format!("{:#}", schema.to_value());
    text.push('\n');
    text
}
