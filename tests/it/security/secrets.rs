//! Secrets that are planted in settings and requests, and looked for in everything that comes out.

use axum::body::Body;
use axum::http::Request;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use stillframe::store::MIGRATOR;

use super::provider::{Provider, Signer, now};
use crate::cli::process::{Running, directory, stillframe};
use crate::support::{TestApp, postgres};
use crate::watching::webhooks::settings;

const PASSWORD: &str = "planted-database-password";
const S3_SECRET: &str = "planted-s3-secret-key";
const S3_KEY_ID: &str = "plantedS3keyid";
const ADMIN: &str = "planted-admin-key-0123456789abcdef";
const WEBHOOK_KEY: &str = "planted-webhook-key-0123456789abcdef";

/// Whether a text holds a secret, as it is or as Postgres shows bytes.
fn holds(text: &str, secret: &str) -> bool {
    let hexadecimal: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
    text.contains(secret) || text.contains(&hexadecimal)
}

#[tokio::test]
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

    let signer = Signer::ec();
    let provider = Provider::start(vec![signer.jwk("k")]).await;
    let lines = dir.path().join("audit.jsonl");
    let mut command = stillframe(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--auth",
        "--log",
        "debug",
        "--audit-reads",
        "--workers",
        "1",
    ]);
    command
        .args([
            "--data-dir",
            dir.path().to_str().expect("UTF-8"),
            "--audit-lines",
            lines.to_str().expect("UTF-8"),
        ])
        .args(["--storage", &format!("file://{}", objects.path().display())])
        .args([
            "--oidc-issuer",
            &provider.issuer,
            "--oidc-audience",
            "planted-is-not-secret",
            "--oidc-grant",
            "ops=admin",
        ])
        .env("DATABASE_URL", &with_password)
        .env("STILLFRAME_ADMIN_KEY", ADMIN)
        .env("STILLFRAME_WEBHOOK_KEY", WEBHOOK_KEY)
        .env("AWS_ACCESS_KEY_ID", S3_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", S3_SECRET);
    let mut server = Running::start(command);
    let line = server.err_line("listening");
    let port: String = line
        .split("http://127.0.0.1:")
        .nth(1)
        .expect("a URL")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let base = format!("http://127.0.0.1:{port}");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let token = signer.token(
        "k",
        &json!({"iss": provider.issuer, "aud": "planted-is-not-secret", "sub": "alice", "exp": now() + 300, "groups": ["ops"]}),
    );
    let mut said = String::new();
    let mut ask = async |method: &str, path: &str, credential: &str, body: Option<serde_json::Value>| -> serde_json::Value {
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
        let headers = format!("{:?}", answer.headers());
        let text = answer.text().await.expect("a text");
        said.push_str(&headers);
        said.push_str(&text);
        serde_json::from_str(&text).unwrap_or_default()
    };
    let made = ask(
        "POST",
        "/v1/keys",
        ADMIN,
        Some(json!({"name": "ci", "grants": [{"role": "admin"}]})),
    )
    .await;
    let key = made["key"].as_str().expect("a key").to_string();
    let hook = json!({"url": "https://hooks.example.com/x", "events": ["snapshot.created"]});
    let hook = ask("POST", "/v1/webhooks", ADMIN, Some(hook)).await;
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
    for path in [
        "/metrics",
        "/v1/audit?page_size=1000",
        "/v1/keys",
        "/v1/webhooks",
        "/openapi.json",
        "/readyz",
        "/v1/gc/runs",
    ] {
        ask("GET", path, ADMIN, None).await;
    }
    let pool = sqlx::PgPool::connect(&url).await.expect("connects");
    // the database goes away under its feet: errors of connections must not tell the URL
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1")
        .bind(&role)
        .execute(&pool)
        .await
        .expect("terminated");
    ask("GET", "/v1/collections", ADMIN, None).await;
    ask("GET", "/v1/collections", &key, None).await;

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
        rows.extend(found);
    }
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert!(ended.err.contains("/v1/collections"), "the log is there: {}", ended.err);
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
    for (place, text) in [
        ("answers", &said),
        ("log", &ended.err),
        ("output", &ended.out),
        ("rows", &rows),
        ("lines", &recorded),
    ] {
        for secret in [
            PASSWORD,
            S3_SECRET,
            S3_KEY_ID,
            ADMIN,
            WEBHOOK_KEY,
            &key[3..],
            &hook["whsec_".len()..],
            &signature,
            bad,
            path_secret,
            "planted-bad-key",
        ] {
            assert!(!holds(text, secret), "{secret:?} is in the {place}");
        }
    }
    sqlx::query(sqlx::AssertSqlSafe(format!("drop owned by \"{role}\" cascade")))
        .execute(&pool)
        .await
        .expect("dropped");
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
