//! The OpenAPI document and the pages that show it.

use clap::{Args as _, FromArgMatches as _};
use serde_json::Value;
use stillframe::api::RequestLimits;
use stillframe::config::ServeArgs;
use stillframe::serving::{self, Serving};
use stillframe::{domain, limits, milvus, service};

use crate::support::TestApp;

#[test]
fn the_committed_documents_are_those_of_the_code() {
    for (name, as_30) in [("openapi.json", false), ("openapi-3.0.json", true)] {
        let path = format!("{}/openapi/{name}", env!("CARGO_MANIFEST_DIR"));
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let generated = stillframe::app::document_text(as_30) + "\n";
        assert!(committed == generated, "openapi/{name} is not up to date: run `make openapi`");
    }
}

#[test]
fn the_older_document_has_nothing_of_the_newer_dialect() {
    fn walk(at: &str, value: &Value, wrong: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                // what stands in an example is nobody's schema
                for (key, inner) in object.iter().filter(|(k, _)| !matches!(k.as_str(), "example" | "value")) {
                    let newer = match key.as_str() {
                        "type" => inner.is_array() || inner == "null",
                        "exclusiveMinimum" | "exclusiveMaximum" => !inner.is_boolean(),
                        "$ref" => object.len() > 1,
                        "propertyNames" | "const" | "prefixItems" | "patternProperties" | "identifier" => {
                            !at.ends_with("/properties")
                        }
                        "examples" => inner.is_array(),
                        _ => false,
                    };
                    if newer {
                        wrong.push(format!("{at}/{key}"));
                    }
                    walk(&format!("{at}/{key}"), inner, wrong);
                }
            }
            Value::Array(list) => list
                .iter()
                .enumerate()
                .for_each(|(n, inner)| walk(&format!("{at}/{n}"), inner, wrong)),
            _ => {}
        }
    }
    let older: Value = serde_json::from_str(&stillframe::app::document_text(true)).expect("JSON");
    let newer: Value = serde_json::from_str(&stillframe::app::document_text(false)).expect("JSON");
    assert_eq!(older["openapi"], "3.0.3");
    let mut wrong = Vec::new();
    walk("", &older, &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
    let operations = |d: &Value| -> Vec<String> {
        let paths = d["paths"].as_object().expect("paths").iter();
        paths
            .flat_map(|(p, item)| item.as_object().expect("operations").keys().map(move |m| format!("{m} {p}")))
            .collect()
    };
    assert_eq!(operations(&older), operations(&newer));
    assert_eq!(
        older["components"]["schemas"].as_object().expect("schemas").len(),
        newer["components"]["schemas"].as_object().expect("schemas").len()
    );
}

