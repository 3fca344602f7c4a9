//! The log as JSON.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cli::process::{Running, directory, stillframe};
use crate::support::postgres;

#[tokio::test]
async fn every_line_of_the_json_log_is_json_and_those_of_a_request_carry_its_id() {
    let dir = directory();
    let (name, _pool) = postgres::database().await;
    let mut command = stillframe(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--log", "debug"]);
    command
        .args(["--data-dir", dir.path().to_str().expect("UTF-8")])
        .env("DATABASE_URL", postgres::url(&name));
    let mut server = Running::start(command);
    let line: Value = serde_json::from_str(&server.err_line("listening")).expect("JSON");
    let url = line["url"].as_str().expect("a URL").to_string();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    // a text that would break a line, or out of a text
    let odd = "a%0Ab%22%7D";
    for (id, path, status) in [
        ("first-request", "/v1/collections".to_string(), 200),
        ("second-request", format!("/v1/collections/{odd}"), 404),
    ] {
        let answer = http.get(format!("{url}{path}")).header("x-request-id", id).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-request-id"]),
            (status, &id.parse().expect("a value"))
        );
    }
    server.signal(Signal::SIGTERM);
    let ended = server.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<Value> = ended
        .err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "no {key}: {line}");
        }
    }
    for id in ["first-request", "second-request"] {
        let own = |line: &&Value| {
            line["spans"]
                .as_array()
                .is_some_and(|s| s.iter().any(|s| s["request.id"] == id))
        };
        let own: Vec<&Value> = lines.iter().filter(own).collect();
        assert!(
            own.iter()
                .any(|line| line["status"].is_number() || line["span"]["name"] == "api"),
            "{id}: {own:#?}"
        );
    }
}
