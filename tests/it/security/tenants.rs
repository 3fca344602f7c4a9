//! One tenant tries to get at another's files: by paths, ids, names, tokens, and errors.

use serde_json::{Value, json};

use super::who::{Who, own_segment, required};
use crate::support::TestApp;

/// Two tenants, each with a database of its own; what `a` has is in the answer.
struct Tenants<'a> {
    a: Who<'a>,
    b: Who<'a>,
    /// Id of the collection `docs` of `a`, whose one segment is 51.
    of_a: i64,
    snapshot: Value,
}

async fn tenants(app: &TestApp) -> Tenants<'_> {
    let admin = Who::admin(app);
    let mut both = Vec::new();
    for name in ["a", "b"] {
        admin.post("/v1/databases", &json!({"name": name})).await.created();
        both.push(Who::new(app, name, &[("writer", name, "*"), ("operator", name, "*")]).await);
    }
    let b = both.pop().expect("two");
    let a = both.pop().expect("two");
    let of_a = a.collection_with_segment("a", "docs", 51).await;
    let body = json!({"db_name": "a", "collection_name": "docs", "snapshot_name": "s"});
    let snapshot = a.post("/v1/snapshots", &body).await.created().json;
    Tenants { a, b, of_a, snapshot }
}

#[tokio::test]
async fn a_tenant_can_not_register_the_files_of_another() {
    let app = TestApp::with_auth(required()).await;
    let t = tenants(&app).await;
    let of_b = t.b.collection_with_segment("b", "mine", 61).await;
    let described = t.b.get("/v1/collections/mine?db_name=b").await.ok().json;
    let channel = described["channels"][0]["channel_name"]
        .as_str()
        .expect("a channel")
        .to_string();
    let partition = described["partitions"][0]["partition_id"]
        .as_str()
        .expect("an id")
        .to_string();
    let theirs = format!("collections/{}/segments/51/100/1", t.of_a);
    let size = "rows of 51".len();
    let with_path = |segment: i64, path: &str| {
        json!({"segment_id": segment.to_string(), "partition_name": "_default", "channel_name": channel, "num_of_rows": 1,
            "start_position": {"timestamp": "10"},
            "binlogs": [{"field_id": "100", "logs": [{"log_id": "1", "path": path, "size_bytes": size, "entries_num": 1}]}]})
    };
    let at = "/v1/collections/mine/segments?db_name=b";
    for (segment, path) in [
        (62, theirs.clone()),
        (51, theirs.clone()),
        (62, format!("/{theirs}")),
        (
            62,
            format!("collections/{of_b}/segments/62/../../../{}/segments/51/100/1", t.of_a),
        ),
        (62, format!("collections/{of_b}/../{}/segments/51/100/1", t.of_a)),
        (62, format!("insert_log/{}/{partition}/62/100/1", t.of_a)),
        (62, format!("insert_log/{of_b}/{}/62/100/1", t.of_a + 1)),
        (62, format!("collections/{of_b}/segments/51/100/1")),
        (62, format!("collections/{of_b}/segments/620/100/1")),
        (62, t.snapshot["s3_location"].as_str().expect("a key").into()),
        (
            62,
            format!(
                "snapshots/{}/metadata/{}.json",
                t.of_a,
                t.snapshot["snapshot_id"].as_str().expect("an id")
            ),
        ),
        (62, "stillframe.json".into()),
    ] {
        // whatever is checked: existence and size of a file of others must not decide the answer
        for check in ["", "&check=none"] {
            let refused =
                t.b.post(&format!("{at}{check}"), &with_path(segment, &path))
                    .await
                    .refused(422, "invalid_path");
            assert!(
                !refused.text.contains("rows of 51") && !refused.text.contains("bytes"),
                "{}",
                refused.text
            );
        }
    }
    // as an index build, whose layout has no collection's id
    let index = json!({"index_id": "7", "field_id": "100", "index_name": "i"});
    t.b.post("/v1/collections/mine/indexes?db_name=b", &index).await.created();
    let at = "/v1/collections/mine/segments/61/index-builds?db_name=b";
    for path in [
        theirs.clone(),
        "index_files/900/1/1/51/x".into(),
        format!("index_files/900/1/{partition}/51/x"),
    ] {
        let build = json!({"build_id": "900", "index_id": "7", "num_rows": 1, "files": [{"path": path, "size_bytes": 1}]});
        t.b.post(&format!("{at}&check=none"), &build)
            .await
            .refused(422, "invalid_path");
    }
    // appended to a segment that is there
    let append = json!({"append": {"binlogs": [{"field_id": "100", "logs": [{"log_id": "2", "path": theirs, "size_bytes": size, "entries_num": 1}]}]}});
    t.b.patch("/v1/collections/mine/segments/61?db_name=b", &append)
        .await
        .refused(422, "invalid_path");
    // as the output of a compaction
    let compaction = json!({"inputs": ["61"], "outputs": [with_path(62, &theirs)]});
    t.b.post("/v1/collections/mine/compactions?db_name=b", &compaction)
        .await
        .refused(422, "invalid_path");
    // and not one of them as the input of it
    let body = own_segment(&app, &of_b.to_string(), &channel, 63).await;
    let compaction = json!({"inputs": ["51"], "outputs": [body]});
    t.b.post("/v1/collections/mine/compactions?db_name=b", &compaction)
        .await
        .refused(404, "segment_not_found");
    t.a.get("/v1/collections/docs/segments/51?db_name=a").await.ok();
}

