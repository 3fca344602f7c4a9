//! The audit log says on what: every operation that changes something is called once, and its event looked at.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Value, json};
use stillframe::domain::access::{OPERATIONS, Permission, needed};
use stillframe::milvus::proto::milvus as m;
use tower::ServiceExt as _;

use super::across::{message, schema};
use super::who::{ADMIN_KEY, Who, own_segment, required, soon};
use crate::milvus::wire::{send_encoded, status_of};
use crate::support::TestApp;
use crate::watching::webhooks;

struct Book<'a> {
    app: &'a TestApp,
    admin: Who<'a>,
    called: BTreeSet<String>,
}

impl Book<'_> {
    /// The last event of an operation must say this of what it was on: `DB/COLLECTION: SUBJECTS`.
    async fn says(&mut self, operation: &str, on: &str) {
        let list = self.admin.get(&format!("/v1/audit?operation={operation}&page_size=1")).await;
        let event = list.ok().json["items"][0].clone();
        let text = |key: &str| event[key].as_str().unwrap_or("-").to_string();
        let said = format!("{}/{}: {}", text("db_name"), text("collection_name"), text("subject"));
        assert!(said.contains(on), "{operation}: {said:?} does not say {on:?}; {event}");
        self.called.insert(operation.to_string());
    }

    /// The last event of an operation is of a refusal, and says this and nothing else.
    async fn says_in_all(&mut self, operation: &str, on: &str) {
        let list = self.admin.get(&format!("/v1/audit?operation={operation}&page_size=1")).await;
        let event = list.ok().json["items"][0].clone();
        let text = |key: &str| event[key].as_str().unwrap_or("-").to_string();
        let said = format!("{}/{}: {}", text("db_name"), text("collection_name"), text("subject"));
        assert_eq!(
            (said.as_str(), text("outcome").as_str()),
            (on, "denied"),
            "{operation}: {event}"
        );
    }

    /// A call of REST.
    async fn rest(&mut self, operation: &str, call: &str, body: Value, on: &str) -> Value {
        let (method, path) = call.split_once(' ').expect("a method");
        let method: Method = method.parse().expect("a method");
        let body = (!body.is_null()).then_some(body);
        let answer = self.admin.call(method, path, body.as_ref()).await;
        assert!(answer.status.is_success(), "{operation}: {}", answer.text);
        let on = match &answer.json {
            Value::Object(made) => made.iter().fold(on.to_string(), |on, (key, value)| {
                on.replace(&format!("{{{key}}}"), value.as_str().unwrap_or_default())
            }),
            _ => on.to_string(),
        };
        self.says(operation, &on).await;
        answer.json
    }

    /// The same where it can't succeed here: what it was on is known all the same.
    async fn refused(&mut self, operation: &str, call: &str, body: Value, on: &str) {
        let (method, path) = call.split_once(' ').expect("a method");
        let answer = self.admin.call(method.parse().expect("a method"), path, Some(&body)).await;
        assert!(answer.status.is_client_error(), "{operation}: {}", answer.text);
        self.says(operation, on).await;
    }

    /// A call of Milvus' REST v2.
    async fn rest_v2(&mut self, operation: &str, body: Value, on: &str) -> Value {
        let document = serde_json::to_value(stillframe::app::document()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths").iter();
        let mut found = paths
            .filter(|(_, item)| item["post"]["operationId"] == operation)
            .map(|(path, _)| path);
        let path = found.next().expect("the operation");
        let answer = self.admin.post(path, &body).await.ok().json;
        assert_eq!(answer["code"], 0, "{operation}: {answer}");
        self.says(operation, on).await;
        answer["data"].clone()
    }

    /// A call of Milvus' gRPC.
    async fn grpc(&mut self, call: &str, message: Vec<u8>, on: &str) {
        let token = STANDARD.encode(ADMIN_KEY);
        let metadata = [("authorization", token.as_str())];
        let answer = send_encoded(self.app.router(), "stillframe", call, &message, &metadata).await;
        let status = status_of(&answer);
        assert_eq!(status.code, 0, "{call}: {status:?}");
        self.says(&format!("milvus.{call}"), on).await;
    }
}

