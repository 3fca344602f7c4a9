//! A running service, and client commands against it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::process::{Ran, Running, stillframe};
use crate::support::fixture;

/// A running service.
pub struct Service {
    pub process: Running,
    pub url: String,
}

impl Service {
    /// Starts one on a free port, and waits until it listens.
    #[track_caller]
    pub fn start(data_dir: &Path, args: &[&str]) -> Self {
        let data_dir = data_dir.to_str().expect("UTF-8");
        let mut process = Running::start(stillframe(
            &[&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir], args].concat(),
        ));
        let line = process.err_line("listening");
        let (before, after) = line.split_once("://127.0.0.1:").expect("a URL");
        let scheme = if before.ends_with("https") { "https" } else { "http" };
        let port: String = after.chars().take_while(char::is_ascii_digit).collect();
        Self {
            process,
            url: format!("{scheme}://127.0.0.1:{port}"),
        }
    }

    /// Runs a client command against it.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.client(args).output().expect("runs").into()
    }

    /// A client command against it.
    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = stillframe(args);
        command.env("STILLFRAME_SERVER", &self.url);
        command
    }

    /// Writes the fixture's files and registers them, as the engine would.
    pub async fn load_fixture(&self, data_dir: &Path) {
        for (key, content) in fixture::files() {
            let path = data_dir.join("objects").join(key);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, content).expect("written");
        }
        let catalog = fixture::catalog();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let post = async |path: &str, body: &Value| {
            let response = client
                .post(format!("{}{path}", self.url))
                .json(body)
                .send()
                .await
                .expect("an answer");
            assert_eq!(response.status().as_u16(), 201, "{path}");
        };
        post("/v1/collections", &catalog["collection"]).await;
        for index in catalog["indexes"].as_array().expect("indexes") {
            post("/v1/collections/feas/indexes", index).await;
        }
        post(
            "/v1/collections/feas/segments:batch",
            &serde_json::json!({"segments": catalog["segments"]}),
        )
        .await;
    }
}
