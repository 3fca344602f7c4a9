//! Roles, patterns, and what a refusal tells.

use serde_json::{Value, json};

use super::who::{Who, own_segment, required};
use crate::support::TestApp;

fn names(list: &Value, key: &str) -> Vec<String> {
    let items = list["items"].as_array().expect("items").iter();
    items.map(|i| i[key].as_str().expect("a text").to_string()).collect()
}

#[tokio::test]
async fn each_role_may_do_its_part_and_no_more() {
    let app = TestApp::with_auth(required()).await;
    let reader = Who::new(&app, "r", &[("reader", "default", "*")]).await;
    let writer = Who::new(&app, "w", &[("writer", "default", "*")]).await;
    let operator = Who::new(&app, "o", &[("operator", "default", "*")]).await;
    let admin = Who::admin(&app);

    let id = writer.collection_with_segment("default", "docs", 11).await;
    let snapshot = json!({"collection_name": "docs", "snapshot_name": "s"});
    for (who, missing) in [(&reader, "operate"), (&writer, "operate")] {
        let refused = who.post("/v1/snapshots", &snapshot).await.refused(403, "permission_denied");
        assert!(
            refused.json["detail"].as_str().expect("text").contains(missing),
            "{}",
            refused.text
        );
    }
    operator.post("/v1/snapshots", &snapshot).await.created();
    for who in [&reader, &writer, &operator] {
        who.get("/v1/collections/docs").await.ok();
        who.get("/v1/snapshots/s").await.ok();
        who.get("/v1/usage?db_name=default").await.ok();
    }
    let segment = own_segment(&app, &id.to_string(), "x", 12).await;
    for who in [&reader, &operator] {
        who.post("/v1/collections/docs/segments", &segment)
            .await
            .refused(403, "permission_denied");
        who.delete("/v1/collections/docs").await.refused(403, "permission_denied");
        who.post("/v1/collections", &json!({"name": "x", "fields": []}))
            .await
            .refused(403, "permission_denied");
    }
    for who in [&reader, &writer] {
        who.delete("/v1/snapshots/s").await.refused(403, "permission_denied");
        who.patch("/v1/snapshots/s", &json!({"description": "x"}))
            .await
            .refused(403, "permission_denied");
        who.post("/v1/snapshots/s/pins", &json!({"owner": "x"}))
            .await
            .refused(403, "permission_denied");
        who.post("/v1/snapshots/s/verify", &json!({"level": "size"}))
            .await
            .refused(403, "permission_denied");
        let restore = json!({"collection_name": "copy"});
        who.post("/v1/snapshots/s/restore", &restore)
            .await
            .refused(403, "permission_denied");
        who.post("/v1/snapshots/s/plan-restore", &restore)
            .await
            .refused(403, "permission_denied");
    }
    // a writer drops a collection, but not the snapshots with it
    writer
        .delete("/v1/collections/docs?cascade=true")
        .await
        .refused(403, "permission_denied");
    let started = operator
        .post("/v1/snapshots/s/restore", &json!({"collection_name": "copy"}))
        .await
        .expect(202);
    let job = started.json["job_id"].as_str().expect("an id");
    for who in [&reader, &writer] {
        who.get(&format!("/v1/restore-jobs/{job}")).await.ok();
        for call in ["pause", "resume", "cancel"] {
            let at = format!("/v1/restore-jobs/{job}/{call}");
            who.post(&at, &json!({})).await.refused(403, "permission_denied");
        }
        let at = format!("/v1/restore-jobs/{job}");
        who.patch(&at, &json!({"priority": 1}))
            .await
            .refused(403, "permission_denied");
    }
    for who in [&reader, &writer, &operator] {
        who.post("/v1/gc/runs", &json!({"dry_run": true}))
            .await
            .refused(403, "permission_denied");
        who.post("/v1/databases", &json!({"name": "x"}))
            .await
            .refused(403, "permission_denied");
        who.get("/v1/keys").await.refused(403, "permission_denied");
        who.get("/v1/audit").await.refused(403, "permission_denied");
        who.get("/metrics").await.refused(403, "permission_denied");
    }
    admin.post("/v1/gc/runs", &json!({"dry_run": true})).await.created();
    admin.get("/metrics").await.ok();
}

