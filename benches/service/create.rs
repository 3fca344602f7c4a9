//! Creating a snapshot.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use axum::http::Method;
use criterion::{Criterion, SamplingMode};
use serde_json::json;

use super::app::{App, directory};
use super::data::{Collection, FILES};
use super::summary;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    fsync: bool,
    segments: i64,
    target_ms: u64,
    samples: usize,
    seconds: u64,
}

const CASES: [Case; 4] = [
    Case {
        name: "1000 segments",
        fsync: false,
        segments: 1000,
        target_ms: 60,
        samples: 40,
        seconds: 5,
    },
    Case {
        name: "10000 segments",
        fsync: false,
        segments: 10_000,
        target_ms: 600,
        samples: 10,
        seconds: 8,
    },
    Case {
        name: "1000 segments, fsync",
        fsync: true,
        segments: 1000,
        target_ms: 400,
        samples: 20,
        seconds: 10,
    },
    Case {
        name: "10000 segments, fsync",
        fsync: true,
        segments: 10_000,
        target_ms: 4000,
        samples: 10,
        seconds: 15,
    },
];

/// Segments that are replaced between two snapshots of the last bench.
const CHANGED: i64 = 10;

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("create a snapshot");
    group.sampling_mode(SamplingMode::Flat).warm_up_time(Duration::from_secs(1));
    for case in CASES {
        let mut ready = None;
        let mut number = 0;
        group
            .sample_size(case.samples)
            .measurement_time(Duration::from_secs(case.seconds));
        group.bench_function(case.name, |bencher| {
            let app = ready.get_or_insert_with(|| prepare(&case));
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    number += 1;
                    // each one as if it were the first: none shares the manifests of the one before
                    app.execute("delete from snapshot_manifests; delete from manifests");
                    app.execute("vacuum manifests");
                    app.execute("vacuum snapshot_manifests");
                    total += create(app, &case, &format!("snapshot_{number}"));
                }
                total
            });
        });
    }
    let case = Case {
        name: "1000 segments, 1% changed",
        fsync: false,
        segments: 1000,
        target_ms: 20,
        samples: 40,
        seconds: 5,
    };
    let first = Case {
        name: "1000 segments, the first of those",
        target_ms: 60,
        ..case
    };
    let mut ready = None;
    let mut number = 0;
    group
        .sample_size(case.samples)
        .measurement_time(Duration::from_secs(case.seconds));
    group.bench_function(case.name, |bencher| {
        let app = ready.get_or_insert_with(|| {
            let app = prepare(&case);
            create(&app, &first, "first");
            app
        });
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                replace(app, &case, number);
                number += 1;
                total += create(app, &case, &format!("snapshot_{number}"));
            }
            total
        });
    });
}

/// Compacts some segments into as many new ones.
fn replace(app: &App, case: &Case, round: u64) {
    let collection = Collection(1);
    let first = round as i64 * CHANGED;
    let body = collection.compaction_body(first..first + CHANGED, case.segments);
    app.call(Method::POST, &collection.compactions_path(), body);
}

/// What the disk takes for as many files, without a service: far more than 30 ms for 1,000 files
/// without fsync means that much was deleted on it in the last minutes (see [`directory`]).
fn write_files(case: &Case) {
    let parent = directory();
    let began = Instant::now();
    for n in 0..case.segments {
        let mut file = File::create(parent.join(n.to_string())).expect("creates");
        file.write_all(&[7; 4000]).expect("writes");
        if case.fsync {
            file.sync_all().expect("syncs");
        }
    }
    summary::call(&format!("only write files: {}", case.name), began.elapsed(), None);
}

fn prepare(case: &Case) -> App {
    if case.segments == 1000 {
        write_files(case);
    }
    let app = App::start(case.fsync);
    let collection = Collection(1);
    app.post("/v1/collections", &collection.body());
    for index in collection.index_bodies() {
        app.post(&collection.indexes_path(), &index);
    }
    for first in (0..case.segments).step_by(1000) {
        app.call(
            Method::POST,
            &collection.segments_path(),
            collection.segments_body(first..first + 1000),
        );
    }
    // as autovacuum would have done within a minute
    app.execute("vacuum analyze");
    app
}

/// Creates one. It stays: see [`directory`].
fn create(app: &App, case: &Case, name: &str) -> Duration {
    let body = json!({"snapshot_name": name, "collection_name": Collection(1).name(), "description": "of a bench"});
    let (took, answer) = app.post("/v1/snapshots", &body);
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(
        answer["segment_count"].to_string().trim_matches('"'),
        case.segments.to_string()
    );
    assert_eq!(
        answer["file_count"].to_string().trim_matches('"'),
        (case.segments * FILES as i64).to_string()
    );
    summary::call(
        &format!("create a snapshot: {}", case.name),
        took,
        Some(Duration::from_millis(case.target_ms)),
    );
    took
}
