//! `stillframe import milvus`, on records of Milvus 2.4 to 2.6.

use serde_json::{Value, json};

use super::import_world::{World, outcome};
use super::milvus_26::{COLLECTION, DELETES, SEGMENT, dump, files};

/// A service with the files in a directory of its storage.
async fn modern() -> World {
    let world = World::empty("milvus/files").await;
    for path in files() {
        let place = world.milvus.join(&path);
        std::fs::create_dir_all(place.parent().expect("a parent")).expect("made");
        std::fs::write(place, &path).expect("written");
    }
    world
}

async fn segments(world: &World, collection: &str) -> Vec<Value> {
    let list = world
        .get(&format!("/v1/collections/{collection}/segments?page_size=1000"))
        .await;
    let mut items = list["items"].as_array().expect("a list").clone();
    items.sort_by_key(|s| s["level"].to_string());
    items
}

/// What each file of some segments says, by its path.
fn contents(world: &World, segments: &[Value]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    segments.iter().for_each(|s| super::imports::paths(s, &mut paths));
    let read = |path: String| {
        let content = std::fs::read_to_string(world.dir.path().join("objects").join(&path));
        (path.clone(), content.unwrap_or_else(|e| panic!("{path}: {e}")))
    };
    paths.into_iter().map(read).collect()
}

#[tokio::test]
async fn records_of_milvus_2_6_are_imported_snapshotted_and_restored() {
    let world = modern().await;
    let ran = world.import(&dump(), &["--json"]);
    assert_eq!(outcome(&ran), ("imported".into(), [2, 0, 0, 0]), "{ran:?}");
    assert_eq!(ran.json()["collections"][0]["left_out"], json!([]), "{ran:?}");
    assert_eq!(outcome(&world.import(&dump(), &["--json"])), ("unchanged".into(), [0; 4]));

    let collection = world.get("/v1/collections/modern").await;
    let named = |name: &str| {
        let fields = collection["fields"].as_array().expect("fields");
        fields.iter().find(|f| f["name"] == name).unwrap_or(&Value::Null).clone()
    };
    assert_eq!(named("day")["default_value"], json!({"date_data": 20_000}));
    assert_eq!(named("hour")["default_value"], json!({"time_data": "3600000000"}));
    assert_eq!(named("tags")["extra"], json!({"element_nullable": true}));
    assert_eq!(
        collection["extra"],
        json!({"do_physical_backfill": true, "enable_namespace": true, "file_resource_ids": ["9007199254740993"]})
    );
    assert_eq!(
        collection["functions"][0],
        json!({"function_id": "100", "name": "bm25", "function_type": "BM25", "description": "", "input_field_ids": ["101"],
               "output_field_ids": ["102"], "params": {"bm25_k1": "1.2"}})
    );
    let structs = collection["struct_array_fields"].as_array().expect("structs");
    let names = |n: usize| [&structs[n]["fields"][0]["name"], &structs[n]["fields"][1]["name"]];
    assert_eq!(names(0), [&json!("clip[title]"), &json!("clip[vec]")]);
    assert_eq!(names(1), [&json!("shot[title]"), &json!("shot[vec]")]);
    assert_eq!(
        (&structs[0]["nullable"], &structs[0]["type_params"]),
        (&json!(true), &json!({"max_capacity": "100"}))
    );

    let imported = segments(&world, "modern").await;
    let [deletes, rows] = &imported[..] else {
        panic!("{imported:?}")
    };
    assert_eq!(
        (&deletes["segment_id"], &deletes["level"], &deletes["partition_id"]),
        (&json!(DELETES.to_string()), &json!("L0"), &json!("-1"))
    );
    for (key, value) in [
        ("segment_id", json!(SEGMENT.to_string())),
        ("level", json!("L1")),
        ("storage_version", json!(2)),
        ("is_sorted", json!(true)),
        ("commit_timestamp", json!("460000000000000893")),
    ] {
        assert_eq!(rows[key], value, "{key}: {rows}");
    }
    let group = &rows["binlogs"][0];
    assert_eq!(
        (&group["child_fields"], &group["format"]),
        (
            &json!(["0", "1", "100", "101", "103", "105", "106", "107"]),
            &json!("parquet")
        )
    );
    let mut there: Vec<(String, String)> = contents(&world, &imported);
    there.sort();
    let mut wanted: Vec<(String, String)> = files()
        .into_iter()
        .map(|path| (format!("milvus/files/{path}"), path))
        .collect();
    wanted.sort();
    assert_eq!(there, wanted);

    let created = world.service.run(&["snapshot", "create", "modern", "s1", "--json"]).json();
    assert_eq!(
        (&created["segment_count"], &created["file_count"]),
        (&json!(2), &json!(9)),
        "{created}"
    );
    let restored = world.service.run(&["restore", "s1", "copy"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    is_the_same(&world, "copy", &collection).await;

    // the same from a bundle, whose keys have nothing of where Milvus kept them
    let exported = world.service.run(&["snapshot", "export", "s1", "nightly", "--json"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let uri = exported.json()["snapshot_metadata_uri"].as_str().expect("a URI").to_string();
    let bundle = uri
        .split_once("/snapshots/")
        .expect("a root")
        .0
        .strip_prefix("file://")
        .expect("a path");
    for path in files() {
        let there = std::fs::read_to_string(std::path::Path::new(bundle).join("files").join(&path));
        assert_eq!(there.unwrap_or_else(|e| panic!("{path}: {e}")), path);
    }
    let back = world.service.run(&["restore", "--external", &uri, "back"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    is_the_same(&world, "back", &collection).await;
}

/// A restored collection has the schema, and every byte under its own ids.
async fn is_the_same(world: &World, name: &str, source: &Value) {
    let restored = world.get(&format!("/v1/collections/{name}")).await;
    for key in ["fields", "functions", "struct_array_fields", "extra", "schema_version"] {
        assert_eq!(restored[key], source[key], "{key}");
    }
    let copied = segments(world, name).await;
    assert_eq!(copied[0]["partition_id"], "-1", "deletes stay those of every partition");
    let found = contents(world, &copied);
    let target = restored["collection_id"].as_str().expect("an id");
    for (path, _) in &found {
        assert!(path.contains(&format!("/{target}/")), "{path}");
        assert!(!path.contains(&COLLECTION.to_string()) && !path.contains("milvus"), "{path}");
    }
    let mut said: Vec<String> = found.into_iter().map(|(_, content)| content).collect();
    said.sort();
    let mut wanted = files();
    wanted.sort();
    assert_eq!(said, wanted);
}
