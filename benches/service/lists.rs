//! Describing and listing in a catalog of 10,000 snapshots.

use std::time::Duration;

use criterion::Criterion;
use serde_json::json;

use super::app::App;
use super::data::Collection;
use super::summary;

const TARGET: Duration = Duration::from_millis(3);

/// 100 collections, each with a snapshot made by the service and 99 copies of its rows.
pub const COLLECTIONS: i64 = 100;

const COPY: &str = "
    insert into snapshots
    select (s.twin).* from (
      select jsonb_populate_record(s, jsonb_build_object('snapshot_id', s.snapshot_id + n, 'name', s.name || '_' || n,
               'created_at', s.created_at - n * interval '1 minute', 'committed_at', s.committed_at - n * interval '1 minute')) as twin
        from snapshots s, generate_series(1, 99) n) s;
    insert into snapshot_descriptions
    select d.snapshot_id + n, d.description from snapshot_descriptions d, generate_series(1, 99) n;
    vacuum analyze";

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("of 10000 snapshots");
    let mut ready = None;
    for (name, path) in [
        ("describe", "/v1/snapshots/nightly_42_17"),
        (
            "describe with the collection",
            "/v1/snapshots/nightly_42_17?include_collection_info=true",
        ),
        (
            "describe by name and collection",
            "/v1/snapshots/nightly_42_17?collection_name=collection_42",
        ),
        ("first page of all", "/v1/snapshots"),
        ("first page of a collection", "/v1/snapshots?collection_name=collection_42"),
        ("first page of a label", "/v1/snapshots?labels=team=search_7"),
    ] {
        group.bench_function(name, |bencher| {
            let app = ready.get_or_insert_with(prepare);
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let (took, _) = app.get(path);
                    summary::call(&format!("of 10000 snapshots: {name}"), took, Some(TARGET));
                    total += took;
                }
                total
            });
        });
    }
}

pub fn prepare() -> App {
    let app = App::start(false);
    for n in 0..COLLECTIONS {
        let collection = Collection(n);
        app.post("/v1/collections", &collection.body());
        for index in collection.index_bodies() {
            app.post(&collection.indexes_path(), &index);
        }
        app.post(
            "/v1/snapshots",
            &json!({"snapshot_name": format!("nightly_{n}"), "collection_name": collection.name(), "description": "every night",
                "labels": {"team": format!("search_{}", n % 10), "keep": "yes"}}),
        );
    }
    for statement in COPY.split(';') {
        app.execute(statement);
    }
    let (_, answer) = app.get("/v1/snapshots");
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(100), "{answer}");
    app
}
