//! Snapshots of Milvus in which a segment has deletes that its compaction's child holds (facts §6.1).

use serde_json::{Value, json};

use super::adopt::{PREFIX, adopt, everything, plan, put_files, write};
use super::rebuild::{collect, files, original, paths, restore, verified};
use crate::support::{TestApp, fixture};

const COLLECTION: &str = "470644622231601173";
const PARTITION: &str = "470644622231601174";
/// The two segments that have deletes.
const PARENTS: [&str; 2] = ["470644622231801182", "470644622231801183"];
/// No segment of the snapshot: what both of them were compacted into.
const CHILD: &str = "470644622231899999";

/// The fixture's files, the deletes also where the child would have them.
async fn put_all(app: &TestApp, place: &str) {
    put_files(app, PREFIX).await;
    for (path, bytes) in fixture::files() {
        if path.starts_with("delta_log/") {
            let log = path.rsplit('/').next().expect("a name");
            let key = format!("{PREFIX}/delta_log/{place}/{log}");
            app.objects.put(&key, bytes).await.expect("written");
        }
    }
}

fn of_child() -> String {
    format!("{COLLECTION}/{PARTITION}/{CHILD}")
}

fn deletes_of(segments: &[&str], place: &str) -> Value {
    segments
        .iter()
        .map(|id| ((*id).to_string(), json!(place)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Adopts a snapshot whose deletes all lie in the child's directory.
async fn adopted(app: &TestApp) {
    put_all(app, &of_child()).await;
    // only the child's are left
    let own: Vec<String> = everything(app).await;
    let own = own
        .into_iter()
        .filter(|key| key.contains("/delta_log/") && !key.contains(CHILD));
    assert!(app.objects.delete(own.collect()).await.is_empty());
    let mut plan = plan(app);
    plan["deltas_of"] = deletes_of(&PARENTS, &of_child());
    write(app, &plan).await;
    adopt(app, json!({"prefix": PREFIX})).await;
}

async fn deletes_lie_with_their_segments(app: &TestApp, collection: &str) {
    let segments = app.get(&format!("/v1/collections/{collection}/segments")).await.ok().json;
    let mut deletes = 0;
    for segment in segments["items"].as_array().expect("items") {
        let mut found = std::collections::BTreeSet::new();
        paths(&segment["deltalogs"], &mut found);
        let id = segment["segment_id"].as_str().expect("id");
        assert!(found.iter().all(|path| path.contains(&format!("/{id}/"))), "{id}: {found:?}");
        deletes += found.len();
    }
    assert_eq!(deletes, 2);
}

#[tokio::test]
async fn deletes_that_a_compactions_child_holds_are_adopted_restored_and_materialized() {
    let app = TestApp::local().await;
    adopted(&app).await;
    let theirs = everything(&app).await;
    verified(&app, "of_milvus").await;
    restore(&app, "of_milvus", "copied").await;
    assert!(files(&app, "copied").await == original(), "other files, or other bytes");
    deletes_lie_with_their_segments(&app, "copied").await;

    // neither the collector nor a drop takes what is the other system's
    collect(&app).await;
    assert_eq!(everything(&app).await, theirs);
    app.post("/v1/collections/feas/materialize", &json!({})).await.expect(202);
    app.drain().await;
    assert_eq!(app.get("/v1/collections/feas").await.ok().json["ownership"], "owned");
    collect(&app).await;
    assert_eq!(everything(&app).await, theirs);
    assert!(app.objects.delete(theirs).await.is_empty());
    for collection in ["feas", "copied"] {
        assert!(files(&app, collection).await == original(), "other files, or other bytes");
        deletes_lie_with_their_segments(&app, collection).await;
    }
    verified(&app, "of_milvus").await;
}

#[tokio::test]
async fn a_bundle_with_deletes_of_a_compactions_child_is_written_and_restored() {
    let shared = tempfile::tempdir().expect("a directory");
    let (here, there) = (
        crate::exports::beside(shared.path()).await,
        crate::exports::beside(shared.path()).await,
    );
    adopted(&here).await;
    let to = json!({"target_path": "nightly", "store": "shared"});
    let uri = crate::exports::exported(&here, "of_milvus", to).await;
    let back = json!({"snapshot_metadata_uri": uri, "collection_name": "back"});
    crate::exports::restored(&there, back).await;
    assert!(files(&there, "back").await == original(), "other files, or other bytes");
    deletes_lie_with_their_segments(&there, "back").await;
}

#[tokio::test]
async fn deletes_of_other_partitions_and_two_of_one_name_are_refused() {
    for (key, place, words) in [
        (
            "deltas_of",
            format!("{COLLECTION}/470644622231801189/{CHILD}"),
            "is a path of partition 470644622231801189",
        ),
        ("deltas_of", format!("1/{PARTITION}/{CHILD}"), "is a path of collection 1"),
        ("deltas_also_of", of_child(), "which a copy would call the same"),
    ] {
        let app = TestApp::local().await;
        put_all(&app, &place).await;
        let mut plan = plan(&app);
        plan[key] = deletes_of(&PARENTS[..1], &place);
        write(&app, &plan).await;
        let answer = app.post("/v1/snapshots:adopt", &json!({"prefix": PREFIX})).await;
        assert!(answer.json.to_string().contains(words), "{words}: {}", answer.json);
        assert_eq!(answer.status.as_u16(), 422, "{}", answer.json);
        assert_eq!(app.get("/v1/collections").await.ok().json["items"], json!([]), "{words}");
    }
}
