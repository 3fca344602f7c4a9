//! Pages of lists while others write: every list that takes a page token.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http_semantics::{app, snapshot};
use crate::support::{TestApp, jobs};
use crate::watching::webhooks;

/// The values of a field of all entries of a list, page by page, while others write between the pages.
async fn paged(app: &TestApp, list: &str, field: &str, mut write: impl AsyncFnMut(usize)) -> Vec<String> {
    let (mut seen, mut token) = (Vec::new(), String::new());
    for page in 0.. {
        let answer = app.get(&format!("{list}?page_size=4{token}")).await.ok().json;
        let items = answer["items"].as_array().expect("items");
        seen.extend(items.iter().map(|item| item[field].as_str().expect("text").to_string()));
        let Some(next) = answer["next_page_token"].as_str() else {
            break;
        };
        token = format!("&page_token={next}");
        assert!(page < 100, "it has an end");
        write(page).await;
    }
    seen
}

/// Reads a list while others write: what was there from the first page to the last is seen exactly once.
async fn stays_whole(app: &TestApp, list: &str, field: &str, gone: &[&str], write: impl AsyncFnMut(usize)) {
    let before = app.get(&format!("{list}?page_size=1000")).await.ok().json;
    let before = before["items"].as_array().expect("items").iter();
    let before: BTreeSet<String> = before.map(|item| item[field].as_str().expect("text").to_string()).collect();
    assert!(before.len() >= 10, "{list}: {before:?}");
    let seen = paged(app, list, field, write).await;
    let once: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(once.len(), seen.len(), "{list}: none twice: {seen:?}");
    let missed: Vec<&String> = before.difference(&once).filter(|id| !gone.contains(&id.as_str())).collect();
    assert!(missed.is_empty(), "{list}: {missed:?} of {seen:?}");
}

#[tokio::test]
async fn pages_of_snapshots_stay_whole_while_others_write() {
    let app = app().await;
    for n in 0..30 {
        app.post("/v1/snapshots", &snapshot(&format!("old_{n:02}"))).await.created();
    }
    let write = async |page: usize| {
        // one before, one behind the reader; what is dropped is no longer there
        app.post("/v1/snapshots", &snapshot(&format!("new_{page}"))).await.created();
        if page == 2 {
            app.delete("/v1/snapshots/old_00").await.expect(204);
        }
    };
    stays_whole(&app, "/v1/snapshots", "snapshot_name", &["old_00"], write).await;
}

#[tokio::test]
async fn pages_of_segments_stay_whole_while_others_write() {
    let app = app().await;
    for segment in 0..20 {
        app.add_segment("c", 100, 500 + 10 * segment).await;
    }
    let write = async |page: usize| {
        let page = i64::try_from(page).expect("small");
        // before the reader, and behind
        app.add_segment("c", 100, 400 + page).await;
        app.add_segment("c", 100, 605 + page).await;
        if page == 1 {
            app.delete("/v1/collections/c/segments/690").await.expect(204);
        }
    };
    stays_whole(&app, "/v1/collections/c/segments", "segment_id", &["690"], write).await;
}

#[tokio::test]
async fn pages_of_restore_jobs_stay_whole_while_others_write() {
    let app = app().await;
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    let restore = async |target: String| {
        let body = json!({"collection_name": target});
        let job = app.post("/v1/snapshots/s/restore", &body).await.expect(202).json;
        job["job_id"].as_str().expect("an id").to_string()
    };
    let mut jobs = Vec::new();
    for n in 0..14 {
        jobs.push(restore(format!("old_{n}")).await);
    }
    let write = async |page: usize| {
        restore(format!("new_{page}")).await;
        // another state is no other place
        let cancelled = format!("/v1/restore-jobs/{}/cancel", jobs[jobs.len() - 1 - page]);
        app.post(&cancelled, &json!({})).await.ok();
    };
    stays_whole(&app, "/v1/restore-jobs", "job_id", &[], write).await;
}

#[tokio::test]
async fn pages_of_the_audit_log_stay_whole_while_others_write() {
    let app = app().await;
    let make = async |name: String| {
        app.post("/v1/databases", &json!({"name": name})).await.created();
    };
    for n in 0..14 {
        make(format!("old_{n}")).await;
    }
    stays_whole(&app, "/v1/audit", "event_id", &[], async |page| {
        make(format!("new_{page}")).await
    })
    .await;
}

#[tokio::test]
async fn pages_of_webhook_deliveries_stay_whole_while_others_write() {
    let app = TestApp::with_settings(webhooks::settings()).await;
    app.small_collection("c", 100).await;
    let hook = webhooks::webhook(&app, "http://127.0.0.1:9/", &["snapshot.created"]).await;
    for n in 0..14 {
        app.post("/v1/snapshots", &snapshot(&format!("old_{n}"))).await.created();
    }
    let write = async |page: usize| {
        app.post("/v1/snapshots", &snapshot(&format!("new_{page}"))).await.created();
    };
    let list = format!("/v1/webhooks/{}/deliveries", hook["webhook_id"].as_str().expect("an id"));
    stays_whole(&app, &list, "delivery_id", &[], write).await;
}

