//! OpenTelemetry: what a recorded run becomes, and what holds of any.

use std::collections::HashSet;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message as _;
use reports::export::Exporter;
use reports::export::otlp::Signal;
use reports::files::set::{Set, read_set};
use reports::model::Run;
use serde_json::Value;

use crate::made::{full_run, run, spread};
use crate::recorded::{GUEST, recorded, unpacked};

/// Ours, each of which the documentation explains.
const DOCS: &str = include_str!("../../../luo-trace/docs/fleet.md");

fn set(runs: Vec<Run>) -> Set {
    Set {
        runs,
        ..Set::default()
    }
}

fn export(format: &str, runs: Vec<Run>) -> Vec<u8> {
    Exporter::named(format).unwrap().export(&set(runs)).unwrap()
}

fn json(runs: Vec<Run>) -> [Value; 2] {
    let text = String::from_utf8(export("otlp-json", runs)).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect::<Vec<_>>().try_into().unwrap()
}

/// Drops what is empty, as protobuf's own JSON does.
fn shortened(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(_) => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(k, v)| (k, shortened(v)));
            fields.filter(|(_, v)| !is_empty(v)).collect()
        }
        Value::Array(items) => items.into_iter().map(shortened).collect(),
        other => other,
    }
}

#[test]
fn a_recorded_run_as_json() {
    let mut run = recorded();
    // The first calls and those that hand over; all of them would be 400 KiB.
    let kept = |span: &reports::model::Span| span.args.contains_key("token");
    let kept: HashSet<u32> = run.spans.iter().filter(|s| kept(s)).map(|s| s.id).collect();
    let mut most = 0;
    run.spans.retain(|span| {
        most += 1;
        most <= 4 || (kept.contains(&span.id) && span.parent.is_none_or(|p| kept.contains(&p)))
    });
    let lines = json(vec![run]).map(|line| {
        let line = shortened(line).to_string();
        // A line for each span, event, link and data point.
        line.replace("{\"attributes\"", "\n{\"attributes\"")
    });
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_same_run_is_the_same_trace() {
    let once = export("otlp", vec![run(1)]);
    assert_eq!(once, export("otlp", vec![run(1)]));
    let ids = |bytes: &[u8]| -> HashSet<Vec<u8>> {
        let data = TracesData::decode(bytes).unwrap();
        let scopes = data.resource_spans.into_iter().flat_map(|r| r.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        spans.map(|span| span.trace_id).collect()
    };
    assert_eq!(ids(&export("otlp", spread(50))).len(), 50);
}

#[test]
fn every_attribute_is_documented() {
    let mut named = HashSet::new();
    let guest = read_set(&[unpacked(GUEST).path()]).unwrap().runs;
    for value in json([guest, vec![full_run(), recorded()]].concat()) {
        names(&value, &mut named);
    }
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        let name = match name.split_once("luo_trace.arg.") {
            Some(_) => "luo_trace.arg.NAME",
            None => &name,
        };
        assert!(DOCS.contains(&format!("`{name}`")), "{name}");
    }
}

/// The names of all attributes and metrics in there.
fn names(value: &Value, named: &mut HashSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| names(item, named)),
        Value::Object(fields) => {
            let key = fields.get("key").and_then(Value::as_str);
            let metric = fields.get("unit").and_then(|_| fields["name"].as_str());
            named.extend(key.into_iter().chain(metric).map(str::to_owned));
            fields.values().for_each(|value| names(value, named));
        }
        _ => {}
    }
}

#[test]
fn requests_are_bounded_and_carry_what_the_sender_knows_of_the_host() {
    let mut run = full_run();
    let call = run.spans[0].clone();
    run.spans = (0..5000)
        .map(|id| reports::model::Span {
            id,
            parent: None,
            ..call.clone()
        })
        .collect();
    let extra = [("host.name".to_owned(), "web-1".to_owned())];
    let requests = Signal::Traces.requests(&run, &extra).unwrap();
    assert!(requests.len() >= 3);
    let mut spans = 0;
    for request in &requests {
        let request = ExportTraceServiceRequest::decode(request.as_slice()).unwrap();
        let mut inside = 0;
        for part in &request.resource_spans {
            let resource = format!("{:?}", part.resource);
            assert!(resource.contains("web-1") && resource.contains("service.instance.id"));
            inside += part.scope_spans[0].spans.len();
        }
        assert!(inside <= 2000);
        spans += inside;
    }
    let guests: usize = run.guests.iter().map(|guest| guest.phases.len()).sum();
    let expected = 1 + run.windows.len() + run.phases.len() + guests + 5000;
    assert_eq!(spans, expected);
}

#[test]
fn what_a_server_did_not_take_is_read() {
    let answer = |rejected_spans, error_message: &str| {
        let partial = ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        };
        let partial_success = Some(partial);
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    };
    let partial = Signal::Traces.partial(&answer(3, "too old")).unwrap();
    assert_eq!((partial.rejected, &*partial.message), (3, "too old"));
    for nothing in [&answer(0, "")[..], b"", b"\xff\xff<html>"] {
        assert_eq!(Signal::Traces.partial(nothing), None);
    }
}

#[test]
fn a_run_without_a_date_is_refused_by_name() {
    let mut run = run(1);
    run.captured_at = "yesterday".to_owned();
    let error = Signal::Metrics.requests(&run, &[]).unwrap_err().to_string();
    assert!(error.contains("captured_at is no time"), "{error}");
}
