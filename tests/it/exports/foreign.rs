//! Bundles of what another system wrote: its files lie below a directory of its own, its metadata says
//! more than we have names for.

use std::path::Path;

use serde_json::{Value, json};

use super::round_trip::sorted_fixture;
use super::{beside, contents, exported, restored};
use crate::formats::adopt::{PREFIX, metadata_key, plan, put_files, write};
use crate::support::TestApp;
use crate::support::fixture;

/// Adopts the fixture's snapshot, `of_milvus`, after a change of its metadata file.
async fn adopted(app: &TestApp, change: impl FnOnce(&mut Value)) {
    put_files(app, PREFIX).await;
    write(app, &plan(app)).await;
    let key = metadata_key();
    let bytes = app.objects.get(&key, 1 << 20).await.expect("readable").expect("there");
    let mut metadata: Value = serde_json::from_slice(&bytes).expect("JSON");
    change(&mut metadata);
    let bytes = metadata.to_string().into_bytes();
    app.objects.put(&key, bytes).await.expect("written");
    app.post("/v1/snapshots:adopt", &json!({"prefix": PREFIX})).await.created();
}

/// Exports `of_milvus`; gives the URI of the bundle's metadata, its root, and what it says.
async fn bundle(app: &TestApp) -> (String, String, Value) {
    let uri = exported(app, "of_milvus", json!({"target_path": "nightly", "store": "shared"})).await;
    let root = uri.split_once("/snapshots/").expect("a root").0;
    let root = root.strip_prefix("file://").expect("a path").to_string();
    let text = std::fs::read(uri.strip_prefix("file://").expect("a path")).expect("readable");
    (uri, root, serde_json::from_slice(&text).expect("JSON"))
}

