//! Every operation that goes by names, called by one tenant with the real names and ids of another: nothing is told, and
//! nothing changes. What is not tried here does not exist: an operation without a try fails the test.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde_json::{Value, json};
use stillframe::domain::access::{Access, OPERATIONS, needed};
use stillframe::milvus::proto::milvus as m;

use super::who::{Who, own_segment, required};
use crate::milvus::wire::{send_encoded, status_of};
use crate::support::TestApp;

const NOT_PERMITTED: i32 = 1401;

/// What tenant `a` has, by the names of parameters.
struct Victim {
    names: BTreeMap<&'static str, String>,
    export_job: String,
    dropped_snapshot: String,
    /// In our own storage.
    metadata_path: String,
    segment: Value,
}

impl Victim {
    fn id(&self, name: &str) -> &str {
        &self.names[name]
    }

    fn number(&self, name: &str) -> i64 {
        self.id(name).parse().expect("a number")
    }
}

/// Everything that a tenant can have.
async fn victim(app: &TestApp, a: &Who<'_>) -> Victim {
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let id = a.collection_with_segment("a", "docs", 51).await;
    let described = a.get("/v1/collections/docs?db_name=a").await.ok().json;
    let channel = text(&described["channels"][0]["channel_name"]);
    let index = json!({"index_id": "7", "field_id": "100", "index_name": "i"});
    a.post("/v1/collections/docs/indexes?db_name=a", &index).await.created();
    a.post("/v1/collections/docs/partitions?db_name=a", &json!({"name": "p"}))
        .await
        .created();
    let alias = json!({"db_name": "a", "alias": "docs_alias", "collection_name": "docs"});
    a.post("/v1/aliases", &alias).await.created();
    let mut snapshots = Vec::new();
    for name in ["s", "gone"] {
        let body = json!({"db_name": "a", "collection_name": "docs", "snapshot_name": name});
        snapshots.push(a.post("/v1/snapshots", &body).await.created().json);
    }
    a.delete("/v1/snapshots/gone?db_name=a&collection_name=docs")
        .await
        .expect(204);
    let pin = a
        .post("/v1/snapshots/s/pins?db_name=a&collection_name=docs", &json!({"owner": "a"}))
        .await
        .created()
        .json;
    let started = a
        .post(
            "/v1/snapshots/s/restore?db_name=a",
            &json!({"db_name": "a", "collection_name": "copy"}),
        )
        .await
        .expect(202)
        .json;
    let export = a
        .post("/v1/snapshots/s/export?db_name=a", &json!({"target_path": "bundles"}))
        .await
        .expect(202)
        .json;
    Victim {
        names: BTreeMap::from([
            ("db_name", "a".to_string()),
            ("collection_name", "docs".into()),
            ("partition_name", "p".into()),
            ("alias", "docs_alias".into()),
            ("index_name", "i".into()),
            ("segment_id", "51".into()),
            ("snapshot_name", "s".into()),
            ("pin_id", text(&pin["pin_id"])),
            ("job_id", text(&started["job_id"])),
            ("snapshot_id", text(&snapshots[0]["snapshot_id"])),
            ("channel", channel.clone()),
        ]),
        export_job: text(&export["job_id"]),
        dropped_snapshot: text(&snapshots[1]["snapshot_id"]),
        metadata_path: format!("snapshots/{id}/metadata/{}.json", text(&snapshots[0]["snapshot_id"])),
        segment: own_segment(app, &id.to_string(), &channel, 52).await,
    }
}

/// Every row of the catalog, but for what calls leave behind by themselves.
async fn rows(app: &TestApp) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> =
        sqlx::query_scalar("select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace")
            .fetch_all(&app.pool)
            .await
            .expect("tables");
    let mut found = BTreeMap::new();
    for table in tables {
        if matches!(table.as_str(), "audit_events" | "api_keys") {
            continue;
        }
        let statement = format!("select t::text from \"{table}\" t order by 1");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_all(&app.pool)
            .await
            .expect("rows");
        found.insert(table, rows);
    }
    assert!(found["segments"].len() == 1 && found["snapshots"].len() == 2 && found["restore_jobs"].len() == 2);
    found
}