#[tokio::test]
async fn a_tenant_can_not_choose_the_ids_under_which_others_files_lie() {
    let app = TestApp::with_auth(required()).await;
    let t = tenants(&app).await;
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    // files of another system in the same bucket, of which this catalog knows nothing
    app.objects
        .put_many(vec![("insert_log/777/778/779/100/1".into(), b"theirs".to_vec())])
        .await
        .expect("written");
    for body in [
        json!({"db_name": "b", "name": "grab", "fields": fields, "collection_id": "777"}),
        json!({"db_name": "b", "name": "grab", "fields": fields, "collection_id": t.of_a.to_string()}),
        json!({"db_name": "b", "name": "grab", "fields": fields, "collection_id": "777", "ownership": "external"}),
        json!({"db_name": "b", "name": "grab", "fields": fields, "partitions": [{"name": "_default", "partition_id": "778"}]}),
    ] {
        let refused = t.b.post("/v1/collections", &body).await.refused(403, "permission_denied");
        assert!(
            refused.json["detail"].as_str().expect("text").contains("choosing ids"),
            "{}",
            refused.text
        );
    }
    t.b.collection_with_segment("b", "mine", 61).await;
    let partition = json!({"name": "p", "partition_id": "778"});
    t.b.post("/v1/collections/mine/partitions?db_name=b", &partition)
        .await
        .refused(403, "permission_denied");
    t.b.post("/v1/collections/mine/partitions?db_name=b", &json!({"name": "p"}))
        .await
        .created();
}

#[tokio::test]
async fn a_tenant_can_not_reach_anothers_snapshots_and_jobs() {
    let app = TestApp::with_auth(required()).await;
    let t = tenants(&app).await;
    let id = t.snapshot["snapshot_id"].as_str().expect("an id");
    t.b.collection_with_segment("b", "mine", 61).await;
    // by id from one's own database, by name in theirs, through a target of one's own
    let restore = json!({"db_name": "b", "collection_name": "loot"});
    for (at, status, code) in [
        (
            format!("/v1/snapshots/s/restore?db_name=b&snapshot_id={id}"),
            404,
            "snapshot_not_found",
        ),
        ("/v1/snapshots/s/restore?db_name=a".into(), 403, "permission_denied"),
        (
            "/v1/snapshots/s/restore?db_name=a&collection_name=docs".into(),
            403,
            "permission_denied",
        ),
        (
            format!("/v1/snapshots/s/restore?db_name=a&snapshot_id={id}"),
            403,
            "permission_denied",
        ),
    ] {
        t.b.post(&at, &restore).await.refused(status, code);
        t.b.post(&at.replace("/restore?", "/plan-restore?"), &restore)
            .await
            .refused(status, code);
    }
    // and into a target of theirs
    let body = json!({"db_name": "b", "collection_name": "mine", "snapshot_name": "own"});
    t.b.post("/v1/snapshots", &body).await.created();
    let refused =
        t.b.post(
            "/v1/snapshots/own/restore?db_name=b",
            &json!({"db_name": "a", "collection_name": "planted"}),
        )
        .await;
    refused.refused(403, "permission_denied");
    for at in [
        format!("/v1/snapshots/s?db_name=b&snapshot_id={id}"),
        format!("/v1/snapshots/s/segments?db_name=b&snapshot_id={id}"),
    ] {
        t.b.get(&at).await.refused(404, "snapshot_not_found");
    }
    t.b.delete(&format!("/v1/snapshots/s?db_name=b&snapshot_id={id}"))
        .await
        .refused(404, "snapshot_not_found");
    let pin = json!({"owner": "b"});
    t.b.post(&format!("/v1/snapshots/s/pins?db_name=b&snapshot_id={id}"), &pin)
        .await
        .refused(404, "snapshot_not_found");
    let simulate = json!({"db_name": "b", "drop": [{"snapshot_name": "s", "snapshot_id": id}]});
    t.b.post("/v1/usage/simulate", &simulate)
        .await
        .refused(404, "snapshot_not_found");
    t.a.get("/v1/snapshots/s?db_name=a").await.ok();

    // a job of theirs, also with a token of their list of tasks
    let started =
        t.a.post(
            "/v1/snapshots/s/restore?db_name=a",
            &json!({"db_name": "a", "collection_name": "copy"}),
        )
        .await
        .expect(202);
    let job = started.json["job_id"].as_str().expect("an id");
    for part in ["", "/tasks", "/events", "/receipt"] {
        t.b.get(&format!("/v1/restore-jobs/{job}{part}"))
            .await
            .refused(404, "restore_job_not_found");
    }
    for call in ["pause", "resume", "cancel"] {
        t.b.post(&format!("/v1/restore-jobs/{job}/{call}"), &json!({}))
            .await
            .refused(404, "restore_job_not_found");
    }
    let at = format!("/v1/restore-jobs/{job}");
    t.b.patch(&at, &json!({"priority": 10}))
        .await
        .refused(404, "restore_job_not_found");
    app.drain().await;
    assert_eq!(t.a.get(&at).await.ok().json["state"], "Completed");
    t.b.get(&format!("{at}/receipt")).await.refused(404, "restore_job_not_found");
    // what keeps an object is for those who may read everything
    let key = format!("collections/{}/segments/51/100/1", t.of_a);
    t.b.get(&format!("/v1/objects/explain?key={key}"))
        .await
        .refused(403, "permission_denied");
    t.a.get(&format!("/v1/objects/explain?key={key}"))
        .await
        .refused(403, "permission_denied");
}

