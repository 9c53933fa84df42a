//! How long it takes to read runs and to report on them.

#![expect(missing_docs, reason = "the macros of criterion make functions")]

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use reports::files::file;
use reports::files::set::Set;
use reports::overview::Overview;
use reports::render::picture::{self, Picture};
use reports::render::text::{TOP_OF_RUN, render_run, render_set};
use reports::render::{html, markdown};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/7.3.4-tcg.run.json");

fn set(count: i64) -> Set {
    let run = file::read(Path::new(RUN)).expect("the recorded run");
    let runs = (0..count).map(|number| {
        let mut run = run.clone();
        run.id = format!("{number}");
        for window in &mut run.windows {
            window.duration_ns += number * 1_000_003 % 97_000_000;
        }
        run
    });
    Set {
        runs: runs.collect(),
        ..Set::default()
    }
}

fn benches(criterion: &mut Criterion) {
    let text = std::fs::read_to_string(RUN).expect("the recorded run");
    let one = set(1);
    let many = set(50);
    criterion.bench_function("read one run", |b| {
        b.iter(|| file::read_str(&text, Path::new("a")));
    });
    criterion.bench_function("text of one run", |b| {
        b.iter(|| render_run(&one.runs[0], TOP_OF_RUN));
    });
    criterion.bench_function("text of 50 runs", |b| b.iter(|| render_set(&many)));
    criterion.bench_function("markdown of 50 runs", |b| {
        b.iter(|| markdown::render_set(&many));
    });
    criterion.bench_function("figures of 50 runs", |b| b.iter(|| Overview::of(&many)));
    criterion.bench_function("html of 50 runs", |b| b.iter(|| html::render(&many)));
    let runs: Vec<_> = many.runs.iter().collect();
    criterion.bench_function("svg of 50 runs", |b| {
        b.iter(|| picture::svg(Picture::Histogram, &runs));
    });
    criterion.bench_function("png of 50 runs", |b| {
        b.iter(|| picture::png(Picture::Histogram, &runs));
    });
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = benches
}
criterion_main!(group);
