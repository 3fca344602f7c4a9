//! The binary with authentication and TLS, and its client.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::tls::Certificates;
use super::who::ADMIN_KEY;
use crate::cli::process::{Ran, Running, directory, run, stillframe};
use crate::support::postgres;

fn client(url: &str, key: Option<&str>, args: &[&str]) -> Ran {
    let mut command = stillframe(args);
    command.env("STILLFRAME_SERVER", url);
    if let Some(key) = key {
        command.env("STILLFRAME_API_KEY", key);
    }
    command.output().expect("runs").into()
}

#[tokio::test]
async fn the_first_key_is_made_in_the_database_and_the_next_ones_through_the_service() {
    let dir = directory();
    let database = postgres::url(&postgres::empty_database().await);
    let make = |args: &[&str]| -> Ran {
        let args = [&["key", "create"], args].concat();
        stillframe(&args)
            .env("DATABASE_URL", &database)
            .output()
            .expect("runs")
            .into()
    };
    let early = make(&["first", "--role", "admin", "--in-database"]);
    assert!(early.code == Some(1) && early.err.contains("stillframe migrate"), "{early:?}");
    let migrated = run(&["migrate", "--database-url", &database]);
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let first = make(&["first", "--role", "admin", "--in-database"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    let first = first.out.trim().to_string();
    assert!(first.starts_with("sf_"), "{first}");

    let certificates = Certificates::new();
    let (chain, key) = certificates.signed("server");
    let (chain, key) = (chain.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let mut command = stillframe(&["serve", "--listen", "127.0.0.1:0", "--storage", "memory:", "--auth"]);
    command
        .args([
            "--tls-cert",
            chain,
            "--tls-key",
            key,
            "--data-dir",
            dir.path().to_str().expect("UTF-8"),
        ])
        .env("DATABASE_URL", &database);
    let mut server = Running::start(command);
    let line = server.err_line("listening");
    let port: String = line
        .split("https://127.0.0.1:")
        .nth(1)
        .expect("a URL")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let url = format!("https://localhost:{port}");

    let authority = certificates.authority();
    let ask = |key: Option<&str>, args: &[&str]| {
        client(
            &url,
            key,
            &[args, &["--ca-file", authority.to_str().expect("UTF-8")]].concat(),
        )
    };
    let stranger = client(&url, Some(&first), &["collection", "list"]);
    assert_eq!(stranger.code, Some(5), "the authority is not known: {stranger:?}");
    let nobody = ask(None, &["collection", "list"]);
    assert!(nobody.code == Some(8) && nobody.err.contains("unauthenticated"), "{nobody:?}");
    assert_eq!(
        ask(Some(&first), &["collection", "list", "--json"]).json()["items"],
        serde_json::json!([])
    );
    let second = ask(
        Some(&first),
        &["key", "create", "ci", "--role", "reader@default/a*", "--days", "30", "--json"],
    )
    .json();
    let second_key = second["key"].as_str().expect("a key");
    assert_eq!(second["grants"][0]["collection_name"], "a*");
    let denied = ask(Some(second_key), &["key", "list"]);
    assert!(
        denied.code == Some(8) && denied.err.contains("permission_denied"),
        "{denied:?}"
    );
    let listed = ask(Some(&first), &["key", "list"]);
    assert!(
        listed.out.contains("reader@default/a*") && !listed.out.contains("sf_"),
        "{listed:?}"
    );
    let id = second["key_id"].as_str().expect("an id");
    assert_eq!(ask(Some(&first), &["key", "delete", id]).code, Some(0));
    assert_eq!(ask(Some(second_key), &["collection", "list"]).code, Some(8));
    let pool = sqlx::PgPool::connect(&database).await.expect("connects");
    let audit: Vec<(String, String, Option<String>)> =
        sqlx::query_as("select operation, principal_kind, peer from audit_events where outcome = 'ok' order by event_id")
            .fetch_all(&pool)
            .await
            .expect("rows");
    let peer = Some("127.0.0.1".to_string());
    assert_eq!(
        audit,
        [
            ("create_key".into(), "service".into(), None),
            ("create_key".into(), "key".into(), peer.clone()),
            ("delete_key".into(), "key".into(), peer)
        ]
    );
    // the first one has no caller, and is an event as every other
    let first_event: (String, Option<String>, Option<String>) = sqlx::query_as(
        "select e.path, e.permission, e.subject from audit_events e join api_keys k on e.subject = 'key ' || k.key_id
          where k.name = 'first' and e.principal_kind = 'service'",
    )
    .fetch_one(&pool)
    .await
    .expect("a row that names the key");
    assert_eq!(
        (first_event.0.as_str(), first_event.1.as_deref()),
        ("stillframe key create", Some("administer"))
    );
    // what is refused leaves neither a key nor an event
    let again = make(&["first", "--role", "admin", "--in-database"]);
    assert!(again.code != Some(0) && again.err.contains("first"), "{again:?}");
    let events: i64 = sqlx::query_scalar("select count(*) from audit_events where principal_kind = 'service'")
        .fetch_one(&pool)
        .await
        .expect("a count");
    assert_eq!(events, 1);
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for secret in [&first[3..], &second_key[3..]] {
        assert!(
            !ended.err.contains(secret) && !ended.out.contains(secret),
            "a key is in the log"
        );
    }
}

#[test]
fn beyond_loopback_authentication_is_enough() {
    let (dir, key) = (directory(), ADMIN_KEY);
    let mut command = stillframe(&["serve", "--listen", "0.0.0.0:0", "--storage", "memory:", "--auth"]);
    command
        .args(["--data-dir", dir.path().to_str().expect("UTF-8")])
        .env("STILLFRAME_ADMIN_KEY", key);
    let mut server = Running::start(command);
    let line = server.err_line("listening");
    server.err_line("without TLS");
    let port: String = line
        .split("http://0.0.0.0:")
        .nth(1)
        .expect("a URL")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let url = format!("http://127.0.0.1:{port}");
    assert_eq!(client(&url, None, &["snapshot", "list"]).code, Some(8));
    assert_eq!(
        client(&url, Some(key), &["snapshot", "list", "--json"]).json()["items"],
        Value::Array(Vec::new())
    );
    drop(server);

    let both = run(&["serve", "--auth", "--insecure", "--storage", "memory:"]);
    assert!(both.code == Some(2) && both.err.contains("--insecure"), "{both:?}");
    let unused = run(&["serve", "--admin-key", key, "--storage", "memory:"]);
    assert!(
        unused.code == Some(2) && unused.err.contains("--auth") && !unused.err.contains(key),
        "{unused:?}"
    );
}

#[test]
fn a_key_is_never_in_the_help_or_in_errors() {
    let secret = "sf_planted-planted-planted-planted-planted-1234";
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["collection", "list", "--help"],
        &["key", "create", "--help"],
        &["collection", "list"],
    ] {
        let output = stillframe(args)
            .env("STILLFRAME_API_KEY", secret)
            .env("STILLFRAME_ADMIN_KEY", secret)
            .env("STILLFRAME_SERVER", "http://127.0.0.1:1")
            .output();
        let ran = Ran::from(output.expect("runs"));
        assert!(!ran.out.contains("planted") && !ran.err.contains("planted"), "{ran:?}");
    }
}