#[tokio::test]
async fn the_document_and_the_pages_are_served_without_the_network() {
    let app = TestApp::memory().await;
    let document = app.get("/openapi.json").await.ok();
    assert_eq!(document.headers["content-type"], "application/json");
    assert!(document.json["openapi"].as_str().expect("text").starts_with("3.1"));
    assert!(document.json["paths"].as_object().expect("paths").len() > 25);
    let page = app.get("/docs/").await.ok();
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    for asset in [
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-initializer.js",
    ] {
        let answer = app.get(asset).await.ok();
        assert!(!answer.text.is_empty());
        assert!(!page.text.contains("https://"), "nothing comes from elsewhere");
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_answer() {
    let app = TestApp::local().await;
    app.get("/healthz").await.ok();
    app.get("/readyz").await.ok();
    let metrics = app.get("/metrics").await.ok();
    assert!(metrics.text.contains("stillframe_http_requests_total"), "{}", metrics.text);
    assert!(metrics.text.contains("stillframe_postgres_connections"));
    app.get("/healthz").await.ok();
    // one look a second is shared, so this is a service that has not looked yet
    let app = TestApp::local().await;
    app.pool.close().await;
    let down = app.get("/readyz").await.refused(503, "database_unavailable");
    assert_eq!(down.headers["retry-after"], "1");
    let text = down.text.to_lowercase();
    for internal in ["sqlx", "pool", "postgres:"] {
        assert!(!text.contains(internal), "{text}");
    }
    app.get("/healthz").await.ok();
}

#[test]
fn the_limits_that_the_document_tells_are_those_of_the_code() {
    const MIB: usize = 1024 * 1024;
    let nothing_set = ServeArgs::augment_args(clap::Command::new("serve")).get_matches_from(["serve"]);
    let set = ServeArgs::from_arg_matches(&nothing_set).expect("defaults");
    let (requests, connections) = (RequestLimits::default(), Serving::default());
    // tests go by these, the binary by those
    assert_eq!(
        (
            set.max_body_bytes,
            set.request_timeout_seconds,
            set.body_timeout_seconds,
            set.rate_limit
        ),
        (
            requests.body_bytes,
            requests.timeout.as_secs(),
            requests.body_timeout.as_secs(),
            None
        )
    );
    assert_eq!(
        (
            set.max_clients,
            set.max_clients_per_address,
            set.header_timeout_seconds,
            set.send_timeout_seconds
        ),
        (
            connections.max_clients,
            None,
            connections.header_timeout.as_secs(),
            connections.send_timeout.as_secs()
        )
    );
    assert_eq!(connections.max_clients_per_address * 2, connections.max_clients);
    assert_eq!((limits::LARGE_BODIES, limits::LARGE_SHARE), (4, 2), "four, and half of them");

    let document: Value = serde_json::from_str(&stillframe::app::document_text(false)).expect("JSON");
    let told = document["info"]["description"].as_str().expect("text");
    for limit in [
        format!(
            "A body has at most {} MiB (`--max-body-bytes`; 413)",
            set.max_body_bytes / MIB
        ),
        format!(
            "in {} seconds of waiting (`--body-timeout-seconds`; 408) fewer than {} KiB for each",
            set.body_timeout_seconds,
            limits::MIN_RATE / 1024
        ),
        format!(
            "Bodies beyond {} KiB share memory for four of the largest size",
            limits::SMALL / 1024
        ),
        format!("it is nested at most {} deep (422)", domain::schema::MAX_LEVELS),
        format!("A page has at most {} entries (422)", domain::page::MAX_PAGE_SIZE),
        format!(
            "within {} seconds (`--request-timeout-seconds`; 504)",
            set.request_timeout_seconds
        ),
        format!(
            "A process serves {} event streams, {} of one client",
            service::MAX_LISTENERS,
            service::MAX_OF_ONE
        ),
        format!(
            "The head of a request has at most {} KiB and 100 headers",
            serving::MAX_HEAD / 1024
        ),
        format!(
            "comes within {} seconds (`--header-timeout-seconds`",
            set.header_timeout_seconds
        ),
        format!(
            "{} KiB or the rest, every {} seconds (`--send-timeout-seconds`",
            serving::PIECE / 1024,
            set.send_timeout_seconds
        ),
        format!("There are at most {} connections (`--max-clients`)", set.max_clients),
        format!("A connection of HTTP/2 has at most {} requests", serving::MAX_STREAMS),
        format!("a message has at most {} MiB (code 1102", milvus::MAX_MESSAGE / MIB),
    ] {
        assert!(
            told.contains(&limit),
            "the description of the document does not say {limit:?}"
        );
    }
}

#[test]
fn every_code_has_a_title_and_stays_what_it_is() {
    let codes: Vec<Value> = stillframe::domain::Code::ALL
        .iter()
        .map(|c| Value::from(c.as_str()))
        .collect();
    let unique: std::collections::HashSet<String> = codes.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), codes.len());
    for own in [
        "snapshot_not_found",
        "collection_already_exists",
        "insufficient_storage",
        "permission_denied",
        "restore_job_not_found",
        "restore_failed",
    ] {
        assert!(codes.contains(&Value::from(own)), "the guide's {own}");
    }
}

#[test]
fn the_document_says_which_headers_calls_take_and_answers_have() {
    let document: Value = serde_json::from_str(&stillframe::app::document_text(false)).expect("JSON");
    let mut puts = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let at = format!("{method} {path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let taken: Vec<&str> = parameters
                .filter(|p| p["in"] == "header")
                .filter_map(|p| p["name"].as_str())
                .collect();
            if method == "put" && item["get"].is_object() {
                puts += 1;
                assert!(
                    taken.contains(&"if-none-match") && taken.contains(&"if-match"),
                    "{at}: {taken:?}"
                );
            }
            // Milvus' envelope is always 200
            if path.starts_with("/v2/") {
                continue;
            }
            let keyed = taken.contains(&"idempotency-key");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let has = |name: &str| {
                    let header = &response["headers"][name];
                    let header = match header["$ref"].as_str() {
                        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a header"),
                        None => header,
                    };
                    header["schema"]["type"].is_string() && header["description"].is_string()
                };
                let waits = matches!(status.as_str(), "429" | "503") || (keyed && status == "409");
                assert!(has("x-request-id"), "{at} {status}");
                assert_eq!(has("retry-after"), waits, "{at} {status}");
                assert_eq!(has("idempotent-replayed"), keyed && status.starts_with('2'), "{at} {status}");
            }
        }
    }
    assert!(puts >= 2, "{puts}");
}