/// What an operation is sent by who wants `a`'s things; none: it takes no body.
fn body(operation: &str, of: &Victim) -> Option<Value> {
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    let position = json!({"timestamp": "900000"});
    let file = json!([{"path": "index_files/900/1/1/51/x", "size_bytes": 1}]);
    Some(match operation {
        "create_database" => json!({"name": "a_2"}),
        "create_collection" => json!({"db_name": "a", "name": "planted", "fields": fields}),
        "change_collection" => json!({"name": "stolen"}),
        "create_partition" => json!({"name": "planted"}),
        "create_alias" => json!({"db_name": "a", "alias": "planted", "collection_name": "docs"}),
        "move_alias" => json!({"collection_name": "docs"}),
        "report_channel" => json!({"seek_position": position}),
        "create_index" => json!({"index_id": "8", "field_id": "100", "index_name": "planted"}),
        "register_segment" => of.segment.clone(),
        "register_segments" => json!({"segments": [of.segment]}),
        "change_segment" => json!({"num_of_rows": 7}),
        "register_index_build" => json!({"build_id": "900", "index_id": "7", "num_rows": 1, "files": file}),
        "compact_segments" => json!({"inputs": ["51"], "outputs": [of.segment]}),
        "flush_collection" => json!({}),
        "create_snapshot" => json!({"db_name": "a", "collection_name": "docs", "snapshot_name": "planted", "flush": true}),
        "change_snapshot" => json!({"description": "mine"}),
        "create_pin" => json!({"owner": "b"}),
        "verify_snapshot" => json!({"level": "size"}),
        "plan_restore" | "restore_snapshot" => json!({"db_name": "b", "collection_name": "loot"}),
        "simulate_drop" => json!({"db_name": "a", "drop": [{"snapshot_name": "s", "snapshot_id": of.id("snapshot_id")}]}),
        "change_restore_job" | "change_export_job" | "materialize_collection" => json!({"priority": 1}),
        "export_snapshot" => json!({"target_path": "loot"}),
        "restore_external_snapshot" => {
            json!({"db_name": "b", "collection_name": "loot", "snapshot_metadata_uri": of.metadata_path})
        }
        _ => return None,
    })
}

/// The same of Milvus' REST v2.
fn milvus_body(operation: &str, of: &Victim) -> Value {
    match operation {
        "milvus_list_snapshots" | "milvus_list_restore_jobs" => json!({"dbName": "a", "collectionName": "docs"}),
        "milvus_create_snapshot" => json!({"dbName": "a", "collectionName": "docs", "snapshotName": "planted"}),
        "milvus_describe_snapshot" | "milvus_drop_snapshot" | "milvus_pin_snapshot" => {
            json!({"dbName": "a", "collectionName": "docs", "snapshotName": "s"})
        }
        "milvus_unpin_snapshot" => json!({"pinId": of.id("pin_id")}),
        "milvus_restore_snapshot" => {
            json!({"dbName": "a", "snapshotName": "s", "sourceCollectionName": "docs", "targetDbName": "b", "targetCollectionName": "loot"})
        }
        "milvus_describe_restore_job" => json!({"jobId": of.id("job_id")}),
        "milvus_export_snapshot" => {
            json!({"dbName": "a", "collectionName": "docs", "snapshotName": "s", "targetS3Path": "loot"})
        }
        "milvus_describe_export_job" => json!({"jobId": of.export_job}),
        "milvus_restore_external_snapshot" => {
            json!({"dbName": "b", "targetCollectionName": "loot", "snapshotMetadataURI": of.metadata_path})
        }
        other => panic!("say here what a stranger would send to {other}"),
    }
}

