//! Secrets that are planted in settings and requests, and looked for in everything that comes out.

use axum::body::Body;
use axum::http::Request;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use stillframe::store::MIGRATOR;

use super::provider::{Provider, Signer, now};
use super::tls::Certificates;
use crate::cli::process::{Running, directory, stillframe};
use crate::support::{TestApp, postgres, s3};
use crate::watching::webhooks::settings;

const PASSWORD: &str = "planted-database-password";
const ADMIN: &str = "planted-admin-key-0123456789abcdef";
const WEBHOOK_KEY: &str = "planted-webhook-key-0123456789abcdef";

/// Whether a text holds a secret, as it is or as Postgres shows bytes.
fn holds(text: &str, secret: &str) -> bool {
    let hexadecimal: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
    text.contains(secret) || text.contains(&hexadecimal)
}

/// What is planted in files and settings, all of it in use.
struct Planted {
    /// Of the service's own storage.
    s3: (&'static str, &'static str),
    /// Of a store beside it, in a file.
    store: (&'static str, &'static str),
    /// Of a store whose server does not know them.
    refused: (&'static str, &'static str),
    /// Under which credentials of requests are encrypted.
    sealing: &'static str,
    /// In the URL of a webhook: shown to who lists webhooks, and nowhere else.
    url_token: &'static str,
}

const PLANTED: Planted = Planted {
    s3: ("plantedS3keyid", "planted-s3-secret-key"),
    store: ("plantedStoreKeyId", "planted-store-secret"),
    refused: ("plantedRefusedKeyId", "planted-refused-secret"),
    sealing: "planted-sealing-key-0123456789abcdef",
    url_token: "planted-url-token-0123456789",
};

/// Of the request's own credentials.
const EXTERNAL: (&str, &str) = ("plantedExternalKeyId", "planted-external-secret");

