//! What the README says is true.

use std::process::Command;

use tokio::net::TcpListener;

use crate::support::TestApp;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("is there")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("{start:?} is missing"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end:?} is missing")).0
}

#[test]
fn the_settings_table_is_the_one_of_the_code() {
    let text = readme();
    let (start, end) = ("a test compares them -->\n", "<!-- end of settings -->");
    let written = between(&text, start, end);
    let generated = stillframe::config::settings_table();
    if std::env::var_os("UPDATE").is_some() {
        let updated = text.replace(&format!("{start}{written}{end}"), &format!("{start}{generated}{end}"));
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"), updated).expect("written");
        return;
    }
    assert_eq!(written, generated, "UPDATE=1 writes it anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_five_calls_work_as_they_stand() {
    let app = TestApp::local().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let router = app.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let text = readme();
    let calls = between(&text, "## Five calls", "The engine writes");
    let script = between(calls, "```sh\n", "```")
        .replace("localhost:19530", &address)
        .replace("curl ", "curl --fail-with-body -sS -w '\\n' ");
    assert_eq!(script.matches("curl ").count(), 5);
    let output = tokio::task::spawn_blocking(move || Command::new("bash").args(["-euc", &script]).output().expect("bash starts"))
        .await
        .expect("ran");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{printed} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers[1]["snapshot_name"], "backup_20240101");
    assert_eq!(answers[2]["snapshot_id"], answers[1]["snapshot_id"]);
    assert_eq!(answers[4]["items"][0]["job_id"], answers[3]["job_id"]);
    app.drain().await;
    app.get("/v1/collections/restored_collection").await.ok();
}
