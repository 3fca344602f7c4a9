//! `stillframe import milvus`, on what a real Milvus 2.3.5 wrote into its etcd and its storage.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::etcd::{Etcd, Watch};
use super::import_world::{Dump, World, assert_holds, by_id, dump, encoded, expected, outcome, prefix_paths};
use super::process::Ran;
use crate::support::fixture;

#[tokio::test]
async fn a_dump_is_registered_as_the_catalog_says_and_a_restored_snapshot_has_every_byte() {
    let world = World::new("milvus/files").await;
    let dry = world.import(&dump(), &["--json", "--dry-run"]);
    assert_eq!(outcome(&dry), ("imported".into(), [4, 0, 0, 0]));
    let none = world.get("/v1/collections").await;
    assert_eq!(none["items"], json!([]), "a dry run changes nothing");

    let file = fixture::directory().join("etcd-dump.json");
    let ran = world.import_from(&["--dump", file.to_str().expect("UTF-8")], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for text in [
        "default   feas        imported         4  9,000     48      4        0        0",
        "feas        index build      4  finished without files",
        "at revision 126",
    ] {
        assert!(ran.out.contains(text), "{text}: {}", ran.out);
    }
    assert!(!ran.out.contains("warning"), "{}", ran.out);

    let mut wanted = expected();
    prefix_paths(&mut wanted, "milvus/files/");
    let catalog = by_id(world.catalog().await);
    assert_holds(&wanted, &catalog, "");
    assert_eq!(catalog["collection"]["ownership"], "external");

    let again = world.import(&dump(), &["--json"]);
    assert_eq!(outcome(&again), ("unchanged".into(), [0; 4]));
    assert_eq!(by_id(world.catalog().await), catalog, "nothing was touched");

    let created = world.service.run(&["snapshot", "create", "feas", "s1", "--json"]).json();
    assert_eq!((&created["file_count"], &created["protection"]), (&48.into(), &"none".into()));
    let restored = world.service.run(&["restore", "s1", "copy"]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let copy = world.get("/v1/collections/copy/segments?page_size=1000").await;
    compare_bytes(&copy["items"], world.dir.path());
    assert_eq!(world.get("/v1/collections/copy").await["ownership"], "owned");

    // a bundle has nothing of where Milvus kept the files
    let exported = world.service.run(&["snapshot", "export", "s1", "nightly", "--json"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let uri = exported.json()["snapshot_metadata_uri"].as_str().expect("a URI").to_string();
    let bundle = uri
        .split_once("/snapshots/")
        .expect("a root")
        .0
        .strip_prefix("file://")
        .expect("a path");
    for (path, content) in fixture::files() {
        let there = std::fs::read(Path::new(bundle).join("files").join(&path));
        assert!(there.unwrap_or_else(|e| panic!("{path}: {e}")) == content, "{path}");
    }
    let back = world.service.run(&["restore", "--external", &uri, "back"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    let back = world.get("/v1/collections/back/segments?page_size=1000").await;
    compare_bytes(&back["items"], world.dir.path());

    // the source's files are kept from no one, and never deleted from here
    let gc = world.service.run(&["gc", "run", "--grace-seconds", "0", "--json"]).json();
    assert_eq!(gc["objects"], 0);
    world.service.run(&["collection", "drop", "feas", "--cascade"]);
    let gc = world.service.run(&["gc", "run", "--grace-seconds", "0", "--json"]).json();
    assert_eq!((&gc["segments"], &gc["failed_objects"]), (&4.into(), &0.into()));
    for (key, content) in fixture::files() {
        assert_eq!(std::fs::read(world.milvus.join(&key)).expect("still there"), content, "{key}");
    }
}

/// Every file of the fixture lies once at the root, under the ids of the restored segments.
fn compare_bytes(segments: &Value, data_dir: &Path) {
    let mut restored = Vec::new();
    paths(segments, &mut restored);
    let mut restored: Vec<Vec<u8>> = restored
        .iter()
        .map(|path| {
            assert!(!path.starts_with("milvus/"), "{path}");
            std::fs::read(data_dir.join("objects").join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
        })
        .collect();
    let mut source: Vec<Vec<u8>> = fixture::files().into_iter().map(|(_, content)| content).collect();
    restored.sort();
    source.sort();
    assert!(restored == source, "the restored bytes differ");
}

pub fn paths(value: &Value, found: &mut Vec<String>) {
    if let Some(path) = value["path"].as_str() {
        found.push(path.to_string());
    }
    value
        .as_object()
        .into_iter()
        .flat_map(|o| o.values())
        .for_each(|v| paths(v, found));
    value.as_array().into_iter().flatten().for_each(|v| paths(v, found));
}

const DELETES: &str = "deltalog/470644622231601173/470644622231601174/470644622231801182/0";
const SEGMENT: &str = "470644622231801192";

#[tokio::test]
async fn importing_again_follows_milvus() {
    let world = World::new("").await;
    let mut early = dump();
    let whole = early.clone();
    // before an index, a deletion, a partition, an alias and a property
    early
        .retain(|key, _| !key.contains("segment-index/") && !key.contains("field-index/") && !key.contains("470644622231801189"));
    let deletes = early.keys().find(|k| k.ends_with(DELETES)).expect("there").clone();
    early.insert(deletes, Vec::new());
    let first = world.import(&early, &["--json"]);
    assert_eq!(outcome(&first), ("imported".into(), [2, 0, 0, 0]));
    let shared = first.json()["warnings"][0].as_str().expect("a warning").to_string();
    assert!(shared.contains("Milvus' own"), "{shared}");
    let before = world.service.run(&["snapshot", "create", "feas", "before", "--json"]).json();
    assert_eq!(before["num_of_rows"], 8000);

    let second = world.import(&whole, &["--json"]);
    assert_eq!(outcome(&second), ("updated".into(), [2, 1, 0, 4]));
    assert_holds(&expected(), &by_id(world.catalog().await), "");

    // one segment is compacted away, one is growing; the collection has another name, an alias and a property
    let mut later = whole;
    let info = later
        .iter_mut()
        .find(|(k, _)| k.contains("/meta/root-coord/database/collection-info/1/"))
        .map(|(_, v)| v)
        .expect("there");
    let name = info.windows(4).position(|w| w == b"feas").expect("its name");
    info[name..name + 4].copy_from_slice(b"past");
    // field 14, a pair: (1: "a", 2: "b")
    info.extend([0x72, 6, 0x0a, 1, b'a', 0x12, 1, b'b']);
    later.retain(|key, _| !key.contains(SEGMENT));
    let growing = later
        .iter_mut()
        .find(|(k, _)| k.contains("datacoord-meta/s/") && k.ends_with("470644622231801193"))
        .map(|(_, v)| v)
        .expect("there");
    let state = growing.windows(2).position(|w| w == [0x30, 4]).expect("flushed");
    growing[state + 1] = 2;
    // alias "now" of the collection
    let mut alias = vec![0x0a, 3, b'n', b'o', b'w', 0x10];
    let mut id: u64 = 470_644_622_231_601_173;
    while id > 0x7f {
        alias.push((id & 0x7f) as u8 | 0x80);
        id >>= 7;
    }
    alias.push(id as u8);
    later.insert("by-dev/meta/root-coord/database/aliases/1/now".into(), alias);
    later.insert(
        "by-dev/meta/root-coord/database/aliases/1/never".into(),
        vec![0xE2, 0x9B, 0xBC],
    );

    let third = world.import(&later, &["--json"]);
    assert_eq!(outcome(&third), ("updated".into(), [0, 0, 2, 0]));
    let left_out = &third.json()["collections"][0]["left_out"];
    assert!(
        left_out
            .as_array()
            .expect("a list")
            .contains(&json!({"what": "segment", "reason": "growing, not flushed", "count": 1})),
        "{left_out}"
    );
    let past = world.get("/v1/collections/now").await;
    assert_eq!((&past["name"], &past["properties"]), (&"past".into(), &json!({"a": "b"})));
    assert_eq!((&past["segment_count"], &past["aliases"]), (&2.into(), &json!(["now"])));
    assert_eq!(outcome(&world.import(&later, &["--json"])), ("unchanged".into(), [0; 4]));
    let before = world.get("/v1/snapshots/before").await;
    assert_eq!(before["num_of_rows"], 8000, "a snapshot stays what it was");
}

#[tokio::test]
async fn segments_of_a_partition_that_is_being_dropped_are_left_out() {
    let world = World::new("files").await;
    let mut dump = dump();
    let partition = dump
        .iter_mut()
        .find(|(k, _)| k.ends_with("/meta/root-coord/partitions/470644622231601173/470644622231801189"));
    // field 5, the state: dropping
    partition.expect("there").1.extend([0x28, 2]);
    let ran = world.import(&dump, &["--json"]);
    assert_eq!(outcome(&ran), ("imported".into(), [2, 0, 0, 0]));
    let left_out = &ran.json()["collections"][0]["left_out"];
    assert_eq!(
        left_out[0],
        json!({"what": "segment", "reason": "of a partition that is being dropped", "count": 2})
    );
    let found = world.get("/v1/collections/feas").await;
    assert_eq!((&found["num_of_rows"], &found["partitions"][1]), (&8000.into(), &Value::Null));
}

#[tokio::test]
async fn what_can_not_be_imported_says_why_and_leaves_nothing() {
    let world = World::new("files").await;
    let refused = |ran: Ran, code: i32, texts: &[&str]| {
        assert_eq!(ran.code, Some(code), "{ran:?}");
        for text in texts {
            assert!(ran.err.contains(text), "{text}: {ran:?}");
        }
    };
    let nonsense = world.file("nonsense", b"{\"kvs\": [{\"key\": \"!\"}]}");
    refused(world.import_from(&["--dump", &nonsense], &[]), 1, &["is no dump of etcd"]);
    refused(world.import_from(&["--dump", "/nowhere"], &[]), 1, &["can't read /nowhere"]);
    refused(world.import_from(&[], &[]), 2, &["--etcd", "--dump"]);
    refused(
        world.import(&dump(), &["--etcd-root", "other/meta"]),
        1,
        &["no Milvus catalog below \"other/meta\"", "may be by-dev/meta"],
    );
    refused(
        world.import(&dump(), &["--collection", "nope"]),
        2,
        &["no collection \"nope\""],
    );
    refused(
        world.import_from(&["--etcd", "http://127.0.0.1:1"], &[]),
        5,
        &["no answer from etcd"],
    );
    refused(
        world.import_from(&["--etcd", "http://u:p@127.0.0.1:1"], &[]),
        2,
        &["STILLFRAME_ETCD_PASSWORD"],
    );

    // a storage that the service does not have, and one in which the files are not
    let file = world.file(
        "whole.json",
        &std::fs::read(fixture::directory().join("etcd-dump.json")).expect("there"),
    );
    let elsewhere = ["import", "milvus", "--dump", &file, "--storage"];
    let root = format!("file://{}", world.dir.path().join("objects").display());
    refused(
        world.service.run(&[&elsewhere[..], &["file:///elsewhere"]].concat()),
        2,
        &["file:///elsewhere/", &root, "not in the second"],
    );
    refused(
        world.service.run(&[&elsewhere[..], &[&root]].concat()),
        1,
        &["is not in the service's storage", "minio.rootPath"],
    );

    // records that are no records, of a field and of a segment
    for key in [
        "root-coord/fields/470644622231601173/104",
        "datacoord-meta/s/470644622231601173/",
    ] {
        let mut broken = dump();
        let value = broken
            .iter_mut()
            .find(|(k, _)| k.contains(&format!("/meta/{key}")))
            .map(|(_, v)| v)
            .expect("there");
        value.truncate(value.len() - 1);
        refused(
            world.import(&broken, &[]),
            1,
            &["1 of 1 collection could not be imported", key, "can't be read"],
        );
    }
    let mut unknown = dump();
    let field = unknown
        .iter_mut()
        .find(|(k, _)| k.ends_with("/meta/root-coord/fields/470644622231601173/100"))
        .map(|(_, v)| v)
        .expect("there");
    *field.last_mut().expect("its type") = 99;
    refused(world.import(&unknown, &[]), 1, &["unknown data type 99"]);
    assert_eq!(world.get("/v1/collections").await["items"], json!([]));

    // a single file that is gone: the definitions come, no segment does, and no snapshot can be taken of that
    let gone = world
        .milvus
        .join("index_files/470644622232001213/1/470644622231601174/470644622231801182/HNSW");
    let content = std::fs::read(&gone).expect("there");
    std::fs::remove_file(&gone).expect("removed");
    refused(world.import(&dump(), &[]), 1, &["470644622231801182/HNSW", "file_missing"]);
    let half = world.get("/v1/collections/feas").await;
    assert_eq!(half["segment_count"], 0);
    let early = world.service.run(&["snapshot", "create", "feas", "s1"]);
    assert!(early.err.contains("channel_without_position"), "{early:?}");
    std::fs::write(&gone, content).expect("back");
    assert_eq!(outcome(&world.import(&dump(), &["--json"])), ("updated".into(), [4, 0, 0, 0]));

    // Milvus dropped it, and nothing else is there: said, and left
    let mut without = dump();
    without.retain(|key, _| !key.contains("collection-info/1/"));
    let absent = world.import(&without, &["--db", "default"]);
    assert!(
        absent.code == Some(0) && absent.out.contains("feas absent: it is external and not in this Milvus"),
        "{absent:?}"
    );

    // Milvus dropped it and made another of its name
    world.service.run(&["collection", "drop", "feas"]);
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let other = json!({"name": "feas", "fields": fields});
    let made = client
        .post(format!("{}/v1/collections", world.service.url))
        .json(&other)
        .send()
        .await;
    assert_eq!(made.expect("an answer").status().as_u16(), 201);
    refused(
        world.import(&dump(), &[]),
        1,
        &["could not be imported", "is the service's own collection here"],
    );
}

// the server before etcd runs here, while a command is waited for
#[tokio::test(flavor = "multi_thread")]
async fn a_running_etcd_is_read_at_one_revision_and_never_written() {
    let world = World::new("files").await;
    let etcd = Etcd::start().await;
    etcd.put(&encoded(&dump())).await;
    // more than a page of one kind: what is left of a segment that Milvus has collected
    let left: Dump = (0..1200)
        .map(|n| {
            (
                format!("by-dev/meta/datacoord-meta/binlog/470644622231601173/1/2/{n}"),
                Vec::new(),
            )
        })
        .collect();
    etcd.put(&encoded(&left)).await;

    // after the first request, which learns the revision, Milvus goes on: the collection is dropped
    let everything = json!({"key": STANDARD.encode("by-dev/meta/"), "range_end": STANDARD.encode("by-dev/meta0")});
    let watch = Watch::before(&etcd, move |n| (n == 2).then(|| ("kv/deleterange", everything.clone()))).await;
    let ran = world.import_from(&["--etcd", &watch.url], &["--json"]);
    assert_eq!(outcome(&ran), ("imported".into(), [4, 0, 0, 0]));
    let mut wanted = expected();
    prefix_paths(&mut wanted, "files/");
    assert_holds(&wanted, &by_id(world.catalog().await), "");
    let asked = watch.paths();
    assert!(
        asked.len() > 10 && asked.iter().all(|path| path == "/v3/kv/range"),
        "{asked:?}"
    );

    // now there is none, which is not the same as an empty Milvus
    let ran = world.import_from(&["--etcd", &etcd.url], &[]);
    assert!(
        ran.code == Some(1) && ran.err.contains("etcd holds no Milvus catalog below \"by-dev/meta\""),
        "{ran:?}"
    );

    // a revision that etcd has forgotten while it was read
    etcd.put(&encoded(&dump())).await;
    let revision = |answer: Value| answer["header"]["revision"].as_str().expect("a number").to_string();
    let now = revision(etcd.call("kv/range", json!({"key": "AA=="})).await);
    let put = etcd.call("kv/put", json!({"key": "AA=="})).await;
    let newer = revision(put);
    assert_ne!(now, newer);
    let watch = Watch::before(&etcd, move |n| match n {
        2 => Some(("kv/put", json!({"key": "AA=="}))),
        3 => Some((
            "kv/compaction",
            json!({"revision": (newer.parse::<i64>().expect("a number") + 1).to_string()}),
        )),
        _ => None,
    })
    .await;
    let ran = world.import_from(&["--etcd", &watch.url], &[]);
    assert!(ran.code == Some(1) && ran.err.contains("run the import again"), "{ran:?}");
}

#[tokio::test]
async fn an_etcd_that_wants_a_password_gets_it_from_the_environment() {
    let world = World::new("files").await;
    let etcd = Etcd::start().await;
    etcd.put(&encoded(&dump())).await;
    etcd.call("auth/user/add", json!({"name": "root", "password": "secret-word"}))
        .await;
    etcd.call("auth/role/add", json!({"name": "root"})).await;
    etcd.call("auth/user/grant", json!({"user": "root", "role": "root"})).await;
    etcd.call("auth/enable", json!({})).await;
    let denied = world.import_from(&["--etcd", &etcd.url], &[]);
    assert!(denied.code == Some(1) && denied.err.contains("--etcd-user"), "{denied:?}");

    let storage = format!("file://{}", world.milvus.display());
    let args = [
        "import",
        "milvus",
        "--etcd",
        &etcd.url,
        "--etcd-user",
        "root",
        "--storage",
        &storage,
        "--json",
    ];
    let with = |password: &str| -> Ran {
        let mut command = world.service.client(&args);
        command.env("STILLFRAME_ETCD_PASSWORD", password);
        command.output().expect("runs").into()
    };
    let wrong = with("another-word");
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(!wrong.err.contains("another-word"), "{wrong:?}");
    assert_eq!(outcome(&with("secret-word")), ("imported".into(), [4, 0, 0, 0]));
}

#[tokio::test]
async fn an_imported_collection_is_materialized_and_importing_again_says_so_and_mixes_nothing() {
    for below in ["milvus/files", ""] {
        let world = World::new(below).await;
        assert_eq!(world.import(&dump(), &[]).code, Some(0));
        assert_eq!(world.service.run(&["snapshot", "create", "feas", "s1"]).code, Some(0));
        let ran = world.service.run(&["collection", "materialize", "feas"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.out
                .starts_with("materialized collection feas: 4 segments, 48 files, 8.5 MiB in "),
            "{ran:?}"
        );
        assert!(
            ran.err.contains("warning: the collection's files belong to another system"),
            "{ran:?}"
        );
        let ran = world.service.run(&["collection", "materialize", "feas"]);
        assert_eq!(ran.code, Some(4), "{ran:?}");

        let before = by_id(world.catalog().await);
        assert_eq!(before["collection"]["ownership"], "owned");
        let again = world.import(&dump(), &[]);
        assert_eq!(again.code, Some(1), "{again:?}");
        let said = format!("{}{}", again.out, again.err);
        assert!(said.contains("is the service's own collection here"), "{said}");
        assert_eq!(by_id(world.catalog().await), before, "nothing was touched");

        // Milvus deletes what it had
        for (key, _) in fixture::files() {
            std::fs::remove_file(world.milvus.join(key)).expect("still there");
        }
        let verified = world.service.run(&["snapshot", "verify", "s1", "--level", "checksum"]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        let restored = world.service.run(&["restore", "s1", "copy"]);
        assert_eq!(restored.code, Some(0), "{restored:?}");
    }
}