/// Makes what a list has at first: more than three pages.
async fn fourteen(mut make: impl AsyncFnMut(String)) {
    for n in 0..14 {
        make(format!("old_{n:02}")).await;
    }
}

#[tokio::test]
async fn pages_of_databases_stay_whole_while_others_write() {
    let app = app().await;
    let make = async |name: String| {
        app.post("/v1/databases", &json!({"name": name})).await.created();
    };
    fourteen(&make).await;
    let write = async |page: usize| {
        // before the reader, and behind
        make(format!("a_{page}")).await;
        make(format!("z_{page}")).await;
        if page == 1 {
            app.delete("/v1/databases/old_13").await.expect(204);
        }
    };
    stays_whole(&app, "/v1/databases", "name", &["old_13"], write).await;
}

#[tokio::test]
async fn pages_of_collections_stay_whole_while_others_write() {
    let app = app().await;
    let mut id = 1000;
    let mut make = async |name: String| {
        id += 10;
        app.small_collection(&name, id).await;
    };
    fourteen(&mut make).await;
    let write = async |page: usize| {
        make(format!("a_{page}")).await;
        make(format!("z_{page}")).await;
        if page == 1 {
            app.delete("/v1/collections/old_13").await.expect(204);
        }
    };
    stays_whole(&app, "/v1/collections", "name", &["old_13"], write).await;
}

#[tokio::test]
async fn pages_of_aliases_stay_whole_while_others_write() {
    let app = app().await;
    app.small_collection("d", 200).await;
    let make = async |name: String| {
        let alias = json!({"alias": name, "collection_name": "c"});
        app.post("/v1/aliases", &alias).await.created();
    };
    fourteen(&make).await;
    let write = async |page: usize| {
        make(format!("a_{page}")).await;
        make(format!("z_{page}")).await;
        // of another collection, in the same place
        let moved = json!({"collection_name": "d"});
        app.put(&format!("/v1/aliases/old_{:02}", 10 + page % 3), &moved).await.ok();
        if page == 1 {
            app.delete("/v1/aliases/old_13").await.expect(204);
        }
    };
    stays_whole(&app, "/v1/aliases", "alias", &["old_13"], write).await;
}

#[tokio::test]
async fn pages_of_partitions_and_indexes_stay_whole_while_others_write() {
    let app = app().await;
    for (list, field, also) in [
        ("/v1/collections/c/partitions", "name", json!({})),
        ("/v1/collections/c/indexes", "index_name", json!({"field_id": "101"})),
    ] {
        let make = async |name: String| {
            let mut body = also.clone();
            body[field] = json!(name);
            app.post(list, &body).await.created();
        };
        fourteen(&make).await;
        let write = async |page: usize| {
            make(format!("a_{page}")).await;
            make(format!("z_{page}")).await;
            if page == 1 {
                app.delete(&format!("{list}/old_13")).await.expect(204);
            }
        };
        stays_whole(&app, list, field, &["old_13"], write).await;
    }
}

#[tokio::test]
async fn pages_of_keys_stay_whole_while_others_write() {
    let app = app().await;
    let make = async |name: String| {
        let key = json!({"name": name, "grants": [{"role": "reader"}]});
        let key: Value = app.post("/v1/keys", &key).await.created().json;
        key["key_id"].as_str().expect("an id").to_string()
    };
    fourteen(async |name| {
        make(name).await;
    })
    .await;
    let last = make("old_last".to_string()).await;
    let write = async |page: usize| {
        make(format!("new_{page}")).await;
        if page == 0 {
            app.delete(&format!("/v1/keys/{last}")).await.expect(204);
        }
    };
    stays_whole(&app, "/v1/keys", "key_id", &[&last], write).await;
}

#[tokio::test]
async fn pages_of_webhooks_stay_whole_while_others_write() {
    let app = TestApp::with_settings(webhooks::settings()).await;
    let make = async |_: String| {
        webhooks::webhook(&app, "http://127.0.0.1:9/", &["snapshot.created"]).await;
    };
    fourteen(&make).await;
    stays_whole(&app, "/v1/webhooks", "webhook_id", &[], async |_| make(String::new()).await).await;
}