/// Every operation that changes something: those of GET only read, whatever they need.
fn changing() -> BTreeSet<String> {
    let document = serde_json::to_value(stillframe::app::document()).expect("JSON");
    let items = document["paths"].as_object().expect("paths").values();
    let reading: BTreeSet<String> = items
        .filter_map(|i| i["get"]["operationId"].as_str().map(String::from))
        .collect();
    let changes = |id: &str| {
        let permission = needed(id).and_then(|access| access.permission());
        permission.is_some_and(|p| p != Permission::Read) && !reading.contains(id)
    };
    OPERATIONS
        .iter()
        .map(|(id, _)| id.to_string())
        .filter(|id| changes(id))
        .collect()
}

#[tokio::test]
async fn every_change_says_on_what() {
    let app = TestApp::with_auth_and(required(), webhooks::settings()).await;
    let admin = Who::admin(&app);
    let mut book = Book {
        app: &app,
        admin: Who::admin(&app),
        called: BTreeSet::new(),
    };
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let none = Value::Null;

    let hook = json!({"url": "http://127.0.0.1:9/x", "events": ["snapshot.created"]});
    let hook = book
        .rest("create_webhook", "POST /v1/webhooks", hook, "webhook {webhook_id}")
        .await;
    let hook = text(&hook["webhook_id"]);
    book.rest("create_database", "POST /v1/databases", json!({"name": "d"}), "d/-")
        .await;
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    let body = json!({"db_name": "d", "name": "c", "fields": fields});
    let made = book.rest("create_collection", "POST /v1/collections", body, "d/c").await;
    let (id, channel) = (text(&made["collection_id"]), text(&made["channels"][0]["channel_name"]));
    let c = "/v1/collections/c";
    let q = "?db_name=d";
    book.rest(
        "create_partition",
        &format!("POST {c}/partitions{q}"),
        json!({"name": "p"}),
        "d/c: partition \"p\"",
    )
    .await;
    book.rest(
        "drop_partition",
        &format!("DELETE {c}/partitions/p{q}"),
        none.clone(),
        "d/c: partition \"p\"",
    )
    .await;
    let index = json!({"index_id": "7", "field_id": "100", "index_name": "i"});
    book.rest("create_index", &format!("POST {c}/indexes{q}"), index, "d/c: index \"i\"")
        .await;
    let position = json!({"seek_position": {"timestamp": "1000"}});
    let at = format!("PUT {c}/channels/{channel}{q}");
    book.rest("report_channel", &at, position, "d/c: channel").await;
    let mut segments = Vec::new();
    for n in 51..61 {
        segments.push(own_segment(&app, &id, &channel, n).await);
    }
    book.rest(
        "register_segment",
        &format!("POST {c}/segments{q}"),
        segments[0].clone(),
        "d/c: segment 51",
    )
    .await;
    let batch = json!({"segments": segments[1..8]});
    let named = "d/c: segment 52, segment 53, segment 54, segment 55, segment 56, 7 segments in all";
    book.rest("register_segments", &format!("POST {c}/segments:batch{q}"), batch, named)
        .await;
    book.rest(
        "change_segment",
        &format!("PATCH {c}/segments/51{q}"),
        json!({"num_of_rows": 2}),
        "d/c: segment 51",
    )
    .await;
    let build = json!({"build_id": "900", "index_id": "7", "num_rows": 1, "files": []});
    let at = format!("POST {c}/segments/51/index-builds{q}");
    book.rest("register_index_build", &at, build, "d/c: segment 51, index build 900")
        .await;
    let compaction = json!({"inputs": ["52", "53"], "outputs": [segments[8]]});
    let named = "d/c: segment 59, input segment 52, input segment 53";
    book.rest("compact_segments", &format!("POST {c}/compactions{q}"), compaction, named)
        .await;
    book.rest(
        "drop_segment",
        &format!("DELETE {c}/segments/54{q}"),
        none.clone(),
        "d/c: segment 54",
    )
    .await;
    book.rest(
        "drop_index",
        &format!("DELETE {c}/indexes/i{q}"),
        none.clone(),
        "d/c: index \"i\"",
    )
    .await;
    book.rest("flush_collection", &format!("POST {c}/flush{q}"), json!({}), "d/c")
        .await;
    let alias = json!({"db_name": "d", "alias": "a", "collection_name": "c"});
    book.rest("create_alias", "POST /v1/aliases", alias, "d/c: alias \"a\"").await;
    book.rest(
        "move_alias",
        &format!("PUT /v1/aliases/a{q}"),
        json!({"collection_name": "c"}),
        "d/c: alias \"a\"",
    )
    .await;
    book.rest(
        "drop_alias",
        &format!("DELETE /v1/aliases/a{q}"),
        none.clone(),
        "d/c: alias \"a\"",
    )
    .await;

    let snapshot = json!({"db_name": "d", "collection_name": "c", "snapshot_name": "s"});
    book.rest("create_snapshot", "POST /v1/snapshots", snapshot, "d/c: snapshot \"s\"")
        .await;
    let s = format!("/v1/snapshots/s{q}&collection_name=c");
    book.rest(
        "change_snapshot",
        &format!("PATCH {s}"),
        json!({"description": "x"}),
        "d/c: snapshot \"s\"",
    )
    .await;
    let of = |action: &str| format!("/v1/snapshots/s/{action}{q}&collection_name=c");
    let verify = format!("POST {}", of("verify"));
    book.rest("verify_snapshot", &verify, json!({"level": "exists"}), "d/c: snapshot \"s\"")
        .await;
    let pins = format!("POST {}", of("pins"));
    let pin = book
        .rest(
            "create_pin",
            &pins,
            json!({"owner": "x"}),
            "d/c: snapshot \"s\", pin {pin_id}",
        )
        .await;
    let pin = text(&pin["pin_id"]);
    let at = format!("DELETE {}", of(&format!("pins/{pin}")));
    book.rest("delete_pin", &at, none.clone(), &format!("pin {pin}")).await;
    book.rest("drop_snapshot", &format!("DELETE {s}"), none.clone(), "d/c: snapshot \"s\"")
        .await;
    book.rest(
        "undelete_snapshot",
        &format!("POST {}", of("undelete")),
        none.clone(),
        "d/c: snapshot \"s\"",
    )
    .await;
    let target = json!({"db_name": "d", "collection_name": "t"});
    book.rest(
        "plan_restore",
        &format!("POST {}", of("plan-restore")),
        target.clone(),
        "snapshot \"s\"",
    )
    .await;
    let restore = format!("POST {}", of("restore"));
    let job = book
        .rest("restore_snapshot", &restore, target, "d/t: snapshot \"s\", job {job_id}")
        .await;
    let export = format!("POST {}", of("export"));
    let bundle = book.rest(
        "export_snapshot",
        &export,
        json!({"target_path": "b"}),
        "d/c: snapshot \"s\", job {job_id}",
    );
    let bundle = bundle.await;
    for (kind, job, collection) in [
        ("restore", text(&job["job_id"]), "t"),
        ("export", text(&bundle["job_id"]), "c"),
    ] {
        let at = format!("/v1/{kind}-jobs/{job}");
        let on = format!("d/{collection}: job {job}");
        let priority = json!({"priority": 1});
        book.rest(&format!("change_{kind}_job"), &format!("PATCH {at}"), priority, &on)
            .await;
        for action in ["pause", "resume", "cancel"] {
            let operation = format!("{action}_{kind}_job");
            book.rest(&operation, &format!("POST {at}/{action}"), json!({}), &on).await;
        }
    }
    app.drain().await;
    let external = json!({"db_name": "d", "collection_name": "e", "snapshot_metadata_uri": "b/snapshots/1/metadata/2.json"});
    book.refused("restore_external_snapshot", "POST /v1/restores/external", external, "d/e")
        .await;
    book.refused(
        "materialize_collection",
        &format!("POST {c}/materialize{q}"),
        json!({}),
        "d/c",
    )
    .await;
    let adopt = json!({"prefix": "of/milvus", "db_name": "d"});
    book.refused("adopt_snapshots", "POST /v1/snapshots:adopt", adopt, "prefix \"of/milvus\"")
        .await;

    let run = json!({"dry_run": true});
    book.rest("start_gc_run", "POST /v1/gc/runs", run, "dry collector run {run_id}")
        .await;
    book.rest("start_gc_run", "POST /v1/gc/runs", json!({}), ": collector run {run_id}")
        .await;
    let allowed = json!({"allowed": false});
    book.rest(
        "set_orphan_deletion",
        "PUT /v1/gc/orphan-deletion",
        allowed,
        "orphan deletion forbidden",
    )
    .await;
    let key = json!({"name": "k", "grants": [{"role": "reader", "db_name": "*", "collection_name": "*"}]});
    let key = book.rest("create_key", "POST /v1/keys", key, "key {key_id}").await;
    let key = text(&key["key_id"]);
    book.rest(
        "delete_key",
        &format!("DELETE /v1/keys/{key}"),
        none.clone(),
        &format!("key {key}"),
    )
    .await;
    let at = format!("/v1/webhooks/{hook}");
    let delivery = admin.get(&format!("{at}/deliveries")).await.ok().json["items"][0]["delivery_id"].clone();
    let delivery = text(&delivery);
    let replay = format!("POST {at}/deliveries/{delivery}/replay");
    let on = format!("webhook {hook}, delivery {delivery}");
    book.rest("replay_webhook_delivery", &replay, none.clone(), &on).await;
    book.rest(
        "delete_webhook",
        &format!("DELETE {at}"),
        none.clone(),
        &format!("webhook {hook}"),
    )
    .await;
    let renamed = json!({"name": "c2"});
    book.rest("change_collection", &format!("PATCH {c}{q}"), renamed, "d/c: new name \"c2\"")
        .await;
    admin
        .patch(&format!("/v1/collections/c2{q}"), &json!({"name": "c"}))
        .await
        .ok();

    // Milvus' REST v2
    let named = json!({"dbName": "d", "collectionName": "c", "snapshotName": "v2"});
    book.rest_v2("milvus_create_snapshot", named.clone(), "d/c: snapshot \"v2\"")
        .await;
    let pinned = book
        .rest_v2("milvus_pin_snapshot", named.clone(), "d/c: snapshot \"v2\", pin")
        .await;
    let pin = match &pinned["pinId"] {
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    book.rest_v2("milvus_unpin_snapshot", json!({"pinId": pin}), &format!("pin {pin}"))
        .await;
    let restored = json!({"dbName": "d", "snapshotName": "v2", "sourceCollectionName": "c", "targetDbName": "d", "targetCollectionName": "t2"});
    book.rest_v2("milvus_restore_snapshot", restored, "d/t2: snapshot \"v2\", job")
        .await;
    let exported = json!({"dbName": "d", "collectionName": "c", "snapshotName": "v2", "targetS3Path": "b2"});
    book.rest_v2("milvus_export_snapshot", exported, "d/c: snapshot \"v2\", job")
        .await;
    app.drain().await;
    let exports = admin.get("/v1/export-jobs?page_size=1").await.ok().json;
    let uri = text(&exports["items"][0]["snapshot_metadata_uri"]);
    // by its path: what lies in memory has no address
    let bundle = uri[uri.find("b2/").expect("where it was exported to")..].to_string();
    let external = json!({"dbName": "d", "targetCollectionName": "e2", "snapshotMetadataURI": bundle});
    book.rest_v2("milvus_restore_external_snapshot", external, "d/e2: job").await;
    book.rest_v2("milvus_drop_snapshot", named, "d/c: snapshot \"v2\"").await;
    of_grpc(&mut book, &bundle).await;

    book.rest("drop_collection", &format!("DELETE {c}{q}"), none.clone(), "d/c")
        .await;
    admin.post("/v1/databases", &json!({"name": "d3"})).await.created();
    book.rest("drop_database", "DELETE /v1/databases/d3", none, "d3/-").await;
    assert_eq!(book.called, changing(), "left: called here; right: what changes something");
}

#[rustfmt::skip]
#[allow(clippy::needless_update, clippy::useless_conversion, reason = "some messages have no more fields")]
async fn of_grpc(book: &mut Book<'_>, bundle: &str) {
    let keys = || vec!["x".to_string()];
    for (call, message, on) in [
        ("CreateDatabase", message!(CreateDatabaseRequest { db_name: "d2" }), "d2/-"),
        ("DropDatabase", message!(DropDatabaseRequest { db_name: "d2" }), "d2/-"),
        ("CreateCollection", message!(CreateCollectionRequest { db_name: "d", collection_name: "planted", schema: schema() }), "d/planted"),
        ("AlterCollection", message!(AlterCollectionRequest { db_name: "d", collection_name: "planted", delete_keys: keys() }), "d/planted"),
        ("RenameCollection", message!(RenameCollectionRequest { db_name: "d", old_name: "planted", new_name: "g" }), "d/planted: new name \"g\""),
        ("CreatePartition", message!(CreatePartitionRequest { db_name: "d", collection_name: "g", partition_name: "p" }), "d/g: partition \"p\""),
        ("DropPartition", message!(DropPartitionRequest { db_name: "d", collection_name: "g", partition_name: "p" }), "d/g: partition \"p\""),
        ("CreateAlias", message!(CreateAliasRequest { db_name: "d", collection_name: "g", alias: "ga" }), "d/g: alias \"ga\""),
        ("AlterAlias", message!(AlterAliasRequest { db_name: "d", collection_name: "g", alias: "ga" }), "d/g: alias \"ga\""),
        ("DropAlias", message!(DropAliasRequest { db_name: "d", alias: "ga" }), "d/g: alias \"ga\""),
        ("CreateIndex", message!(CreateIndexRequest { db_name: "d", collection_name: "g", field_name: "id", index_name: "i" }), "d/g: index \"i\""),
        ("AlterIndex", message!(AlterIndexRequest { db_name: "d", collection_name: "g", index_name: "i", delete_keys: keys() }), "d/g: index \"i\""),
        ("DropIndex", message!(DropIndexRequest { db_name: "d", collection_name: "g", index_name: "i" }), "d/g: index \"i\""),
        ("Flush", message!(FlushRequest { db_name: "d", collection_names: vec!["c".to_string()] }), "d/c"),
        ("CreateSnapshot", message!(CreateSnapshotRequest { name: "gs", db_name: "d", collection_name: "c" }), "d/c: snapshot \"gs\""),
        ("PinSnapshotData", message!(PinSnapshotDataRequest { name: "gs", db_name: "d", collection_name: "c" }), "d/c: snapshot \"gs\", pin"),
        ("UnpinSnapshotData", message!(UnpinSnapshotDataRequest { pin_id: 7_i64 }), "pin 7"),
        ("RestoreSnapshot", message!(RestoreSnapshotRequest { name: "gs", db_name: "d", collection_name: "c", target_db_name: "d", target_collection_name: "gt" }), "d/gt: snapshot \"gs\", job"),
        ("ExportSnapshot", message!(ExportSnapshotRequest { name: "gs", db_name: "d", collection_name: "c", target_s3_path: "b3" }), "d/c: snapshot \"gs\", job"),
        ("RestoreExternalSnapshot", message!(RestoreExternalSnapshotRequest { db_name: "d", target_collection_name: "ge", snapshot_metadata_uri: bundle }), "d/ge: job"),
        ("DropCollection", message!(DropCollectionRequest { db_name: "d", collection_name: "g" }), "d/g"),
    ] {
        book.grpc(call, message, on).await;
    }
    // pinned above
    let pins = book.admin.get("/v1/snapshots/gs/pins?db_name=d").await.ok().json;
    let pin = pins["items"][0]["pin_id"].as_str().expect("a pin").to_string();
    let unpinned = message!(UnpinSnapshotDataRequest { pin_id: pin.parse::<i64>().expect("a number") });
    book.grpc("UnpinSnapshotData", unpinned, &format!("d/c: pin {pin}")).await;
    // the restore and the export that were started above end
    book.app.drain().await;
    book.grpc("DropSnapshot", message!(DropSnapshotRequest { name: "gs", db_name: "d", collection_name: "c" }), "d/c: snapshot \"gs\"").await;
}

/// Who may do this nowhere is refused before anybody looks at the names; the log has them all the same.
#[tokio::test]
async fn what_is_refused_before_its_names_are_judged_is_recorded_with_them() {
    let app = TestApp::with_auth(required()).await;
    Who::admin(&app)
        .post("/v1/databases", &json!({"name": "prod"}))
        .await
        .created();
    Who::admin(&app).collection_with_segment("prod", "docs", 51).await;
    let reader = Who::new(&app, "reader", &[("reader", "*", "*")]).await;
    let mut book = Book {
        app: &app,
        admin: Who::admin(&app),
        called: BTreeSet::new(),
    };
    // over REST: the path, the query, the body; the answer is the same for what is there and what is not
    let q = "?db_name=prod";
    for (operation, call, body, on) in [
        (
            "drop_collection",
            format!("DELETE /v1/collections/docs{q}"),
            Value::Null,
            "prod/docs: -",
        ),
        (
            "drop_collection",
            format!("DELETE /v1/collections/none{q}"),
            Value::Null,
            "prod/none: -",
        ),
        (
            "drop_collection",
            "DELETE /v1/collections/docs".into(),
            Value::Null,
            "default/docs: -",
        ),
        (
            "drop_snapshot",
            format!("DELETE /v1/snapshots/s{q}&collection_name=docs"),
            Value::Null,
            "prod/docs: snapshot \"s\"",
        ),
        ("drop_database", "DELETE /v1/databases/prod".into(), Value::Null, "prod/-: -"),
        (
            "drop_partition",
            format!("DELETE /v1/collections/docs/partitions/p%20{q}"),
            Value::Null,
            "prod/docs: partition \"p \"",
        ),
        (
            "drop_segment",
            format!("DELETE /v1/collections/docs/segments/51{q}"),
            Value::Null,
            "prod/docs: segment 51",
        ),
        (
            "cancel_restore_job",
            "POST /v1/restore-jobs/7/cancel".into(),
            Value::Null,
            "-/-: job 7",
        ),
        ("delete_key", "DELETE /v1/keys/9".into(), Value::Null, "-/-: key 9"),
        (
            "create_collection",
            "POST /v1/collections".into(),
            json!({"db_name": "prod", "name": "planted", "fields": []}),
            "prod/planted: -",
        ),
        (
            "create_snapshot",
            "POST /v1/snapshots".into(),
            json!({"db_name": "prod", "collection_name": "docs", "snapshot_name": "s"}),
            "prod/docs: snapshot \"s\"",
        ),
        (
            "move_alias",
            format!("PUT /v1/aliases/a{q}"),
            json!({"collection_name": "docs"}),
            "prod/docs: alias \"a\"",
        ),
        (
            "restore_snapshot",
            format!("POST /v1/snapshots/s/restore{q}"),
            json!({"db_name": "own", "collection_name": "t"}),
            "own/t: snapshot \"s\", database \"prod\"",
        ),
    ] {
        let (method, path) = call.split_once(' ').expect("a method");
        let body = (!body.is_null()).then_some(body);
        let answer = reader.call(method.parse().expect("a method"), path, body.as_ref()).await;
        let detail = answer.refused(403, "permission_denied").json["detail"]
            .as_str()
            .expect("text")
            .to_string();
        assert!(
            detail.ends_with("which you have nowhere") || operation == "delete_key",
            "{operation}: {detail}"
        );
        book.says_in_all(operation, on).await;
    }
    // a body that is no JSON, and one that is cut off, change nothing in the answer
    for body in ["{\"collection_name\": \"docs\"", "", "[1]"] {
        let request = Request::post("/v1/snapshots")
            .header("authorization", format!("Bearer {}", reader.credential))
            .header("content-type", "application/json")
            .body(Body::from(body));
        app.send(request.expect("a request")).await.refused(403, "permission_denied");
        book.says_in_all("create_snapshot", "-/-: -").await;
    }

    // over gRPC
    let token = STANDARD.encode(&reader.credential);
    let beside = [("authorization", token.as_str()), ("dbname", "prod")];
    #[rustfmt::skip]
    #[allow(clippy::needless_update, clippy::useless_conversion, reason = "some messages have no more fields")]
    let calls = [
        ("DropCollection", message!(DropCollectionRequest { db_name: "prod", collection_name: "docs" }), 1, "prod/docs: -"),
        ("DropCollection", message!(DropCollectionRequest { collection_name: "none" }), 2, "prod/none: -"),
        ("DropCollection", message!(DropCollectionRequest { collection_name: "docs" }), 1, "default/docs: -"),
        ("CreateSnapshot", message!(CreateSnapshotRequest { name: "s", db_name: "prod", collection_name: "docs" }), 1, "prod/docs: snapshot \"s\""),
        ("RestoreSnapshot", message!(RestoreSnapshotRequest { name: "s", db_name: "prod", collection_name: "docs", target_collection_name: "t" }), 1, "prod/t: collection \"docs\", snapshot \"s\""),
        ("RenameCollection", message!(RenameCollectionRequest { db_name: "prod", old_name: "docs", new_name: "d2" }), 1, "prod/docs: new name \"d2\""),
        ("UnpinSnapshotData", message!(UnpinSnapshotDataRequest { pin_id: 7_i64 }), 1, "-/-: pin 7"),
        // no message at all
        ("DropCollection", vec![0xff, 0xff], 1, "-/-: -"),
    ];
    for (call, message, metadata, on) in calls {
        let answer = send_encoded(app.router(), "stillframe", call, &message, &beside[..metadata]).await;
        let status = status_of(&answer);
        assert_eq!(status.code, 1401, "{call}: {status:?}");
        assert!(status.reason.ends_with("which you have nowhere"), "{call}: {status:?}");
        book.says_in_all(&format!("milvus.{call}"), on).await;
    }

    // over REST v2
    for (operation, path, body, on) in [
        (
            "milvus_create_snapshot",
            "snapshots/create",
            json!({"dbName": "prod", "collectionName": "docs", "snapshotName": "s"}),
            "prod/docs: snapshot \"s\"",
        ),
        (
            "milvus_drop_snapshot",
            "snapshots/drop",
            json!({"collectionName": "docs", "snapshotName": "s"}),
            "default/docs: snapshot \"s\"",
        ),
        (
            "milvus_restore_snapshot",
            "snapshots/restore",
            json!({"dbName": "prod", "targetDbName": "own", "targetCollectionName": "t", "snapshotName": "s"}),
            "own/t: database \"prod\", snapshot \"s\"",
        ),
        (
            "milvus_unpin_snapshot",
            "snapshots/unpin",
            json!({"pinId": "7"}),
            "-/-: pin 7",
        ),
    ] {
        let answer = reader.post(&format!("/v2/vectordb/{path}"), &body).await.ok().json;
        assert_eq!(answer["code"], 1401, "{answer}");
        book.says_in_all(operation, on).await;
    }
    let request = Request::post("/v2/vectordb/snapshots/drop")
        .header("authorization", format!("Bearer {}", reader.credential))
        .header("db-name", "prod")
        .body(Body::from(r#"{"collectionName": "docs"}"#));
    assert_eq!(app.send(request.expect("a request")).await.ok().json["code"], 1401);
    book.says_in_all("milvus_drop_snapshot", "prod/docs: -").await;

    // what no text of the catalog can have keeps no event out of it
    let odd = m::DropCollectionRequest {
        db_name: "prod".into(),
        collection_name: "a\0b".into(),
    };
    send_encoded(
        app.router(),
        "stillframe",
        "DropCollection",
        &odd.encode_to_vec(),
        &beside[..1],
    )
    .await;
    book.says_in_all("milvus.DropCollection", "prod/a\u{fffd}b: -").await;
    let of_b = Who::new(&app, "writer", &[("writer", "b", "*")]).await;
    let token = STANDARD.encode(&of_b.credential);
    let metadata = [("authorization", token.as_str())];
    send_encoded(app.router(), "stillframe", "DropCollection", &odd.encode_to_vec(), &metadata).await;
    book.says_in_all("milvus.DropCollection", "prod/a\u{fffd}b: -").await;
    let events = Who::admin(&app).get("/v1/audit?principal=writer").await.ok().json;
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{events}");

    // who shows nothing: what the head says, and the body is not read
    app.post(&format!("/v1/collections/docs/flush{q}"), &json!({"collection_name": "body"}))
        .await
        .refused(401, "unauthenticated");
    book.says_in_all("flush_collection", "prod/docs: -").await;
    let denied = Who::admin(&app).get("/v1/audit?outcome=ok&principal=reader").await.ok().json;
    assert_eq!(denied["items"], json!([]), "nothing of it was done");
    Who::admin(&app).get(&format!("/v1/collections/docs{q}")).await.ok();
}

#[tokio::test]
async fn who_hangs_up_while_a_refused_body_is_read_is_recorded_as_refused() {
    let app = TestApp::with_auth(required()).await;
    let reader = Who::new(&app, "reader", &[("reader", "*", "*")]).await;
    let silent = Body::from_stream(futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let request = Request::post("/v1/snapshots")
        .header("authorization", format!("Bearer {}", reader.credential))
        .header("content-type", "application/json")
        .header("x-request-id", "hung-up")
        .body(silent)
        .expect("a request");
    // far less than the time that is taken for such a body
    let call = tokio::time::timeout(std::time::Duration::from_millis(200), app.router().oneshot(request));
    assert!(call.await.is_err(), "it waits for the body");
    let admin = Who::admin(&app);
    let event = soon(async || {
        let list = admin.get("/v1/audit?request_id=hung-up").await.ok().json;
        list["items"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (&event["outcome"], &event["code"]),
        (&json!("denied"), &json!("permission_denied")),
        "{event}"
    );
}

#[tokio::test]
async fn a_repeated_answer_is_recorded_with_what_its_call_was_about() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    admin.collection_with_segment("default", "docs", 51).await;
    let body = json!({"collection_name": "docs", "snapshot_name": "s"}).to_string();
    let mut answers = Vec::new();
    for n in 0..2 {
        let request = Request::post("/v1/snapshots")
            .header("authorization", format!("Bearer {ADMIN_KEY}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "once")
            .header("x-request-id", format!("try-{n}"))
            .body(Body::from(body.clone()))
            .expect("a request");
        answers.push(app.send(request).await.created());
    }
    assert_eq!(answers[0].json, answers[1].json);
    assert_eq!(answers[1].headers["idempotent-replayed"], "true");
    let given: Vec<&str> = answers[1].headers.keys().map(|name| name.as_str()).collect();
    assert!(!given.iter().any(|name| name.contains("about")), "{given:?}");
    for n in 0..2 {
        let list = admin.get(&format!("/v1/audit?request_id=try-{n}")).await.ok().json;
        let event = &list["items"][0];
        assert_eq!(
            (&event["db_name"], &event["collection_name"], &event["subject"]),
            (&json!("default"), &json!("docs"), &json!("snapshot \"s\"")),
            "{event}"
        );
    }
}