/// The ways to name what is `a`'s: by its own database, and, where something has an id, by that id from one's own.
fn addresses(path: &str, operation: &Value, of: &Victim) -> Vec<String> {
    let id = operation["operationId"].as_str().expect("an id");
    let of_export = path.contains("export-jobs");
    let value = |name: &str| match name {
        "job_id" if of_export => of.export_job.clone(),
        "snapshot_name" if id == "undelete_snapshot" => "gone".into(),
        "snapshot_id" if id == "undelete_snapshot" => of.dropped_snapshot.clone(),
        name => of.id(name).to_string(),
    };
    let parts = path.split('/').map(|part| match part.split_once('}') {
        // segments:batch has its colon behind no parameter
        Some((name, rest)) => format!("{}{rest}", value(name.trim_start_matches('{'))),
        None => part.to_string(),
    });
    let at = parts.collect::<Vec<_>>().join("/");
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let queries: BTreeSet<&str> = parameters
        .filter(|p| p["in"] == "query")
        .filter_map(|p| p["name"].as_str())
        .collect();
    let query = |pairs: &[(&str, String)]| {
        let pairs = pairs.iter().filter(|(name, _)| queries.contains(name));
        let text: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        format!("{at}?{}", text.join("&"))
    };
    let (theirs, own) = (("db_name", "a".to_string()), ("db_name", "b".to_string()));
    let collection = ("collection_name", "docs".to_string());
    let snapshot = ("snapshot_id", value("snapshot_id"));
    let mut all = BTreeSet::from([query(std::slice::from_ref(&theirs)), query(&[theirs.clone(), collection])]);
    if queries.contains("snapshot_id") {
        all.extend([query(&[theirs, snapshot.clone()]), query(&[own, snapshot])]);
    }
    all.into_iter().collect()
}

#[tokio::test]
async fn no_operation_tells_or_changes_what_is_another_tenants() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    for name in ["a", "b"] {
        admin.post("/v1/databases", &json!({"name": name})).await.created();
    }
    let a = Who::new(&app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    // all that a tenant can be granted
    let b = Who::new(&app, "b", &[("admin", "b", "*")]).await;
    let of = victim(&app, &a).await;
    let before = rows(&app).await;
    let document = serde_json::to_value(stillframe::app::document()).expect("JSON");
    let mut tried = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let id = operation["operationId"].as_str().expect("an id");
            if !matches!(needed(id), Some(Access::ByName(_))) {
                continue;
            }
            tried.insert(id.to_string());
            if id.starts_with("milvus_") {
                let answer = b.post(path, &milvus_body(id, &of)).await.ok();
                // a pin that one may not see is as good as gone, and deleting it succeeds
                let silent = id == "milvus_unpin_snapshot";
                assert_eq!(answer.json["code"] == 0, silent, "{id}: {}", answer.text);
                continue;
            }
            let sent = body(id, &of);
            let takes_body = operation["requestBody"].is_object();
            assert_eq!(sent.is_some(), takes_body, "say in `body` what a stranger would send to {id}");
            for at in addresses(path, operation, &of) {
                let verb: Method = method.to_uppercase().parse().expect("a method");
                let answer = b.call(verb, &at, sent.as_ref()).await;
                let status = answer.status.as_u16();
                if id == "list_databases" {
                    assert_eq!(answer.json["items"].as_array().map(Vec::len), Some(1), "{}", answer.text);
                    continue;
                }
                assert!(matches!(status, 403 | 404), "{id} {at}: {status} {}", answer.text);
                assert!(!answer.text.contains("rows of 51"), "{id} {at}: {}", answer.text);
            }
        }
    }
    let of_rest = OPERATIONS
        .iter()
        .filter(|(id, access)| !id.starts_with("milvus.") && matches!(access, Access::ByName(_)));
    assert_eq!(tried, of_rest.map(|(id, _)| id.to_string()).collect::<BTreeSet<_>>());
    let after = rows(&app).await;
    for (table, rows) in &before {
        assert_eq!(rows, &after[table], "{table} was changed");
    }
}

/// An encoded message of Milvus.
macro_rules! message {
    ($name:ident { $($field:ident: $value:expr),* }) => { m::$name { $($field: $value.into(),)* ..Default::default() }.encode_to_vec() };
}