#[tokio::test]
async fn an_adopted_snapshot_is_exported_and_restored_byte_for_byte() {
    let shared = tempfile::tempdir().expect("a directory");
    let (here, there) = (beside(shared.path()).await, beside(shared.path()).await);
    adopted(&here, |_| {}).await;
    let (uri, root, _) = bundle(&here).await;
    for (path, content) in fixture::files() {
        let copy = std::fs::read(Path::new(&root).join("files").join(&path));
        assert!(copy.unwrap_or_else(|e| panic!("{path}: {e}")) == content, "{path}");
    }
    for app in [&there, &here] {
        restored(app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
        assert_eq!(contents(app, "back").await, sorted_fixture());
    }
}

#[tokio::test]
async fn what_only_the_other_system_says_comes_through_adoption_restore_and_export() {
    let shared = tempfile::tempdir().expect("a directory");
    let (here, there) = (beside(shared.path()).await, beside(shared.path()).await);
    adopted(&here, |m| {
        m["a_new_key"] = json!({"deep": [1, "2"]});
        m["snapshot_info"]["a_new_key"] = json!("7");
        let schema = &mut m["collection"]["schema"];
        schema["enable_namespace"] = json!(true);
        schema["file_resource_ids"] = json!(["9007199254740993"]);
        schema["fields"][2]["type_schema"] = json!({"element": "Int64"});
        schema["fields"][2]["external_field"] = json!("column");
        schema["struct_array_fields"] = json!([{"fieldID": "110", "name": "clip", "nullable": true, "a_new_key": 1,
            "type_params": [{"key": "max_capacity", "value": "100"}],
            "fields": [{"fieldID": "111", "name": "clip[title]", "data_type": "Array", "element_type": "VarChar",
                        "element_nullable": true}]},
            {"fieldID": "120", "name": "shot", "fields": [{"fieldID": "121", "name": "title", "data_type": "Array"}]},
            {"fieldID": "130", "name": "take", "fields": [{"fieldID": "131", "name": "title", "data_type": "Array"}]}]);
    })
    .await;
    let shown = async |app: &TestApp, name: &str| {
        let collection = app.get(&format!("/v1/collections/{name}")).await.ok().json;
        assert_eq!(
            collection["extra"],
            json!({"enable_namespace": true, "file_resource_ids": ["9007199254740993"]}),
            "{name}"
        );
        assert_eq!(
            collection["fields"][2]["extra"],
            json!({"type_schema": {"element": "Int64"}, "external_field": "column"})
        );
        let clip = &collection["struct_array_fields"][0];
        assert_eq!(
            (&clip["nullable"], &clip["type_params"], &clip["extra"]),
            (&json!(true), &json!({"max_capacity": "100"}), &json!({"a_new_key": 1}))
        );
        assert_eq!(
            (&clip["fields"][0]["name"], &clip["fields"][0]["extra"]),
            (&json!("clip[title]"), &json!({"element_nullable": true}))
        );
        assert_eq!(collection["struct_array_fields"][2]["fields"][0]["name"], "title");
    };
    shown(&here, "feas").await;
    crate::formats::rebuild::restore(&here, "of_milvus", "copied").await;
    shown(&here, "copied").await;
    // our own snapshot of the copy
    let own = crate::formats::rebuild::create(&here, "copied", "own").await;
    let key = own["s3_location"]
        .as_str()
        .expect("text")
        .split_once("/snapshots/")
        .expect("a key")
        .1;
    let own = here
        .objects
        .get(&format!("snapshots/{key}"), 1 << 20)
        .await
        .expect("readable");
    let own: Value = serde_json::from_slice(&own.expect("there")).expect("JSON");
    let (uri, _, exported) = bundle(&here).await;
    for file in [&own, &exported] {
        let schema = &file["collection"]["schema"];
        assert_eq!(
            (&schema["enable_namespace"], &schema["fields"][2]["type_schema"]),
            (&json!(true), &json!({"element": "Int64"}))
        );
        assert_eq!(schema["struct_array_fields"][0]["a_new_key"], 1);
        assert_eq!(schema["struct_array_fields"][0]["nullable"], true);
    }
    // of the whole file only where there is one
    assert_eq!(
        (&exported["a_new_key"], &own["a_new_key"]),
        (&json!({"deep": [1, "2"]}), &Value::Null)
    );
    assert_eq!(exported["snapshot_info"]["a_new_key"], "7");
    assert_eq!(exported["layout"], "SnapshotLayoutSelfContained");
    assert_eq!(exported["snapshot_info"]["s3_location"], json!(uri));

    restored(&there, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    shown(&there, "back").await;
    // and Milvus' clients are told what their messages have a place for, by short names
    let request = stillframe::milvus::proto::milvus::DescribeCollectionRequest {
        collection_name: "back".into(),
        ..Default::default()
    };
    let told: stillframe::milvus::proto::milvus::DescribeCollectionResponse =
        there.milvus_ok("DescribeCollection", request).await;
    let told = told.schema.expect("a schema");
    assert!(told.enable_namespace && told.struct_array_fields[0].nullable);
    assert_eq!(told.file_resource_ids, [9_007_199_254_740_993]);
    assert_eq!(told.struct_array_fields[0].fields[0].name, "title");
    assert_eq!(told.struct_array_fields[0].type_params[0].key, "max_capacity");
    assert!(told.fields.iter().any(|f| f.external_field == "column"));
}

#[tokio::test]
async fn a_bundle_whose_files_lie_in_another_directory_is_restored() {
    let shared = tempfile::tempdir().expect("a directory");
    let app = beside(shared.path()).await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 500).await;
    crate::formats::rebuild::create(&app, "c", "s").await;
    let uri = exported(&app, "s", json!({"target_path": "x", "store": "shared"})).await;
    let metadata = uri.strip_prefix("file://").expect("a path");
    let root = Path::new(metadata.split_once("/snapshots/").expect("a root").0);
    // of the same length, since the datum has lengths
    std::fs::create_dir(root.join("r")).expect("made");
    std::fs::rename(root.join("files"), root.join("r/tt1")).expect("moved");
    // as Milvus writes it: no sums
    let mut file: Value = serde_json::from_slice(&std::fs::read(metadata).expect("readable")).expect("JSON");
    file.as_object_mut().expect("an object").remove("stillframe");
    std::fs::write(metadata, file.to_string()).expect("written");
    let manifest = root
        .join("snapshots/100/manifests")
        .join(metadata.rsplit('/').next().expect("a name").replace(".json", ""));
    let manifest = manifest.join("500.avro");
    let mut bytes = std::fs::read(&manifest).expect("readable");
    let places: Vec<usize> = bytes
        .windows(7)
        .enumerate()
        .filter(|(_, w)| *w == b"/files/")
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 4);
    for at in places {
        bytes[at..at + 7].copy_from_slice(b"/r/tt1/");
    }
    std::fs::write(&manifest, bytes).expect("written");
    let job = restored(&app, json!({"snapshot_metadata_uri": uri, "collection_name": "back"})).await;
    assert_eq!(job["done_files"], 4);
    assert_eq!(contents(&app, "back").await, contents(&app, "c").await);
}
