//! OpenTelemetry: a trace and metrics of each run, by the types of `opentelemetry-proto`.
//!
//! Not through its SDK: that stamps what happens now, and our stamps are past and on a clock
//! of their own. `luo-trace/docs/fleet.md` lists what is sent.

mod attributes;
mod ids;
mod metrics;
mod spans;
mod wall;

use std::fmt;

pub use attributes::Extra;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, ResourceMetrics};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use prost::Message as _;

use super::{ExportError, Exporter};
use crate::escape;
use crate::files::set::{Keep, Set};
use crate::model::Run;
use wall::Wall;

pub(super) static TRACES: Exporter = Exporter {
    name: "otlp",
    help: "OpenTelemetry traces, protobuf: one TracesData",
    binary: true,
    public: false,
    keep: Keep::All,
    write: |set| Ok(TracesData::encode_to_vec(&traces(set)?)),
};

pub(super) static METRICS: Exporter = Exporter {
    name: "otlp-metrics",
    help: "OpenTelemetry metrics, protobuf: one MetricsData",
    binary: true,
    public: true,
    keep: Keep::Figures,
    write: |set| Ok(MetricsData::encode_to_vec(&metrics(set)?)),
};

pub(super) static JSON: Exporter = Exporter {
    name: "otlp-json",
    help: "OpenTelemetry traces and metrics as the collector's file receiver reads them: \
           a line of JSON each",
    binary: false,
    public: false,
    keep: Keep::All,
    write: json,
};

/// Most spans of a request: some 600 KiB, of the 20 MiB that a collector takes.
const MOST_SPANS: usize = 2000;

/// What is sent, and where below an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Histograms and counts.
    Metrics,
}

impl Signal {
    /// Its path below the endpoint.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }

    /// What one item of it is called.
    #[must_use]
    pub const fn item(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "data points",
        }
    }

    /// The requests, protobuf, that carry it of a run; `extra` is what the sender knows of
    /// the host.
    pub fn requests(self, run: &Run, extra: &Extra) -> Result<Vec<Vec<u8>>, ExportError> {
        let wall = wall_of(run)?;
        Ok(match self {
            Self::Traces => {
                let parts = spans::of(run, wall, extra).into_iter().flat_map(split);
                let request = |resource_spans| ExportTraceServiceRequest { resource_spans };
                let requests = packed(parts).into_iter().map(request);
                requests.map(|request| request.encode_to_vec()).collect()
            }
            Self::Metrics => {
                let resource_metrics = vec![metrics::of(run, wall, extra)];
                vec![ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()]
            }
        })
    }

    /// What a server that said yes did not take or has to say; nothing where it took all.
    #[must_use]
    pub fn partial(self, answer: &[u8]) -> Option<Partial> {
        let (rejected, message) = match self {
            Self::Traces => {
                let answer = ExportTraceServiceResponse::decode(answer).ok()?;
                let partial = answer.partial_success?;
                (partial.rejected_spans, partial.error_message)
            }
            Self::Metrics => {
                let answer = ExportMetricsServiceResponse::decode(answer).ok()?;
                let partial = answer.partial_success?;
                (partial.rejected_data_points, partial.error_message)
            }
        };
        let said = rejected != 0 || !message.is_empty();
        said.then_some(Partial { rejected, message })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        })
    }
}

/// What a server said of a request that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// How many items it did not take; 0 where it only has a word to say.
    pub rejected: i64,
    /// Why.
    pub message: String,
}

/// Deals the spans of one resource out to requests.
fn split(spans: ResourceSpans) -> impl Iterator<Item = ResourceSpans> {
    let ResourceSpans {
        resource,
        scope_spans,
        schema_url,
    } = spans;
    let parts = scope_spans.into_iter().flat_map(|scope| {
        let part = |spans: &[Span]| ScopeSpans {
            scope: scope.scope.clone(),
            spans: spans.to_vec(),
            schema_url: scope.schema_url.clone(),
        };
        scope.spans.chunks(MOST_SPANS).map(part).collect::<Vec<_>>()
    });
    parts.map(move |part| ResourceSpans {
        resource: resource.clone(),
        scope_spans: vec![part],
        schema_url: schema_url.clone(),
    })
}

/// Puts parts together as far as they fit into a request.
fn packed(parts: impl Iterator<Item = ResourceSpans>) -> Vec<Vec<ResourceSpans>> {
    let count = |parts: &[ResourceSpans]| -> usize {
        let scopes = parts.iter().flat_map(|part| &part.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum()
    };
    let mut requests: Vec<Vec<ResourceSpans>> = Vec::new();
    for part in parts {
        let more = count(std::slice::from_ref(&part));
        match requests.last_mut() {
            Some(last) if count(last) + more <= MOST_SPANS => last.push(part),
            _ => requests.push(vec![part]),
        }
    }
    requests
}

fn wall_of(run: &Run) -> Result<Wall, ExportError> {
    Wall::of(run).ok_or_else(|| ExportError::NoTime {
        format: TRACES.name,
        run: run.id.clone(),
        captured_at: run.captured_at.clone(),
    })
}

fn traces(set: &Set) -> Result<TracesData, ExportError> {
    let mut resource_spans = Vec::new();
    for run in &set.runs {
        resource_spans.extend(spans::of(run, wall_of(run)?, &[]));
    }
    if resource_spans.is_empty() {
        return Err(ExportError::Nothing);
    }
    Ok(TracesData { resource_spans })
}

fn metrics(set: &Set) -> Result<MetricsData, ExportError> {
    let mut all: Vec<(Wall, &Run)> = Vec::new();
    for run in &set.runs {
        all.push((wall_of(run)?, run));
    }
    if all.is_empty() {
        return Err(ExportError::Nothing);
    }
    // A receiver that sums up deltas takes none that is older than the last.
    all.sort_by_key(|(wall, _)| wall.at(wall.all.1));
    let of = |(wall, run)| -> ResourceMetrics { metrics::of(run, wall, &[]) };
    let resource_metrics = all.into_iter().map(of).collect();
    Ok(MetricsData { resource_metrics })
}

/// A line each, as OTLP's file format has it.
fn json(set: &Set) -> Result<Vec<u8>, ExportError> {
    let traces = serde_json::to_string(&traces(set)?).map_err(|e| JSON.failed(e))?;
    let metrics = serde_json::to_string(&metrics(set)?).map_err(|e| JSON.failed(e))?;
    let lines = [traces, metrics].map(|line| escape::json(&line) + "\n");
    Ok(lines.concat().into_bytes())
}