#[tokio::test]
async fn a_refusal_does_not_tell_what_exists() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    admin.post("/v1/databases", &json!({"name": "secret_db"})).await.created();
    admin.collection_with_segment("default", "secret", 21).await;
    let snapshot = json!({"collection_name": "secret", "snapshot_name": "s"});
    admin.post("/v1/snapshots", &snapshot).await.created();
    let snapshot_id = admin.get("/v1/snapshots/s").await.ok().json["snapshot_id"]
        .as_str()
        .expect("an id")
        .to_string();
    admin
        .post("/v1/aliases", &json!({"alias": "mine_alias", "collection_name": "secret"}))
        .await
        .created();
    let restore = json!({"collection_name": "secret_copy"});
    let job = admin.post("/v1/snapshots/s/restore", &restore).await.expect(202).json["job_id"]
        .as_str()
        .expect("an id")
        .to_string();
    app.drain().await;

    let all = [
        ("reader", "default", "mine*"),
        ("writer", "default", "mine*"),
        ("operator", "default", "mine*"),
    ];
    let who = Who::new(&app, "tenant", &all).await;
    // the same words about what exists and what does not, but for the name that was asked for
    let same = async |existing: &str, missing: &str, names: (&str, &str), code: (u16, &str)| {
        let there = who.get(existing).await.refused(code.0, code.1).json["detail"]
            .as_str()
            .expect("text")
            .to_string();
        let not = who.get(missing).await.refused(code.0, code.1).json["detail"]
            .as_str()
            .expect("text")
            .to_string();
        assert_eq!(
            there.replace(names.0, "X"),
            not.replace(names.1, "X"),
            "{existing} and {missing}"
        );
    };
    let denied = (403, "permission_denied");
    same(
        "/v1/databases/secret_db",
        "/v1/databases/no_such_db",
        ("secret_db", "no_such_db"),
        denied,
    )
    .await;
    same(
        "/v1/collections/secret",
        "/v1/collections/nothing",
        ("secret", "nothing"),
        denied,
    )
    .await;
    same(
        "/v1/collections?db_name=secret_db",
        "/v1/collections?db_name=no",
        ("secret_db", "no"),
        denied,
    )
    .await;
    for part in ["segments", "indexes", "partitions", "channels"] {
        let at = |name: &str| format!("/v1/collections/{name}/{part}");
        same(&at("secret"), &at("nothing"), ("secret", "nothing"), denied).await;
    }
    same(
        "/v1/snapshots/s?collection_name=secret",
        "/v1/snapshots/t?collection_name=nothing",
        ("secret", "nothing"),
        denied,
    )
    .await;
    let absent = (404, "snapshot_not_found");
    same("/v1/snapshots/s", "/v1/snapshots/t", ("\"s\"", "\"t\""), absent).await;
    let by_id = |id: &str| format!("/v1/snapshots/s?snapshot_id={id}");
    same(&by_id(&snapshot_id), &by_id("12345"), (&snapshot_id, "12345"), absent).await;
    let absent = (404, "restore_job_not_found");
    for part in ["", "/tasks", "/receipt", "/events"] {
        let at = |id: &str| format!("/v1/restore-jobs/{id}{part}");
        same(&at(&job), &at("12345"), (&job, "12345"), absent).await;
    }
    for call in ["pause", "resume", "cancel"] {
        for id in [job.as_str(), "12345"] {
            who.post(&format!("/v1/restore-jobs/{id}/{call}"), &json!({}))
                .await
                .refused(404, "restore_job_not_found");
        }
    }
    // an alias of one's own name leads nowhere one may not go, and no error tells where it leads
    for path in [
        "/v1/collections/mine_alias",
        "/v1/aliases/mine_alias",
        "/v1/collections/mine_alias/segments",
        "/v1/snapshots?collection_name=mine_alias",
    ] {
        let refused = who.get(path).await.refused(403, "permission_denied");
        assert!(!refused.text.contains("secret"), "{}", refused.text);
    }
    let refused = who
        .post("/v1/aliases", &json!({"alias": "mine_2", "collection_name": "secret"}))
        .await;
    refused.refused(403, "permission_denied");
    who.post(
        "/v1/snapshots",
        &json!({"collection_name": "mine_alias", "snapshot_name": "t"}),
    )
    .await
    .refused(403, "permission_denied");
}