#[tokio::test]
async fn anothers_page_token_opens_nothing() {
    let app = TestApp::with_auth(required()).await;
    let t = tenants(&app).await;
    t.a.collection_with_segment("a", "docs2", 52).await;
    t.b.collection_with_segment("b", "mine", 61).await;
    let of_a = t.a.get("/v1/collections?db_name=a&page_size=1").await.ok().json;
    let token = of_a["next_page_token"].as_str().expect("a token");
    t.b.get(&format!("/v1/collections?db_name=a&page_size=1&page_token={token}"))
        .await
        .refused(403, "permission_denied");
    t.b.get(&format!("/v1/collections?db_name=b&page_size=1&page_token={token}"))
        .await
        .refused(400, "invalid_page_token");
    // a list that both may ask for
    for collection in ["docs", "docs2"] {
        let body = json!({"db_name": "a", "collection_name": collection, "snapshot_name": format!("of_{collection}")});
        t.a.post("/v1/snapshots", &body).await.created();
        let at = format!("/v1/snapshots/of_{collection}/restore?db_name=a");
        t.a.post(&at, &json!({"db_name": "a", "collection_name": format!("copy_{collection}")}))
            .await
            .expect(202);
    }
    let jobs = t.a.get("/v1/restore-jobs?page_size=1").await.ok().json;
    let token = jobs["next_page_token"].as_str().expect("a token");
    t.b.get(&format!("/v1/restore-jobs?page_size=1&page_token={token}"))
        .await
        .refused(400, "invalid_page_token");
    let next = t.a.get(&format!("/v1/restore-jobs?page_size=1&page_token={token}")).await;
    assert_eq!(next.ok().json["items"].as_array().expect("items").len(), 1);
}

#[tokio::test]
async fn a_name_that_is_taken_tells_a_tenant_only_of_its_own() {
    let app = TestApp::with_auth(required()).await;
    let t = tenants(&app).await;
    // the same names, each in its own database
    t.b.collection_with_segment("b", "docs", 61).await;
    t.b.post(
        "/v1/snapshots",
        &json!({"db_name": "b", "collection_name": "docs", "snapshot_name": "s"}),
    )
    .await
    .created();
    assert_eq!(t.b.get("/v1/snapshots/s?db_name=b").await.ok().json["num_of_rows"], 1);
    // in one database, told apart by patterns: the other's snapshot of the same name makes nothing ambiguous
    let admin = Who::admin(&app);
    for (n, name) in [(71, "x_docs"), (72, "y_docs")] {
        admin.collection_with_segment("default", name, n).await;
        admin
            .post("/v1/snapshots", &json!({"collection_name": name, "snapshot_name": "same"}))
            .await
            .created();
    }
    admin.get("/v1/snapshots/same").await.refused(409, "snapshot_name_ambiguous");
    let x = Who::new(&app, "x", &[("operator", "default", "x_*")]).await;
    let found = x.get("/v1/snapshots/same").await.ok();
    assert!(
        found.json["collection_name"] == "x_docs" && !found.text.contains("y_docs"),
        "{}",
        found.text
    );
    // renaming out of one's own names, or into another's, is refused
    let w = Who::new(&app, "w", &[("writer", "default", "x_*")]).await;
    w.patch("/v1/collections/x_docs", &json!({"name": "y_new"}))
        .await
        .refused(403, "permission_denied");
    w.patch("/v1/collections/y_docs", &json!({"name": "x_new"}))
        .await
        .refused(403, "permission_denied");
    w.patch("/v1/collections/x_docs", &json!({"name": "x_new"})).await.ok();
}
