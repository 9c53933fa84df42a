//! Lengths of windows and phases as exponential histograms, one observation a run.
//!
//! Their temporality is delta: each run adds its own, and whoever receives them sums up.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};

use super::attributes::{Extra, SCHEMA_URL, host, scope, text};
use super::wall::Wall;
use crate::model::{Outcome, Run};

/// Two to the power of this many buckets double a length: each is 0.27 % wide, and more would
/// be dropped by Prometheus.
const SCALE: i32 = 8;

/// The metrics of a run.
pub(super) fn of(run: &Run, wall: Wall, extra: &Extra) -> ResourceMetrics {
    let ended = run.outcome.as_ref().map(|ended| ended.outcome);
    let mut metrics = vec![updates(run, wall, ended)];
    // Of an update that was none, or lost something, no length is like the others.
    if ended.is_none_or(|outcome| outcome == Outcome::Done) {
        let windows = run.windows.iter().map(|window| {
            let mut attributes = vec![text("luo_trace.window", &window.name)];
            let workload = window.workload.iter();
            attributes.extend(workload.map(|name| text("luo_trace.workload", name)));
            (attributes, window.duration_ns)
        });
        let phases = run.phases.iter();
        let phases = phases.map(|p| (vec![text("luo_trace.phase", &p.id)], p.duration_ns));
        let window = "Length of a window of a live update.";
        let phase = "Length of a phase of a live update.";
        metrics.push(lengths(
            "luo_trace.window.duration",
            window,
            run,
            wall,
            windows,
        ));
        metrics.push(lengths(
            "luo_trace.phase.duration",
            phase,
            run,
            wall,
            phases,
        ));
    }
    ResourceMetrics {
        resource: Some(host(run, extra)),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(scope()),
            metrics,
            schema_url: SCHEMA_URL.to_owned(),
        }],
        schema_url: SCHEMA_URL.to_owned(),
    }
}

/// From which kernel to which.
fn kernels(run: &Run) -> Vec<KeyValue> {
    let old = run.old_kernel.iter();
    let old = old.map(|kernel| text("luo_trace.kernel.old.release", &kernel.release));
    let new = text("luo_trace.kernel.new.release", &run.new_kernel.release);
    old.chain([new]).collect()
}

fn updates(run: &Run, wall: Wall, ended: Option<Outcome>) -> Metric {
    let outcome = text(
        "luo_trace.outcome",
        ended.map_or("unknown", Outcome::as_str),
    );
    let [start, end] = between(wall);
    let point = NumberDataPoint {
        attributes: [vec![outcome], kernels(run)].concat(),
        start_time_unix_nano: start,
        time_unix_nano: end,
        value: Some(Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    Metric {
        name: "luo_trace.updates".to_owned(),
        description: "Live updates, by outcome.".to_owned(),
        unit: "{update}".to_owned(),
        data: Some(Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Delta.into(),
            is_monotonic: true,
        })),
        ..Metric::default()
    }
}

fn lengths(
    name: &str,
    description: &str,
    run: &Run,
    wall: Wall,
    lengths: impl Iterator<Item = (Vec<KeyValue>, i64)>,
) -> Metric {
    let [start, end] = between(wall);
    let points = lengths.map(|(attributes, ns)| ExponentialHistogramDataPoint {
        attributes: [attributes, kernels(run)].concat(),
        start_time_unix_nano: start,
        time_unix_nano: end,
        ..point(ns)
    });
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: "s".to_owned(),
        data: Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Delta.into(),
        })),
        ..Metric::default()
    }
}

/// The time that a run's observations are of: the run's own, so that those of one host come
/// in order, whenever they are sent.
fn between(wall: Wall) -> [u64; 2] {
    [wall.all.0, wall.all.1].map(|t| wall.at(t))
}

/// One observation; none is negative, as no such run is read.
fn point(ns: i64) -> ExponentialHistogramDataPoint {
    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
    let seconds = ns.max(0) as f64 / 1e9;
    let bucket = bucket(seconds);
    ExponentialHistogramDataPoint {
        count: 1,
        sum: Some(seconds),
        min: Some(seconds),
        max: Some(seconds),
        scale: SCALE,
        zero_count: u64::from(bucket.is_none()),
        positive: bucket.map(|offset| Buckets {
            offset,
            bucket_counts: vec![1],
        }),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// The bucket of a length: number `i` reaches from `2^(i/256)`, without it, to `2^((i+1)/256)`.
fn bucket(seconds: f64) -> Option<i32> {
    let per_doubling = f64::from(1 << SCALE);
    let place = libm::ceil(libm::log2(seconds) * per_doubling) - 1.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "lengths are 1 ns to a week"
    )]
    (seconds > 0.0).then_some(place as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_power_of_two_ends_its_bucket() {
        assert_eq!(bucket(1.0), Some(-1));
        assert_eq!(bucket(2.0), Some(255));
        assert_eq!(bucket(0.5), Some(-257));
        assert_eq!(bucket(0.0), None);
        assert_eq!(point(0).zero_count, 1);
        assert_eq!(point(0).positive, None);
    }

    proptest! {
        #[test]
        fn a_length_lies_in_its_bucket(ns in 1..604_800_000_000_000_i64) {
            let point = point(ns);
            let seconds = point.sum.unwrap();
            let offset = f64::from(point.positive.unwrap().offset);
            let [low, high] = [offset, offset + 1.0].map(|i| libm::exp2(i / 256.0));
            prop_assert!(low < seconds * (1.0 + 1e-12) && seconds <= high * (1.0 + 1e-12));
            prop_assert_eq!((point.count, point.zero_count), (1, 0));
        }
    }
}