#[tokio::test]
async fn lists_and_pages_show_only_what_the_caller_may_see() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    for name in ["team_a", "team_b"] {
        admin.post("/v1/databases", &json!({"name": name})).await.created();
    }
    let all = |db| [("writer", db, "*"), ("operator", db, "*")];
    let (a, b) = (
        Who::new(&app, "a", &all("team_a")).await,
        Who::new(&app, "b", &all("team_b")).await,
    );
    for (n, who, db) in [(0, &a, "team_a"), (1, &b, "team_b")] {
        for at in 0..3 {
            who.collection_with_segment(db, &format!("c{at}_of_{db}"), 30 + 10 * n + at)
                .await;
            let body =
                json!({"db_name": db, "collection_name": format!("c{at}_of_{db}"), "snapshot_name": format!("s{at}_of_{db}")});
            who.post("/v1/snapshots", &body).await.created();
        }
        let alias = json!({"db_name": db, "alias": format!("alias_of_{db}"), "collection_name": format!("c0_of_{db}")});
        who.post("/v1/aliases", &alias).await.created();
        let restore = json!({"db_name": db, "collection_name": format!("copy_of_{db}")});
        who.post(&format!("/v1/snapshots/s0_of_{db}/restore?db_name={db}"), &restore)
            .await
            .expect(202);
    }
    app.drain().await;
    assert_eq!(names(&a.get("/v1/databases").await.ok().json, "name"), ["team_a"]);
    assert_eq!(
        names(&admin.get("/v1/databases").await.ok().json, "name"),
        ["default", "team_a", "team_b"]
    );
    assert_eq!(
        names(&a.get("/v1/collections?db_name=team_a").await.ok().json, "name").len(),
        4
    );
    assert_eq!(
        names(&a.get("/v1/restore-jobs").await.ok().json, "collection_name"),
        ["copy_of_team_a"]
    );
    assert_eq!(
        names(&admin.get("/v1/restore-jobs").await.ok().json, "collection_name").len(),
        2
    );
    a.get("/v1/restore-jobs?db_name=team_b")
        .await
        .refused(403, "permission_denied");
    a.get("/v1/usage").await.refused(403, "permission_denied");
    a.get("/v1/usage?db_name=team_b").await.refused(403, "permission_denied");
    a.get("/v1/usage?db_name=team_a").await.ok();

    // rights on some collections of a database: the pages have no holes
    let some = Who::new(
        &app,
        "some",
        &[
            ("reader", "team_b", "c1_*"),
            ("reader", "team_b", "c2_*"),
            ("reader", "team_a", "alias*"),
        ],
    )
    .await;
    assert_eq!(
        names(&some.get("/v1/collections?db_name=team_b").await.ok().json, "name"),
        ["c1_of_team_b", "c2_of_team_b"]
    );
    let mut seen = Vec::new();
    let mut at = "/v1/snapshots?db_name=team_b&page_size=1".to_string();
    loop {
        let page = some.get(&at).await.ok().json;
        seen.extend(names(&page, "snapshot_name"));
        match page["next_page_token"].as_str() {
            Some(token) => at = format!("/v1/snapshots?db_name=team_b&page_size=1&page_token={token}"),
            None => break,
        }
    }
    assert_eq!(seen, ["s2_of_team_b", "s1_of_team_b"]);
    assert_eq!(
        names(&some.get("/v1/aliases?db_name=team_a").await.ok().json, "alias"),
        [""; 0],
        "its collection is not to be seen"
    );
    some.get("/v1/usage?db_name=team_b").await.refused(403, "permission_denied");
    assert!(names(&some.get("/v1/restore-jobs").await.ok().json, "job_id").is_empty());
}