#[tokio::test]
async fn pages_of_pins_and_segments_of_a_snapshot_stay_whole_while_others_write() {
    let app = app().await;
    for segment in 0..14 {
        app.add_segment("c", 100, 500 + 10 * segment).await;
    }
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    let pin = async |owner: String| {
        app.post("/v1/snapshots/s/pins", &json!({"owner": owner})).await.created();
    };
    fourteen(&pin).await;
    stays_whole(&app, "/v1/snapshots/s/pins", "pin_id", &[], async |page| {
        pin(format!("new_{page}")).await
    })
    .await;
    let write = async |page: usize| {
        // of the collection, not of the snapshot
        app.add_segment("c", 100, 501 + 10 * i64::try_from(page).expect("small"))
            .await;
        app.delete(&format!("/v1/collections/c/segments/{}", 600 + 10 * page))
            .await
            .expect(204);
    };
    stays_whole(&app, "/v1/snapshots/s/segments", "segment_id", &[], write).await;
}

#[tokio::test]
async fn pages_of_export_jobs_stay_whole_while_others_write() {
    let app = app().await;
    app.post("/v1/snapshots", &snapshot("s")).await.created();
    let export = async || {
        let body = json!({"target_path": "bundles"});
        let job: Value = app.post("/v1/snapshots/s/export", &body).await.expect(202).json;
        job["job_id"].as_str().expect("an id").to_string()
    };
    let mut exports = Vec::new();
    for _ in 0..14 {
        exports.push(export().await);
    }
    let write = async |page: usize| {
        export().await;
        // another state is no other place
        let older = format!("/v1/export-jobs/{}/cancel", exports[page]);
        app.post(&older, &json!({})).await.ok();
    };
    stays_whole(&app, "/v1/export-jobs", "job_id", &[], write).await;
}

#[tokio::test]
async fn pages_of_tasks_stay_whole_while_the_job_goes_on() {
    let app = TestApp::local().await;
    jobs::snapshot(&app, 14).await;
    let restore = jobs::start(&app, json!({"collection_name": "r"})).await;
    jobs::run_next(&app, 1).await;
    stays_whole(
        &app,
        &format!("/v1/restore-jobs/{restore}/tasks"),
        "task_id",
        &[],
        async |_| {
            jobs::run_next(&app, 4).await;
        },
    )
    .await;
    app.drain().await;
    let export = json!({"target_path": "bundles"});
    let export = app.post("/v1/snapshots/s/export", &export).await.expect(202).json;
    jobs::run_next(&app, 1).await;
    let list = format!("/v1/export-jobs/{}/tasks", export["job_id"].as_str().expect("an id"));
    stays_whole(&app, &list, "task_id", &[], async |_| {
        jobs::run_next(&app, 4).await;
    })
    .await;
}

#[tokio::test]
async fn pages_of_collector_runs_and_of_their_items_stay_whole_while_others_write() {
    let app = app().await;
    let run = async |dry_run: bool| {
        let body = json!({"dry_run": dry_run, "grace_seconds": 0});
        let run: Value = app.post("/v1/gc/runs", &body).await.created().json;
        run["run_id"].as_str().expect("an id").to_string()
    };
    fourteen(async |_| {
        run(true).await;
    })
    .await;
    stays_whole(&app, "/v1/gc/runs", "run_id", &[], async |_| {
        run(false).await;
    })
    .await;
    for segment in 0..14 {
        app.add_segment("c", 100, 500 + segment).await;
    }
    app.delete("/v1/collections/c").await.expect(204);
    let collected = run(false).await;
    let write = async |page: usize| {
        // a run that is under way goes on with its list at the end; another one has its own
        sqlx::query(
            "insert into gc_run_items (run_id, item_no, kind, name, outcome, reason, objects, size_bytes)
             values ($1, 1000 + $2::bigint, 'orphan', 'late ' || $2::bigint, 'kept', '', 1, 1)",
        )
        .bind(collected.parse::<i64>().expect("a number"))
        .bind(i64::try_from(page).expect("small"))
        .execute(&app.pool)
        .await
        .expect("added");
        run(true).await;
    };
    let list = format!("/v1/gc/runs/{collected}/items");
    stays_whole(&app, &list, "name", &[], write).await;
}

/// A list that is added to the document needs a test here.
#[test]
fn every_list_that_takes_page_tokens_is_read_while_others_write() {
    let tested = [
        "list_aliases",
        "list_audit_events",
        "list_collections",
        "list_databases",
        "list_export_jobs",
        "list_export_tasks",
        "list_gc_run_items",
        "list_gc_runs",
        "list_indexes",
        "list_keys",
        "list_partitions",
        "list_pins",
        "list_restore_jobs",
        "list_restore_tasks",
        "list_segments",
        "list_snapshot_segments",
        "list_snapshots",
        "list_webhook_deliveries",
        "list_webhooks",
    ];
    // those of a collection are given with it, and stay
    let untested = ["list_channels"];
    let document = serde_json::to_value(stillframe::api::document()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").values();
    let takes_tokens = |operation: &&Value| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["name"] == "page_token")
    };
    let lists: BTreeSet<&str> = paths
        .map(|path| &path["get"])
        .filter(takes_tokens)
        .map(|operation| operation["operationId"].as_str().expect("an id"))
        .collect();
    assert_eq!(lists, tested.into_iter().chain(untested).collect());
}
