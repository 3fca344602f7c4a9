//! Registering segments by batch, the JSON body included.

use std::time::Duration;

use axum::http::Method;
use criterion::{Criterion, SamplingMode, Throughput};

use super::app::App;
use super::data::Collection;
use super::summary;

/// Segments of a request.
const BATCH: i64 = 1000;
/// 5,000 segments a second.
const TARGET: Duration = Duration::from_millis(200);

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("register segments");
    group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_secs(1));
    group.sample_size(25).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(BATCH.unsigned_abs()));
    for (name, fsync) in [("batch of 1000", false), ("batch of 1000, fsync", true)] {
        let mut ready = None;
        let mut next = 0;
        group.bench_function(name, |bencher| {
            let app = ready.get_or_insert_with(|| prepare(fsync));
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let body = Collection(1).segments_body(next..next + BATCH);
                    next += BATCH;
                    let (took, _) = app.call(Method::POST, &Collection(1).segments_path(), body);
                    summary::call(&format!("register segments: {name}"), took, Some(TARGET));
                    total += took;
                }
                total
            });
        });
    }
}

fn prepare(fsync: bool) -> App {
    let app = App::start(fsync);
    app.post("/v1/collections", &Collection(1).body());
    for index in Collection(1).index_bodies() {
        app.post(&Collection(1).indexes_path(), &index);
    }
    app
}