/// What each call is sent.
#[rustfmt::skip]
#[allow(
    clippy::needless_update,
    clippy::useless_conversion,
    reason = "some messages have no more fields"
)]
fn messages(of: &Victim) -> Vec<(&'static str, Vec<u8>)> {
    let (a, docs) = ("a", "docs");
    let number = |name| of.number(name);
    let export_job: i64 = of.export_job.parse().expect("a number");
    let stored = of.metadata_path.as_str();
    let segment = vec![51_i64];
    vec![
        ("ListDatabases", message!(ListDatabasesRequest {})),
        ("DescribeDatabase", message!(DescribeDatabaseRequest { db_name: a })),
        ("CreateDatabase", message!(CreateDatabaseRequest { db_name: "a_2" })),
        ("DropDatabase", message!(DropDatabaseRequest { db_name: a })),
        ("HasCollection", message!(HasCollectionRequest { db_name: a, collection_name: docs })),
        ("DescribeCollection", message!(DescribeCollectionRequest { db_name: a, collection_name: docs })),
        ("ShowCollections", message!(ShowCollectionsRequest { db_name: a })),
        ("GetCollectionStatistics", message!(GetCollectionStatisticsRequest { db_name: a, collection_name: docs })),
        ("CreateCollection", message!(CreateCollectionRequest { db_name: a, collection_name: "planted", schema: schema() })),
        ("DropCollection", message!(DropCollectionRequest { db_name: a, collection_name: docs })),
        ("RenameCollection", message!(RenameCollectionRequest { db_name: a, old_name: docs, new_name: "stolen" })),
        ("AlterCollection", message!(AlterCollectionRequest { db_name: a, collection_name: docs, delete_keys: vec!["x".to_string()] })),
        ("HasPartition", message!(HasPartitionRequest { db_name: a, collection_name: docs, partition_name: "p" })),
        ("ShowPartitions", message!(ShowPartitionsRequest { db_name: a, collection_name: docs })),
        ("CreatePartition", message!(CreatePartitionRequest { db_name: a, collection_name: docs, partition_name: "planted" })),
        ("DropPartition", message!(DropPartitionRequest { db_name: a, collection_name: docs, partition_name: "p" })),
        ("DescribeAlias", message!(DescribeAliasRequest { db_name: a, alias: "docs_alias" })),
        ("ListAliases", message!(ListAliasesRequest { db_name: a, collection_name: docs })),
        ("CreateAlias", message!(CreateAliasRequest { db_name: a, collection_name: docs, alias: "planted" })),
        ("AlterAlias", message!(AlterAliasRequest { db_name: a, collection_name: docs, alias: "docs_alias" })),
        ("DropAlias", message!(DropAliasRequest { db_name: a, alias: "docs_alias" })),
        ("DescribeIndex", message!(DescribeIndexRequest { db_name: a, collection_name: docs })),
        ("CreateIndex", message!(CreateIndexRequest { db_name: a, collection_name: docs, field_name: "id", index_name: "planted" })),
        ("AlterIndex", message!(AlterIndexRequest { db_name: a, collection_name: docs, index_name: "i", delete_keys: vec!["x".to_string()] })),
        ("DropIndex", message!(DropIndexRequest { db_name: a, collection_name: docs, index_name: "i" })),
        ("Flush", message!(FlushRequest { db_name: a, collection_names: vec![docs.to_string()] })),
        ("GetFlushState", message!(GetFlushStateRequest { segment_i_ds: segment, db_name: a, collection_name: docs })),
        ("GetPersistentSegmentInfo", message!(GetPersistentSegmentInfoRequest { db_name: a, collection_name: docs })),
        ("LoadCollection", message!(LoadCollectionRequest { db_name: a, collection_name: docs })),
        ("ReleaseCollection", message!(ReleaseCollectionRequest { db_name: a, collection_name: docs })),
        ("LoadPartitions", message!(LoadPartitionsRequest { db_name: a, collection_name: docs })),
        ("ReleasePartitions", message!(ReleasePartitionsRequest { db_name: a, collection_name: docs })),
        ("GetLoadingProgress", message!(GetLoadingProgressRequest { db_name: a, collection_name: docs })),
        ("GetLoadState", message!(GetLoadStateRequest { db_name: a, collection_name: docs })),
        ("ListSnapshots", message!(ListSnapshotsRequest { db_name: a, collection_name: docs })),
        ("DescribeSnapshot", message!(DescribeSnapshotRequest { name: "s", db_name: a, collection_name: docs })),
        ("CreateSnapshot", message!(CreateSnapshotRequest { name: "planted", db_name: a, collection_name: docs })),
        ("DropSnapshot", message!(DropSnapshotRequest { name: "s", db_name: a, collection_name: docs })),
        ("PinSnapshotData", message!(PinSnapshotDataRequest { name: "s", db_name: a, collection_name: docs })),
        ("UnpinSnapshotData", message!(UnpinSnapshotDataRequest { pin_id: number("pin_id") })),
        ("RestoreSnapshot", message!(RestoreSnapshotRequest { name: "s", db_name: a, collection_name: docs, target_db_name: "b", target_collection_name: "loot" })),
        ("GetRestoreSnapshotState", message!(GetRestoreSnapshotStateRequest { job_id: number("job_id") })),
        ("ListRestoreSnapshotJobs", message!(ListRestoreSnapshotJobsRequest { db_name: a, collection_name: docs })),
        ("ExportSnapshot", message!(ExportSnapshotRequest { name: "s", db_name: a, collection_name: docs, target_s3_path: "loot" })),
        ("GetExportSnapshotState", message!(GetExportSnapshotStateRequest { job_id: export_job })),
        ("RestoreExternalSnapshot", message!(RestoreExternalSnapshotRequest { db_name: "b", target_collection_name: "loot", snapshot_metadata_uri: stored })),
    ]
}