// the S3 servers answer while this waits for lines of the log
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_come_out_nowhere() {
    let (dir, objects) = (directory(), tempfile::tempdir().expect("a directory"));
    let database = postgres::empty_database().await;
    let url = postgres::url(&database);
    // a role of its own, with a password in the URL
    let role = format!("r_{database}");
    let options: PgConnectOptions = url.parse().expect("a URL");
    let mut conn = options.connect().await.expect("connects");
    let statement = format!("create role \"{role}\" superuser login password '{PASSWORD}'");
    conn.execute(sqlx::AssertSqlSafe(statement)).await.expect("made");
    conn.close().await.expect("closed");
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    let with_password = format!("{scheme}://{role}:{PASSWORD}@{rest}");

    // its storage, and a store beside it: each server knows one key
    let own = s3::start_with_key(&objects.path().join("own"), PLANTED.s3.0, PLANTED.s3.1).await;
    let store = s3::start_with_key(&objects.path().join("store"), PLANTED.store.0, PLANTED.store.1).await;
    let file = |name: &str, content: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let key_of = |(id, secret): (&str, &str)| json!({"access_key_id": id, "secret_access_key": secret});
    let stores = json!({"backups": key_of(PLANTED.store), "closed": key_of(PLANTED.refused)});
    let stores = file("stores.json", stores.to_string());
    let sealing = file("sealing.key", PLANTED.sealing.into());
    let certificates = Certificates::new();
    let (chain, tls_key) = certificates.signed("server");

    let signer = Signer::ec();
    let provider = Provider::start(vec![signer.jwk("k")]).await;
    let lines = dir.path().join("audit.jsonl");
    let mut command = stillframe(&["serve", "--listen", "127.0.0.1:0", "--auth", "--log", "trace,sqlx=info"]);
    command
        .args(["--audit-reads", "--workers", "1", "--webhook-private-addresses"])
        .args(["--data-dir", dir.path().to_str().expect("UTF-8")])
        .args(["--audit-lines", lines.to_str().expect("UTF-8")])
        .args([
            "--storage",
            &format!("s3://bucket/some/prefix?endpoint={own}&region=us-east-1"),
        ])
        .args([
            "--store",
            &format!("backups=s3://bucket/kept?endpoint={store}&region=us-east-1"),
        ])
        .args([
            "--store",
            &format!("closed=s3://bucket/closed?endpoint={store}&region=us-east-1"),
        ])
        .args([
            "--store-credentials-file",
            &stores,
            "--secret-key-file",
            &sealing,
            "--external-endpoint",
            &store,
        ])
        .args([
            "--tls-cert",
            chain.to_str().expect("UTF-8"),
            "--tls-key",
            tls_key.to_str().expect("UTF-8"),
        ])
        .args(["--oidc-issuer", &provider.issuer, "--oidc-audience", "planted-is-not-secret"])
        .args(["--oidc-grant", "ops=admin"])
        .env("DATABASE_URL", &with_password)
        .env("STILLFRAME_ADMIN_KEY", ADMIN)
        .env("STILLFRAME_WEBHOOK_KEY", WEBHOOK_KEY)
        .env("AWS_ACCESS_KEY_ID", PLANTED.s3.0)
        .env("AWS_SECRET_ACCESS_KEY", PLANTED.s3.1);
    let mut server = Running::start(command);
    let line = server.err_line("listening");
    let base = line
        .split_whitespace()
        .find_map(|w| w.strip_prefix("url="))
        .expect("a URL")
        .to_string();
    assert!(base.starts_with("https://127.0.0.1:"), "{base}");
    let authority = std::fs::read(certificates.authority()).expect("readable");
    let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
    let http = http.build().expect("a client");
    let token = signer.token(
        "k",
        &json!({"iss": provider.issuer, "aud": "planted-is-not-secret", "sub": "alice", "exp": now() + 300, "groups": ["ops"]}),
    );
    let mut said = String::new();
    let mut ask = async |method: &str, path: &str, credential: &str, body: Option<Value>| -> (u16, Value) {
        let mut request = http
            .request(method.parse().expect("a method"), format!("{base}{path}"))
            .bearer_auth(credential);
        if method == "POST" {
            // an answer that is kept to be given again must not keep a key
            request = request.header("idempotency-key", uuid::Uuid::new_v4().to_string());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        let text = answer.text().await.expect("a text");
        said.push_str(&headers);
        // the URL of a webhook is told to who may list webhooks
        said.push_str(&if path.starts_with("/v1/webhooks") {
            text.replace(PLANTED.url_token, "")
        } else {
            text.clone()
        });
        (status, serde_json::from_str(&text).unwrap_or_default())
    };
    let made = ask(
        "POST",
        "/v1/keys",
        ADMIN,
        Some(json!({"name": "ci", "grants": [{"role": "admin"}]})),
    )
    .await
    .1;
    let key = made["key"].as_str().expect("a key").to_string();
    // a receiver that is not there: the delivery fails, and why is logged and listed
    let hook = json!({"url": format!("http://127.0.0.1:1/{}", PLANTED.url_token), "events": ["snapshot.created"]});
    let (_, hook) = ask("POST", "/v1/webhooks", ADMIN, Some(hook)).await;
    let hook_id = hook["webhook_id"].as_str().expect("an id").to_string();
    let hook = hook["secret"].as_str().expect("a secret").to_string();
    let (path_secret, bad) = ("planted-bad-token-0123456789", "planted.bad.token");
    for credential in [
        key.as_str(),
        &token,
        ADMIN,
        bad,
        path_secret,
        "sf_planted-bad-key-planted-bad-key-planted-bad-k",
    ] {
        ask("GET", "/v1/collections", credential, None).await;
        ask("POST", "/v1/collections", credential, Some(json!({"name": "1"}))).await;
        ask("GET", "/v1/snapshots/none", credential, None).await;
        ask("POST", "/v1/databases", credential, Some(json!({"name": "default"}))).await;
    }
    // all of the storages and stores are used: one export succeeds, those whose keys are not known are refused
    let fields = json!([{"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]);
    let channels = json!([{"channel_name": "ch", "seek_position": {"timestamp": "1000"}}]);
    let docs = json!({"name": "docs", "fields": fields, "channels": channels});
    assert_eq!(ask("POST", "/v1/collections", ADMIN, Some(docs)).await.0, 201);
    let snapshot = json!({"collection_name": "docs", "snapshot_name": "s"});
    assert_eq!(ask("POST", "/v1/snapshots", ADMIN, Some(snapshot)).await.0, 201);
    server.err_line("a webhook was not reached");
    let spec = json!({"extfs": {"access_key_id": EXTERNAL.0, "access_key_value": EXTERNAL.1, "region": "us-east-1"}});
    for (body, state) in [
        (json!({"target_path": "x", "store": "backups"}), "Completed"),
        (json!({"target_path": "x", "store": "closed"}), "Failed"),
        (
            json!({"target_path": format!("{store}/bucket/x"), "external_spec": spec}),
            "Failed",
        ),
    ] {
        let (status, job) = ask("POST", "/v1/snapshots/s/export", ADMIN, Some(body.clone())).await;
        assert_eq!(status, 202, "{body}: {job}");
        let path = format!("/v1/export-jobs/{}", job["job_id"].as_str().expect("an id"));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let (_, job) = ask("GET", &path, ADMIN, None).await;
            if job["finished_at"].is_string() {
                assert_eq!(job["state"], state, "{body}: {job}");
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{job}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    for path in [
        "/metrics",
        "/v1/audit?page_size=1000",
        "/v1/keys",
        "/v1/webhooks",
        &format!("/v1/webhooks/{hook_id}/deliveries"),
        "/v1/storage",
        "/v1/usage",
        "/openapi.json",
        "/readyz",
        "/v1/gc/runs",
    ] {
        assert_eq!(ask("GET", path, ADMIN, None).await.0, 200, "{path}");
    }
    let pool = sqlx::PgPool::connect(&url).await.expect("connects");
    // the database goes away under its feet and does not come back: errors of connections must not tell the URL
    for statement in [
        format!("alter role \"{role}\" nologin"),
        format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'"),
    ] {
        pool.execute(sqlx::AssertSqlSafe(statement)).await.expect("done");
    }
    for path in ["/v1/collections", "/v1/snapshots/s", "/readyz", "/metrics"] {
        for credential in [ADMIN, &key, &token] {
            let (status, answer) = ask("GET", path, credential, None).await;
            // readiness may be what it was a moment ago
            assert!(status >= 500 || !path.starts_with("/v1"), "{path}: {status} {answer}");
        }
    }
    let statement = format!("alter role \"{role}\" login");
    pool.execute(sqlx::AssertSqlSafe(statement)).await.expect("done");

    let mut rows = String::new();
    let tables: Vec<String> =
        sqlx::query_scalar("select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace")
            .fetch_all(&pool)
            .await
            .expect("tables");
    assert!(tables.iter().any(|t| t == "audit_events") && tables.iter().any(|t| t == "api_keys"));
    for table in tables {
        let statement = format!("select t::text from \"{table}\" t");
        let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_all(&pool)
            .await
            .expect("rows");
        // the receiver's URL is kept to be called
        rows.extend(found.into_iter().filter(|_| table != "webhooks"));
    }
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert!(ended.err.contains("/v1/collections"), "the log is there: {}", ended.err);
    assert!(
        ended.err.contains("is not permitted to log in"),
        "errors of connections are in the log: {}",
        ended.err
    );
    let recorded = std::fs::read_to_string(&lines).expect("readable");
    assert!(recorded.contains("\"principal\":\"alice\""), "{recorded}");
    // the key is in the one answer that made it, and nowhere else; a webhook's secret too
    let mut others = said.clone();
    for shown_once in [&key, &hook] {
        assert_eq!(said.matches(shown_once.as_str()).count(), 1);
        others = others.replace(shown_once.as_str(), "");
    }
    let said = others;
    let signature = token.rsplit('.').next().expect("three parts").to_string();
    let tls_key = std::fs::read_to_string(tls_key).expect("readable");
    let tls_line = tls_key.lines().nth(1).expect("a line of the key");
    for (place, text) in [
        ("answers", &said),
        ("log", &ended.err),
        ("output", &ended.out),
        ("rows", &rows),
        ("lines", &recorded),
    ] {
        for secret in [
            PASSWORD,
            PLANTED.s3.0,
            PLANTED.s3.1,
            PLANTED.store.0,
            PLANTED.store.1,
            PLANTED.refused.0,
            PLANTED.refused.1,
            PLANTED.sealing,
            PLANTED.url_token,
            EXTERNAL.0,
            EXTERNAL.1,
            tls_line,
            ADMIN,
            WEBHOOK_KEY,
            &key[3..],
            &hook["whsec_".len()..],
            &signature,
            bad,
            path_secret,
            "planted-bad-key",
        ] {
            assert!(!holds(text, secret), "{secret:?} is in the {place}: {}", around(text, secret));
        }
    }
    sqlx::query(sqlx::AssertSqlSafe(format!("drop owned by \"{role}\" cascade")))
        .execute(&pool)
        .await
        .expect("dropped");
}

/// Where a text holds a secret.
fn around(text: &str, secret: &str) -> String {
    let line = text.lines().find(|line| holds(line, secret)).unwrap_or_default();
    line.chars().take(2000).collect()
}

#[tokio::test]
async fn an_answer_that_shows_a_secret_is_not_kept_to_be_given_again() {
    let app = TestApp::with_settings(settings()).await;
    let ask = async |path: &str, body: &Value| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("idempotency-key", "the same");
        app.send(request.body(Body::from(body.to_string())).expect("a request")).await
    };
    let key = json!({"name": "ci", "grants": [{"role": "reader"}]});
    ask("/v1/keys", &key).await.created();
    ask("/v1/keys", &key).await.refused(409, "key_already_exists");
    let hook = json!({"url": "http://127.0.0.1:1/x", "events": ["snapshot.created"]});
    let secrets = [
        ask("/v1/webhooks", &hook).await.created(),
        ask("/v1/webhooks", &hook).await.created(),
    ];
    assert_ne!(secrets[0].json["secret"], secrets[1].json["secret"]);
    let kept: i64 = sqlx::query_scalar("select count(*) from idempotency_keys")
        .fetch_one(&app.pool)
        .await
        .expect("counts");
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn secrets_that_were_kept_before_are_deleted_by_the_migration() {
    let app = TestApp::memory().await;
    let bodies = [
        ("a key", r#"{"name":"ci","key":"sf_AAAA","key_id":"1"}"#),
        ("a webhook", r#"{"webhook_id":"1","secret":"whsec_AAAA="}"#),
        ("a snapshot", r#"{"snapshot_name":"sf_daily"}"#),
    ];
    for (name, body) in bodies {
        sqlx::query(
            "insert into idempotency_keys (principal, key, fingerprint, owner, status, headers, body, created_at)
             values ('', $1, sha256(''), gen_random_uuid(), 201, '{}', $2, stillframe_now())",
        )
        .bind(name.replace(' ', "_"))
        .bind(body.as_bytes())
        .execute(&app.pool)
        .await
        .expect("inserted");
    }
    let migration = MIGRATOR.iter().find(|m| m.version == 20_261_128_000_200).expect("is there");
    sqlx::raw_sql(migration.sql.clone()).execute(&app.pool).await.expect("runs");
    let left: Vec<String> = sqlx::query_scalar("select key from idempotency_keys")
        .fetch_all(&app.pool)
        .await
        .expect("reads");
    assert_eq!(left, ["a_snapshot"]);
}
