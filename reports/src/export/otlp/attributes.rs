//! Attributes: OpenTelemetry's names where it has some, else ours, `luo_trace.…`, which
//! `luo-trace/docs/fleet.md` lists.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value as Json;

use crate::model::{Kernel, KernelSide, Run};

/// The version of OpenTelemetry's names.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// What the sender knows of the host and no run has: pairs of name and value.
pub type Extra = [(String, String)];

/// Whose telemetry it is: ours.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "luo-trace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// One of the two kernels of a run.
pub(super) fn kernel(run: &Run, side: KernelSide, extra: &Extra) -> Resource {
    let kernel = match side {
        KernelSide::Old => run.old_kernel.as_ref(),
        KernelSide::New => Some(&run.new_kernel),
    };
    let mut resource = host(run, extra);
    let own = vec![text("luo_trace.kernel.side", side.as_str())];
    let own = own
        .into_iter()
        .chain(kernel.into_iter().flat_map(kernel_facts));
    add(&mut resource.attributes, own);
    resource
}

fn kernel_facts(kernel: &Kernel) -> [KeyValue; 3] {
    let description = format!("Linux {} {}", kernel.release, kernel.version);
    [
        text("os.version", &kernel.release),
        text("os.description", &description),
        text("luo_trace.kernel.boot_id", &kernel.boot_id),
    ]
}

/// The host, whichever kernel it runs: what stays from one update to the next.
pub(super) fn host(run: &Run, extra: &Extra) -> Resource {
    let host = &run.host;
    let arch = match host.machine.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let known = [
        text("service.name", "luo-trace"),
        text("host.arch", arch),
        text("host.cpu.model.name", &host.cpu_model),
        text("os.type", "linux"),
        int("luo_trace.host.cpus", host.cpus.into()),
        int(
            "luo_trace.host.memory_bytes",
            host.memory_bytes.cast_signed(),
        ),
        text("luo_trace.host.virtualization", &host.virtualization),
    ];
    let mut attributes = extra
        .iter()
        .map(|(name, value)| text(name, value))
        .collect();
    // Metrics of hosts that differ by nothing else would be taken for one.
    let given = |wanted: &str| extra.iter().find(|(name, _)| name == wanted);
    let instance = given("host.id").or_else(|| given("host.name"));
    let instance = instance.map(|(_, value)| text("service.instance.id", value));
    add(&mut attributes, instance.into_iter().chain(known));
    Resource {
        attributes,
        ..Resource::default()
    }
}

/// Adds those whose name is not there yet.
fn add(attributes: &mut Vec<KeyValue>, more: impl IntoIterator<Item = KeyValue>) {
    for attribute in more {
        if attributes.iter().all(|there| there.key != attribute.key) {
            attributes.push(attribute);
        }
    }
}

pub(super) fn int(name: &str, value: i64) -> KeyValue {
    pair(name, Value::IntValue(value))
}

pub(super) fn text(name: &str, value: &str) -> KeyValue {
    pair(name, Value::StringValue(value.to_owned()))
}

pub(super) fn float(name: &str, value: f64) -> KeyValue {
    pair(name, Value::DoubleValue(value))
}

pub(super) fn boolean(name: &str, value: bool) -> KeyValue {
    pair(name, Value::BoolValue(value))
}

pub(super) fn texts(name: &str, values: impl Iterator<Item = String>) -> KeyValue {
    let values = values.map(|value| AnyValue {
        value: Some(Value::StringValue(value)),
    });
    let values = values.collect();
    pair(name, Value::ArrayValue(ArrayValue { values }))
}

/// An argument of a call.
pub(super) fn argument(name: &str, value: &Json) -> KeyValue {
    let name = format!("luo_trace.arg.{name}");
    match value {
        Json::Bool(value) => boolean(&name, *value),
        Json::String(value) => text(&name, value),
        Json::Number(value) => match value.as_i64() {
            Some(value) => int(&name, value),
            // A token above the largest int64 keeps its digits.
            None => text(&name, &value.to_string()),
        },
        other => text(&name, &other.to_string()),
    }
}

fn pair(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