pub(super) use message;

pub fn schema() -> Vec<u8> {
    use stillframe::milvus::proto::schema as s;
    let field = s::FieldSchema {
        field_id: 100,
        name: "id".into(),
        is_primary_key: true,
        data_type: 5,
        ..Default::default()
    };
    let schema = s::CollectionSchema {
        name: "planted".into(),
        fields: vec![field],
        ..Default::default()
    };
    schema.encode_to_vec()
}

#[tokio::test]
async fn no_call_over_grpc_tells_or_changes_what_is_another_tenants() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    for name in ["a", "b"] {
        admin.post("/v1/databases", &json!({"name": name})).await.created();
    }
    let a = Who::new(&app, "a", &[("writer", "a", "*"), ("operator", "a", "*")]).await;
    let b = Who::new(&app, "b", &[("admin", "b", "*")]).await;
    let of = victim(&app, &a).await;
    let before = rows(&app).await;
    let token = STANDARD.encode(&b.credential);
    let metadata = [("authorization", token.as_str())];
    let mut tried = BTreeSet::new();
    for (call, message) in messages(&of) {
        tried.insert(format!("milvus.{call}"));
        let answer = send_encoded(app.router(), "stillframe", call, &message, &metadata).await;
        let status = status_of(&answer);
        // a list of one's own, and a pin that is as good as gone
        let silent = matches!(call, "ListDatabases" | "UnpinSnapshotData");
        let wanted = match call {
            _ if silent => 0,
            // of a job by its id: Milvus' code of a job that is not there
            "GetRestoreSnapshotState" => 2100,
            "GetExportSnapshotState" => 1100,
            _ => NOT_PERMITTED,
        };
        assert_eq!(status.code, wanted, "{call}: {status:?}");
    }
    let of_grpc = OPERATIONS
        .iter()
        .filter(|(id, access)| id.starts_with("milvus.") && matches!(access, Access::ByName(_)));
    assert_eq!(tried, of_grpc.map(|(id, _)| id.to_string()).collect::<BTreeSet<_>>());
    let after = rows(&app).await;
    for (table, rows) in &before {
        assert_eq!(rows, &after[table], "{table} was changed");
    }
}
