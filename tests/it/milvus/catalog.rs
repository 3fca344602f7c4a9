//! Databases, collections, partitions, aliases, indexes, flush and load over gRPC.

use prost::Message as _;
use serde_json::json;
use stillframe::milvus::proto::common::{KeyValuePair, Status};
use stillframe::milvus::proto::milvus as m;
use stillframe::milvus::proto::schema::value_field::Data;
use stillframe::milvus::proto::schema::{
    CollectionSchema, DataType, FieldSchema, FunctionSchema, FunctionType, StructArrayFieldSchema, ValueField,
};

use super::snapshots::{create, describe};
use super::wire::{send_encoded, status_of};
use crate::support::TestApp;
use crate::support::fixture::COLLECTION;

fn pairs(given: &[(&str, &str)]) -> Vec<KeyValuePair> {
    let pair = |(key, value): &(&str, &str)| KeyValuePair {
        key: (*key).into(),
        value: (*value).into(),
    };
    given.iter().map(pair).collect()
}

fn field(name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema {
        name: name.into(),
        data_type: data_type.into(),
        ..Default::default()
    }
}

fn schema() -> CollectionSchema {
    CollectionSchema {
        description: "made by a client".into(),
        enable_dynamic_field: true,
        fields: vec![
            FieldSchema {
                is_primary_key: true,
                auto_id: true,
                ..field("id", DataType::Int64)
            },
            FieldSchema {
                type_params: pairs(&[("dim", "4")]),
                ..field("vec", DataType::FloatVector)
            },
            FieldSchema {
                type_params: pairs(&[("max_length", "64"), ("enable_analyzer", "true")]),
                nullable: true,
                default_value: Some(ValueField {
                    data: Some(Data::StringData("none".into())),
                }),
                ..field("text", DataType::VarChar)
            },
            FieldSchema {
                is_function_output: true,
                ..field("sparse", DataType::SparseFloatVector)
            },
        ],
        functions: vec![FunctionSchema {
            name: "bm25".into(),
            r#type: FunctionType::Bm25.into(),
            input_field_names: vec!["text".into()],
            output_field_names: vec!["sparse".into()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn create_request(name: &str, schema: &CollectionSchema) -> m::CreateCollectionRequest {
    m::CreateCollectionRequest {
        collection_name: name.into(),
        schema: schema.encode_to_vec(),
        shards_num: 2,
        consistency_level: 2,
        properties: pairs(&[("collection.ttl.seconds", "3600")]),
        ..Default::default()
    }
}

async fn described(app: &TestApp, name: &str) -> m::DescribeCollectionResponse {
    let request = m::DescribeCollectionRequest {
        collection_name: name.into(),
        ..Default::default()
    };
    app.milvus_ok("DescribeCollection", request).await
}

#[tokio::test]
async fn a_collection_made_by_a_client_is_whole_and_can_be_snapshotted() {
    let app = TestApp::local().await;
    app.milvus_ok::<Status>("CreateCollection", create_request("c", &schema()))
        .await;
    let there = described(&app, "c").await;
    let shown = there.schema.clone().expect("a schema");
    let ids: Vec<(i64, &str)> = shown.fields.iter().map(|f| (f.field_id, f.name.as_str())).collect();
    assert_eq!(ids, [(100, "id"), (101, "vec"), (102, "text"), (103, "sparse")]);
    assert!(shown.enable_dynamic_field && shown.auto_id);
    assert_eq!(shown.fields[2].default_value, schema().fields[2].default_value);
    assert_eq!(shown.functions[0].input_field_ids, [102]);
    assert_eq!(shown.functions[0].output_field_names, ["sparse"]);
    assert_eq!((there.shards_num, there.consistency_level, there.num_partitions), (2, 2, 1));
    assert_eq!(there.properties, pairs(&[("collection.ttl.seconds", "3600")]));
    assert_eq!(there.virtual_channel_names.len(), 2);
    assert!(there.virtual_channel_names[0].starts_with(&there.physical_channel_names[0]));

    // over REST it has Milvus' own columns and the dynamic field too
    let rest = app.get("/v1/collections/c").await.ok().json;
    assert_eq!(rest["fields"].as_array().expect("fields").len(), 7);
    assert_eq!(rest["collection_id"], there.collection_id.to_string());

    // an empty collection has a snapshot as in Milvus, and its restore is one
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "c")).await;
    let snapshot: m::DescribeSnapshotResponse = app.milvus_ok("DescribeSnapshot", describe("s", "c")).await;
    assert!(snapshot.create_ts > 0);
    let request = m::RestoreSnapshotRequest {
        name: "s".into(),
        collection_name: "c".into(),
        target_collection_name: "again".into(),
        ..Default::default()
    };
    app.milvus_ok::<m::RestoreSnapshotResponse>("RestoreSnapshot", request).await;
    app.drain().await;
    let again = described(&app, "again").await.schema.expect("a schema");
    assert_eq!(again.fields, shown.fields, "field ids are kept");

    // the same again is success, another one is not
    app.milvus_ok::<Status>("CreateCollection", create_request("c", &schema()))
        .await;
    let mut other = schema();
    other.fields[1].type_params = pairs(&[("dim", "8")]);
    let said = app
        .milvus_refused::<Status>("CreateCollection", create_request("c", &other), 65_535)
        .await;
    assert!(
        said.contains("create duplicate collection with different parameters"),
        "{said}"
    );
}

#[tokio::test]
async fn structs_of_a_client_come_back_whole() {
    let app = TestApp::memory().await;
    let group = |name: &str| StructArrayFieldSchema {
        name: name.into(),
        fields: vec![FieldSchema {
            element_type: DataType::VarChar.into(),
            ..field("title", DataType::Array)
        }],
        type_params: pairs(&[("max_capacity", "100")]),
        nullable: true,
        ..Default::default()
    };
    let wanted = CollectionSchema {
        struct_array_fields: vec![group("clip"), group("shot")],
        do_physical_backfill: true,
        file_resource_ids: vec![7, 1 << 60],
        enable_namespace: true,
        ..schema()
    };
    app.milvus_ok::<Status>("CreateCollection", create_request("c", &wanted))
        .await;
    let mut shown = described(&app, "c").await.schema.expect("a schema");
    assert_eq!(
        (shown.do_physical_backfill, shown.enable_namespace, &shown.file_resource_ids),
        (true, true, &wanted.file_resource_ids)
    );
    for group in &mut shown.struct_array_fields {
        assert!(group.field_id > 100);
        group.field_id = 0;
        group.fields.iter_mut().for_each(|f| f.field_id = 0);
    }
    assert_eq!(shown.struct_array_fields, wanted.struct_array_fields);
}

#[tokio::test]
async fn schemas_that_can_not_be_are_refused() {
    let app = TestApp::memory().await;
    let garbage = m::CreateCollectionRequest {
        schema: vec![255, 255, 255],
        ..create_request("c", &schema())
    };
    app.milvus_refused::<Status>("CreateCollection", garbage, 1100).await;
    let mut unknown_type = schema();
    unknown_type.fields[1].data_type = 77;
    app.milvus_refused::<Status>("CreateCollection", create_request("c", &unknown_type), 1100)
        .await;
    let mut no_key = schema();
    no_key.fields[0].is_primary_key = false;
    app.milvus_refused::<Status>("CreateCollection", create_request("c", &no_key), 1100)
        .await;
    let mut no_input = schema();
    no_input.functions[0].input_field_names = vec!["nothing".into()];
    app.milvus_refused::<Status>("CreateCollection", create_request("c", &no_input), 1100)
        .await;
    let external = CollectionSchema {
        external_source: "s3://somewhere".into(),
        ..schema()
    };
    app.milvus_refused::<Status>("CreateCollection", create_request("c", &external), 3000)
        .await;
    // what a newer client says is not lost without a word: field 18 of a field
    let mut newer = schema().encode_to_vec();
    newer.extend([0x22, 5, 0x92, 0x01, 2, b'a', b'b']);
    let newer = m::CreateCollectionRequest {
        schema: newer,
        ..create_request("c", &schema())
    };
    let said = app.milvus_refused::<Status>("CreateCollection", newer, 3000).await;
    assert!(said.ends_with("field 18 of FieldSchema"), "{said}");
    app.milvus_refused::<Status>("CreateCollection", create_request("1c", &schema()), 1100)
        .await;
    let mut keyed = schema();
    keyed.fields[2].is_partition_key = true;
    app.milvus_ok::<Status>("CreateCollection", create_request("keyed", &keyed))
        .await;
    assert_eq!(described(&app, "keyed").await.num_partitions, 16);
}

#[tokio::test]
async fn collections_are_found_renamed_changed_and_dropped() {
    let app = TestApp::memory().await;
    for name in ["a", "b"] {
        app.milvus_ok::<Status>("CreateCollection", create_request(name, &schema()))
            .await;
    }
    let has = async |name: &str| {
        let request = m::HasCollectionRequest {
            collection_name: name.into(),
            ..Default::default()
        };
        app.milvus_ok::<m::BoolResponse>("HasCollection", request).await.value
    };
    assert!(has("a").await && !has("nothing").await);
    let listed: m::ShowCollectionsResponse = app.milvus_ok("ShowCollections", m::ShowCollectionsRequest::default()).await;
    assert_eq!(listed.collection_names, ["a", "b"]);
    assert_eq!(listed.collection_ids[0], described(&app, "a").await.collection_id);

    let request = m::DescribeCollectionRequest {
        collection_name: "nothing".into(),
        ..Default::default()
    };
    let status = app
        .milvus::<m::DescribeCollectionResponse>("DescribeCollection", request)
        .await
        .status
        .expect("a status");
    assert_eq!((status.code, status.error_code), (100, 4));
    assert!(status.reason.contains("can't find collection"), "{status:?}");

    let rename = |old: &str, new: &str| m::RenameCollectionRequest {
        old_name: old.into(),
        new_name: new.into(),
        ..Default::default()
    };
    app.milvus_refused::<Status>("RenameCollection", rename("a", "b"), 65_535)
        .await;
    app.milvus_ok::<Status>("RenameCollection", rename("a", "c")).await;
    app.milvus_refused::<Status>("RenameCollection", rename("a", "d"), 100).await;
    let moved = m::RenameCollectionRequest {
        new_db_name: "other".into(),
        ..rename("c", "d")
    };
    app.milvus_refused::<Status>("RenameCollection", moved, 3000).await;

    let alter = m::AlterCollectionRequest {
        collection_name: "c".into(),
        properties: pairs(&[("mmap.enabled", "true")]),
        delete_keys: vec!["collection.ttl.seconds".into()],
        ..Default::default()
    };
    app.milvus_ok::<Status>("AlterCollection", alter).await;
    assert_eq!(described(&app, "c").await.properties, pairs(&[("mmap.enabled", "true")]));

    let alias = |alias: &str, collection: &str| m::CreateAliasRequest {
        alias: alias.into(),
        collection_name: collection.into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("CreateAlias", alias("live", "c")).await;
    app.milvus_ok::<Status>("CreateAlias", alias("live", "c")).await;
    let said = app.milvus_refused::<Status>("CreateAlias", alias("live", "b"), 1602).await;
    assert_eq!(
        said,
        "live is alias to another collection: c: alias already exist[database=default][alias=live]"
    );
    let said = app.milvus_refused::<Status>("CreateAlias", alias("b", "c"), 1601).await;
    let conflict = "alias and collection name conflict[database=default][alias=b]";
    assert!(said.starts_with(conflict), "{said}");
    let found = described(&app, "live").await;
    assert_eq!(
        (found.collection_name.as_str(), found.aliases),
        ("c", vec!["live".to_string()])
    );
    let drop_request = |name: &str| m::DropCollectionRequest {
        collection_name: name.into(),
        ..Default::default()
    };
    let said = app
        .milvus_refused::<Status>("DropCollection", drop_request("live"), 1100)
        .await;
    assert_eq!(said, "cannot drop the collection via alias = live");
    app.milvus_ok::<Status>("DropCollection", drop_request("c")).await;
    app.milvus_ok::<Status>("DropCollection", drop_request("c")).await;
    assert!(!has("live").await);
}

#[tokio::test]
async fn databases_partitions_and_aliases_are_kept() {
    let app = TestApp::memory().await;
    let named = |name: &str| m::CreateDatabaseRequest {
        db_name: name.into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("CreateDatabase", named("books")).await;
    app.milvus_refused::<Status>("CreateDatabase", named("books"), 65_535).await;
    let with_properties = m::CreateDatabaseRequest {
        properties: pairs(&[("database.replica.number", "2")]),
        ..named("more")
    };
    let said = app.milvus_refused::<Status>("CreateDatabase", with_properties, 3000).await;
    assert!(said.ends_with("database.replica.number"), "{said}");
    let never = m::DropDatabaseRequest { db_name: "never".into() };
    app.milvus_ok::<Status>("DropDatabase", never).await;
    let listed: m::ListDatabasesResponse = app.milvus_ok("ListDatabases", m::ListDatabasesRequest {}).await;
    assert_eq!(listed.db_names, ["books", "default"]);
    let found: m::DescribeDatabaseResponse = app
        .milvus_ok("DescribeDatabase", m::DescribeDatabaseRequest { db_name: "books".into() })
        .await;
    assert_eq!(found.db_id, listed.db_ids[0]);
    assert_eq!(found.created_timestamp, listed.created_timestamp[0]);

    let dbname = [("dbname", "books")];
    let request = create_request("c", &schema());
    let status: Status = app.milvus_with("CreateCollection", request, &dbname).await;
    assert_eq!(status.code, 0, "{status:?}");
    app.get("/v1/collections/c?db_name=books").await.ok();
    app.get("/v1/collections/c").await.refused(404, "collection_not_found");
    let drop_books = m::DropDatabaseRequest { db_name: "books".into() };
    app.milvus_refused::<Status>("DropDatabase", drop_books.clone(), 65_535).await;

    app.milvus_ok::<Status>("CreateCollection", create_request("c", &schema()))
        .await;
    let partition = |name: &str| m::CreatePartitionRequest {
        collection_name: "c".into(),
        partition_name: name.into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("CreatePartition", partition("p")).await;
    app.milvus_ok::<Status>("CreatePartition", partition("p")).await;
    let has = async |name: &str| {
        let request = m::HasPartitionRequest {
            collection_name: "c".into(),
            partition_name: name.into(),
            ..Default::default()
        };
        app.milvus_ok::<m::BoolResponse>("HasPartition", request).await.value
    };
    assert!(has("p").await && !has("q").await);
    let show = |names: &[&str]| m::ShowPartitionsRequest {
        collection_name: "c".into(),
        partition_names: names.iter().map(ToString::to_string).collect(),
        ..Default::default()
    };
    let listed: m::ShowPartitionsResponse = app.milvus_ok("ShowPartitions", show(&[])).await;
    assert_eq!(listed.partition_names, ["_default", "p"]);
    app.milvus_refused::<m::ShowPartitionsResponse>("ShowPartitions", show(&["q"]), 200)
        .await;
    let gone = |name: &str| m::DropPartitionRequest {
        collection_name: "c".into(),
        partition_name: name.into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("DropPartition", gone("p")).await;
    app.milvus_ok::<Status>("DropPartition", gone("p")).await;
    app.milvus_refused::<Status>("DropPartition", gone("_default"), 1100).await;

    let alter = |alias: &str| m::AlterAliasRequest {
        alias: alias.into(),
        collection_name: "c".into(),
        ..Default::default()
    };
    app.milvus_refused::<Status>("AlterAlias", alter("live"), 1600).await;
    let request = m::CreateAliasRequest {
        alias: "live".into(),
        collection_name: "c".into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("CreateAlias", request).await;
    app.milvus_ok::<Status>("AlterAlias", alter("live")).await;
    let found: m::DescribeAliasResponse = app
        .milvus_ok(
            "DescribeAlias",
            m::DescribeAliasRequest {
                alias: "live".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(found.collection, "c");
    let listed: m::ListAliasesResponse = app.milvus_ok("ListAliases", m::ListAliasesRequest::default()).await;
    assert_eq!(listed.aliases, ["live"]);
    let gone = m::DropAliasRequest {
        alias: "live".into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("DropAlias", gone.clone()).await;
    app.milvus_refused::<Status>("DropAlias", gone, 1600).await;
}

/// A request about the alias `a`.
macro_rules! of_a {
    ($message:ident $(, $field:ident: $value:expr)*) => {
        m::$message { collection_name: "a".into(), $($field: $value,)* ..Default::default() }
    };
}

#[tokio::test]
async fn an_alias_stands_for_its_collection_in_every_call() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 500).await;
    let alias = json!({"alias": "a", "collection_name": "c"});
    app.post("/v1/aliases", &alias).await.created();
    app.milvus_ok::<Status>("CreateSnapshot", create("s", "a")).await;
    let p2 = || vec!["p2".to_string()];
    let changes = [
        (
            "AlterCollection",
            of_a!(AlterCollectionRequest, properties: pairs(&[("mmap.enabled", "true")])).encode_to_vec(),
        ),
        ("CreatePartition", of_a!(CreatePartitionRequest, partition_name: "p3".into()).encode_to_vec()),
        ("DropPartition", of_a!(DropPartitionRequest, partition_name: "p3".into()).encode_to_vec()),
        (
            "CreateIndex",
            of_a!(CreateIndexRequest, field_name: "id".into(), index_name: "by_id".into(), extra_params: pairs(&[("index_type", "STL_SORT")]))
                .encode_to_vec(),
        ),
        (
            "AlterIndex",
            of_a!(AlterIndexRequest, index_name: "by_id".into(), extra_params: pairs(&[("mmap.enabled", "true")])).encode_to_vec(),
        ),
        ("LoadCollection", of_a!(LoadCollectionRequest).encode_to_vec()),
        ("GetLoadingProgress", of_a!(GetLoadingProgressRequest).encode_to_vec()),
        ("LoadPartitions", of_a!(LoadPartitionsRequest, partition_names: p2()).encode_to_vec()),
        ("ReleasePartitions", of_a!(ReleasePartitionsRequest, partition_names: p2()).encode_to_vec()),
        ("ReleaseCollection", of_a!(ReleaseCollectionRequest).encode_to_vec()),
        ("ListRestoreSnapshotJobs", of_a!(ListRestoreSnapshotJobsRequest).encode_to_vec()),
    ];
    for (call, message) in &changes {
        let status = status_of(&send_encoded(app.router(), "stillframe", call, message, &[]).await);
        assert_eq!(status.code, 0, "{call}: {status:?}");
    }
    assert_eq!(described(&app, "c").await.properties, pairs(&[("mmap.enabled", "true")]));
    let index = app.get("/v1/collections/c/indexes/by_id").await.ok().json;
    assert_eq!(index["index_params"]["mmap.enabled"], "true");

    let shown: m::DescribeIndexResponse = app.milvus_ok("DescribeIndex", of_a!(DescribeIndexRequest)).await;
    let mut names: Vec<&str> = shown.index_descriptions.iter().map(|i| i.index_name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["by_id", "vec_idx"]);
    let gone = of_a!(DropIndexRequest, index_name: "by_id".into());
    app.milvus_ok::<Status>("DropIndex", gone).await;
    app.get("/v1/collections/c/indexes/by_id")
        .await
        .refused(404, "index_not_found");
    let found: m::BoolResponse = app.milvus_ok("HasCollection", of_a!(HasCollectionRequest)).await;
    assert!(found.value);
    let has = of_a!(HasPartitionRequest, partition_name: "p2".into());
    assert!(app.milvus_ok::<m::BoolResponse>("HasPartition", has).await.value);
    let shown: m::ShowPartitionsResponse = app.milvus_ok("ShowPartitions", of_a!(ShowPartitionsRequest)).await;
    assert_eq!(shown.partition_i_ds, [101, 102]);
    let state: m::GetLoadStateResponse = app.milvus_ok("GetLoadState", of_a!(GetLoadStateRequest)).await;
    assert_eq!(state.state().as_str_name(), "LoadStateLoaded");
    let counted: m::GetCollectionStatisticsResponse = app
        .milvus_ok("GetCollectionStatistics", of_a!(GetCollectionStatisticsRequest))
        .await;
    assert_eq!(counted.stats, pairs(&[("row_count", "5")]));
    let found: m::GetPersistentSegmentInfoResponse = app
        .milvus_ok("GetPersistentSegmentInfo", of_a!(GetPersistentSegmentInfoRequest))
        .await;
    assert_eq!((found.infos[0].segment_id, found.infos[0].collection_id), (500, 100));
    let flush = m::FlushRequest {
        collection_names: vec!["a".into()],
        ..Default::default()
    };
    let flushed: m::FlushResponse = app.milvus_ok("Flush", flush).await;
    // clients look for what they asked about
    let ask = of_a!(GetFlushStateRequest, segment_i_ds: vec![500], flush_ts: flushed.coll_flush_ts["a"]);
    assert!(app.milvus_ok::<m::GetFlushStateResponse>("GetFlushState", ask).await.flushed);

    let listed: m::ListSnapshotsResponse = app.milvus_ok("ListSnapshots", of_a!(ListSnapshotsRequest)).await;
    assert_eq!(listed.snapshots, ["s"]);
    let pin = of_a!(PinSnapshotDataRequest, name: "s".into());
    let pinned: m::PinSnapshotDataResponse = app.milvus_ok("PinSnapshotData", pin).await;
    let pins = app.get("/v1/snapshots/s/pins?collection_name=c").await.ok().json;
    assert_eq!(pins["items"][0]["pin_id"], pinned.pin_id.to_string());
    let restore = of_a!(RestoreSnapshotRequest, name: "s".into(), target_collection_name: "r".into());
    let started: m::RestoreSnapshotResponse = app.milvus_ok("RestoreSnapshot", restore).await;
    let job = app.get(&format!("/v1/restore-jobs/{}", started.job_id)).await.ok().json;
    assert_eq!(job["source_collection_name"], "c");
    let export = of_a!(ExportSnapshotRequest, name: "s".into(), target_s3_path: "x".into());
    let started: m::ExportSnapshotResponse = app.milvus_ok("ExportSnapshot", export).await;
    let ask = m::GetExportSnapshotStateRequest { job_id: started.job_id };
    let job: m::GetExportSnapshotStateResponse = app.milvus_ok("GetExportSnapshotState", ask).await;
    assert_eq!(job.info.expect("a job").collection_name, "c");

    // what Milvus refuses through one
    let rename = m::RenameCollectionRequest {
        old_name: "a".into(),
        new_name: "d".into(),
        ..Default::default()
    };
    let said = app.milvus_refused::<Status>("RenameCollection", rename, 65_535).await;
    assert_eq!(said, "unsupported use an alias to rename collection, alias:a");
    assert_eq!(described(&app, "a").await.collection_name, "c");
}

#[tokio::test]
async fn indexes_say_how_much_of_the_rows_the_engine_has_built() {
    let app = TestApp::local().await;
    app.load_fixture().await;
    let describe = |name: &str| m::DescribeIndexRequest {
        collection_name: COLLECTION.into(),
        index_name: name.into(),
        ..Default::default()
    };
    let found: m::DescribeIndexResponse = app.milvus_ok("DescribeIndex", describe("vec_hnsw")).await;
    let hnsw = &found.index_descriptions[0];
    assert_eq!((hnsw.field_name.as_str(), hnsw.total_rows), ("vec", 9000));
    assert_eq!(hnsw.indexed_rows + hnsw.pending_index_rows, 9000);
    assert!(hnsw.params.contains(&pairs(&[("metric_type", "L2")])[0]), "{hnsw:?}");

    let on_score = |metric: &str| m::CreateIndexRequest {
        collection_name: COLLECTION.into(),
        field_name: "score".into(),
        extra_params: pairs(&[("index_type", "STL_SORT"), ("params", metric)]),
        ..Default::default()
    };
    app.milvus_ok::<Status>("CreateIndex", on_score("{\"a\": 1}")).await;
    app.milvus_ok::<Status>("CreateIndex", on_score("{\"a\": 1}")).await;
    app.milvus_refused::<Status>("CreateIndex", on_score("{\"a\": 2}"), 702).await;
    let found: m::DescribeIndexResponse = app.milvus_ok("DescribeIndex", describe("score")).await;
    let score = &found.index_descriptions[0];
    assert_eq!((score.indexed_rows, score.pending_index_rows), (0, 9000));
    assert_eq!(score.state().as_str_name(), "InProgress", "the engine has not built it");
    let rest = app.get("/v1/collections/feas/indexes/score").await.ok().json;
    assert_eq!(rest["index_params"], json!({"index_type": "STL_SORT", "a": "1"}));

    let alter = m::AlterIndexRequest {
        collection_name: COLLECTION.into(),
        index_name: "score".into(),
        extra_params: pairs(&[("mmap.enabled", "true")]),
        ..Default::default()
    };
    app.milvus_ok::<Status>("AlterIndex", alter).await;
    let rest = app.get("/v1/collections/feas/indexes/score").await.ok().json;
    assert_eq!(rest["index_params"]["mmap.enabled"], "true");
    let alter = m::AlterIndexRequest {
        collection_name: COLLECTION.into(),
        index_name: "nothing".into(),
        delete_keys: vec!["mmap.enabled".into()],
        ..Default::default()
    };
    app.milvus_refused::<Status>("AlterIndex", alter, 700).await;

    let unknown = m::CreateIndexRequest {
        field_name: "nothing".into(),
        ..on_score("{}")
    };
    app.milvus_refused::<Status>("CreateIndex", unknown, 1700).await;
    let gone = m::DropIndexRequest {
        collection_name: COLLECTION.into(),
        index_name: "score".into(),
        ..Default::default()
    };
    app.milvus_ok::<Status>("DropIndex", gone.clone()).await;
    app.milvus_ok::<Status>("DropIndex", gone).await;
    app.milvus_refused::<m::DescribeIndexResponse>("DescribeIndex", describe("score"), 700)
        .await;
}

#[tokio::test]
async fn a_flush_waits_for_the_engine_and_rows_and_segments_are_counted() {
    let app = TestApp::local().await;
    app.small_collection("c", 100).await;
    app.add_segment("c", 100, 500).await;
    let growing = json!({"segment_id": "600", "partition_name": "_default", "channel_name": "ch_100", "level": "L1",
        "state": "growing", "num_of_rows": 3, "start_position": {"timestamp": "10"}});
    app.post("/v1/collections/c/segments", &growing).await.created();
    let flush = m::FlushRequest {
        collection_names: vec!["c".into()],
        ..Default::default()
    };
    let flushed: m::FlushResponse = app.milvus_ok("Flush", flush).await;
    assert_eq!(flushed.coll_seg_i_ds["c"].data, [600]);
    let ask = m::GetFlushStateRequest {
        segment_i_ds: vec![500, 600],
        flush_ts: flushed.coll_flush_ts["c"],
        collection_name: "c".into(),
        ..Default::default()
    };
    let state: m::GetFlushStateResponse = app.milvus_ok("GetFlushState", ask.clone()).await;
    assert!(!state.flushed);
    app.patch("/v1/collections/c/segments/600", &json!({"state": "flushed"}))
        .await
        .ok();
    let state: m::GetFlushStateResponse = app.milvus_ok("GetFlushState", ask).await;
    assert!(state.flushed);

    let found: m::GetPersistentSegmentInfoResponse = app
        .milvus_ok(
            "GetPersistentSegmentInfo",
            m::GetPersistentSegmentInfoRequest {
                collection_name: "c".into(),
                ..Default::default()
            },
        )
        .await;
    let seen: Vec<(i64, &str)> = found.infos.iter().map(|i| (i.segment_id, i.state().as_str_name())).collect();
    assert_eq!(seen, [(500, "Flushed"), (600, "Flushed")]);
    let rows: i64 = found.infos.iter().map(|i| i.num_rows).sum();
    let counted: m::GetCollectionStatisticsResponse = app
        .milvus_ok(
            "GetCollectionStatistics",
            m::GetCollectionStatisticsRequest {
                collection_name: "c".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(counted.stats, pairs(&[("row_count", &rows.to_string())]));
}

#[tokio::test]
async fn loading_is_answered_as_a_catalog_would() {
    let app = TestApp::memory().await;
    app.small_collection("c", 100).await;
    for (collection, code) in [("c", 0), ("nothing", 100)] {
        let load = m::LoadCollectionRequest {
            collection_name: collection.into(),
            ..Default::default()
        };
        assert_eq!(app.milvus::<Status>("LoadCollection", load).await.code, code);
        let release = m::ReleaseCollectionRequest {
            collection_name: collection.into(),
            ..Default::default()
        };
        assert_eq!(app.milvus::<Status>("ReleaseCollection", release).await.code, code);
    }
    let load = m::LoadPartitionsRequest {
        collection_name: "c".into(),
        partition_names: vec!["p2".into(), "nothing".into()],
        ..Default::default()
    };
    app.milvus_refused::<Status>("LoadPartitions", load, 200).await;
    let progress: m::GetLoadingProgressResponse = app
        .milvus_ok(
            "GetLoadingProgress",
            m::GetLoadingProgressRequest {
                collection_name: "c".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(progress.progress, 100);
    for (collection, state) in [("c", "LoadStateLoaded"), ("nothing", "LoadStateNotExist")] {
        let request = m::GetLoadStateRequest {
            collection_name: collection.into(),
            ..Default::default()
        };
        let found: m::GetLoadStateResponse = app.milvus_ok("GetLoadState", request).await;
        assert_eq!(found.state().as_str_name(), state);
    }
}
