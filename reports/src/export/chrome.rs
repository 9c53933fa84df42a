//! Chrome's trace event JSON, for viewers that do not read protobuf.

use serde_json::{Map, Value, json};

use super::ExportError;
use super::timeline::{Call, offset, tracks};
use crate::model::{KernelSide, Run};

/// The runs as one trace; each has three processes: old kernel, gap, new kernel.
pub fn export(runs: &[Run]) -> Result<Vec<u8>, ExportError> {
    let mut writer = Writer {
        events: Vec::new(),
        offset: offset(runs),
    };
    for (number, run) in (0..).zip(runs) {
        writer.run(run, number);
    }
    let trace = json!({
        "traceEvents": writer.events,
        "displayTimeUnit": "ms",
        "otherData": {
            "kexec_ns": writer.offset,
            "time": "ns since the entry of kernel_kexec, plus kexec_ns",
        },
    });
    serde_json::to_vec(&trace).map_err(|error| ExportError::Library {
        format: "chrome",
        why: error.to_string(),
    })
}

struct Writer {
    events: Vec<Value>,
    offset: i64,
}

/// The gap's process; the kernels stand at its sides.
const GAP: u64 = 2;

fn place(kernel: KernelSide) -> u64 {
    match kernel {
        KernelSide::Old => 1,
        KernelSide::New => 3,
    }
}

impl Writer {
    /// Microseconds, as the format wants it.
    #[expect(clippy::cast_precision_loss, reason = "a double holds 100 days of ns")]
    fn us(ns: i64) -> f64 {
        ns as f64 / 1_000.0
    }

    fn time(&self, t: i64) -> f64 {
        Self::us(t.saturating_add(self.offset))
    }

    fn name(&mut self, what: &str, pid: u64, tid: usize, name: &str) {
        self.events.push(json!({
            "ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name},
        }));
    }

    fn slice(
        &mut self,
        name: &str,
        category: &str,
        (pid, tid): (u64, usize),
        (from, to): (i64, i64),
        args: &Value,
    ) {
        self.events.push(json!({
            "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid,
            "ts": self.time(from), "dur": Self::us(to.saturating_sub(from)), "args": args,
        }));
    }

    fn run(&mut self, run: &Run, number: u64) {
        let first = number * 3;
        for (place, name) in [(1, "old kernel"), (GAP, "gap"), (3, "new kernel")] {
            self.name(
                "process_name",
                first + place,
                0,
                &format!("{name}, run {}", run.id),
            );
            self.name("thread_name", first + place, 0, "phases");
            self.events.push(json!({
                "ph": "M", "name": "process_sort_index", "pid": first + place, "tid": 0,
                "args": {"sort_index": first + place},
            }));
        }
        for phase in &run.phases {
            let place = match phase.id.split('.').next() {
                Some("old") => 1,
                Some("gap") => GAP,
                _ => 3,
            };
            let args = json!({"source": phase.source.as_str(), "error_ns": phase.error_ns});
            self.slice(
                &phase.id,
                "phase",
                (first + place, 0),
                (phase.start_t, phase.end_t()),
                &args,
            );
        }
        for (tid, track) in (1..).zip(tracks(run)) {
            let pid = first + place(track.kernel);
            self.name("thread_name", pid, tid, &track.name);
            for call in &track.calls {
                self.call(call, (pid, tid), number);
            }
        }
        for mark in &run.marks {
            self.events.push(json!({
                "ph": "i", "s": "g", "name": mark.text, "cat": "mark",
                "pid": first + 3, "tid": 0, "ts": self.time(mark.t),
            }));
        }
    }

    fn call(&mut self, call: &Call<'_>, (pid, tid): (u64, usize), run: u64) {
        let span = call.span;
        let mut args: Map<String, Value> = span.args.clone();
        args.insert("cpu".to_owned(), span.cpu.into());
        if span.duration_ns.is_none() {
            args.insert("returned".to_owned(), "no".into());
        } else if let Some(ret) = span.ret {
            args.insert("ret".to_owned(), ret.into());
        }
        self.slice(
            &span.name,
            "call",
            (pid, tid),
            (span.start_t, call.end_t),
            &Value::Object(args),
        );
        let Some(flow) = call.flow else { return };
        let (phase, bind) = match span.kernel {
            KernelSide::Old => ("s", json!({})),
            KernelSide::New => ("f", json!({"bp": "e"})),
        };
        let mut arrow = json!({
            "ph": phase, "name": "preserved", "cat": "flow", "id": (run << 32) | flow,
            "pid": pid, "tid": tid, "ts": self.time(span.start_t),
        });
        if let (Some(arrow), Some(bind)) = (arrow.as_object_mut(), bind.as_object()) {
            arrow.extend(bind.clone());
        }
        self.events.push(arrow);
    }
}