#[tokio::test]
async fn patterns_mean_the_same_in_lists_and_for_single_things() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    let all = ["a", "a_b", "axb", "a.b", "ab", "b_a", "aab", "A_b", "a$b", "a-b", "a_b_c"];
    for name in all {
        admin
            .post("/v1/collections", &json!({"name": name, "fields": [{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]}))
            .await
            .created();
    }
    for (n, pattern) in ["a_b", "a*", "*b", "a*b", "a_*", "*_*", "**", "a.b", "a$*", "*a*b*"]
        .into_iter()
        .enumerate()
    {
        let who = Who::new(&app, &format!("p{n}"), &[("reader", "default", pattern)]).await;
        let mut listed = names(&who.get("/v1/collections").await.ok().json, "name");
        let mut single = Vec::new();
        for name in all {
            match who.get(&format!("/v1/collections/{name}")).await {
                found if found.status == 200 => single.push(name.to_string()),
                refused => drop(refused.refused(403, "permission_denied")),
            }
        }
        listed.sort();
        single.sort();
        assert_eq!(listed, single, "{pattern}");
    }
}

#[tokio::test]
async fn an_alias_is_taken_from_a_collection_only_by_who_may_write_that_one() {
    let app = TestApp::with_auth(required()).await;
    let admin = Who::admin(&app);
    for (name, segment) in [("theirs", 21), ("mine_1", 22), ("mine_2", 23)] {
        admin.collection_with_segment("default", name, segment).await;
    }
    for (alias, collection) in [("mine_to_theirs", "theirs"), ("mine_to_mine", "mine_1")] {
        let body = json!({"alias": alias, "collection_name": collection});
        admin.post("/v1/aliases", &body).await.created();
    }
    let who = Who::new(&app, "tenant", &[("writer", "default", "mine*")]).await;
    let to_mine = json!({"collection_name": "mine_2"});
    for refused in [
        who.put("/v1/aliases/mine_to_theirs", &to_mine).await,
        who.delete("/v1/aliases/mine_to_theirs").await,
    ] {
        let refused = refused.refused(403, "permission_denied");
        let detail = refused.json["detail"].as_str().expect("text");
        assert!(!detail.contains("\"theirs\""), "where it leads is not told: {detail}");
    }
    let found = admin.get("/v1/aliases/mine_to_theirs").await.ok().json;
    assert_eq!(found["collection_name"], "theirs");
    who.put("/v1/aliases/mine_to_mine", &to_mine).await.ok();
    assert_eq!(
        admin.get("/v1/aliases/mine_to_mine").await.ok().json["collection_name"],
        "mine_2"
    );
    who.delete("/v1/aliases/mine_to_mine").await.expect(204);
    who.delete("/v1/aliases/mine_to_mine").await.refused(404, "alias_not_found");
}

#[tokio::test]
async fn a_snapshot_with_a_flush_needs_what_a_flush_needs() {
    let app = TestApp::with_auth(required()).await;
    let operator = Who::new(&app, "o", &[("operator", "default", "*")]).await;
    let both = Who::new(&app, "both", &[("operator", "default", "*"), ("writer", "default", "*")]).await;
    both.collection_with_segment("default", "docs", 11).await;
    sqlx::query("update segments set state = 'growing' where segment_id = 11")
        .execute(&app.pool)
        .await
        .expect("changed");
    let body = json!({"collection_name": "docs", "snapshot_name": "s", "flush": true, "flush_timeout_ms": 0});
    let refused = operator.post("/v1/snapshots", &body).await.refused(403, "permission_denied");
    assert!(
        refused.json["detail"].as_str().expect("text").contains("write"),
        "{}",
        refused.text
    );
    let state = async || both.get("/v1/collections/docs/segments/11").await.ok().json["state"].clone();
    assert_eq!(state().await, "growing", "nothing was sealed");
    both.post("/v1/snapshots", &body).await.refused(409, "flush_timeout");
    assert_eq!(state().await, "sealed");
    operator
        .post("/v1/snapshots", &json!({"collection_name": "docs", "snapshot_name": "s"}))
        .await
        .created();
}

#[tokio::test]
async fn a_collection_of_another_system_is_entered_by_an_admin_of_everything_only() {
    let app = TestApp::with_auth(required()).await;
    let body = json!({"name": "imported", "ownership": "external", "fields": [
        {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]});
    for grants in [[("writer", "*", "*")], [("admin", "default", "*")]] {
        let who = Who::new(&app, grants[0].0, &grants).await;
        let refused = who.post("/v1/collections", &body).await.refused(403, "permission_denied");
        assert!(
            refused.json["detail"].as_str().expect("text").contains("administer"),
            "{}",
            refused.text
        );
    }
    Who::admin(&app).post("/v1/collections", &body).await.created();
}
