//! `examples/guide/go/` and `examples/guide/go-sdk/` run against the real server.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::guide::{load, server_errors, service, succeeded};
use crate::cli::process::directory;
use crate::cli::service::Service;

/// Builds a Go program of this repository, with the dependencies that its `go.sum` names; none where there is no Go as
/// new as its `go.mod` wants, by the rule of `.ci/setup`.
pub async fn built(directory: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let go = || {
        let mut go = Command::new("go");
        // another toolchain is not fetched
        go.env("GOTOOLCHAIN", "local").current_dir(root.join(directory));
        go
    };
    let usable = go().args(["list", "-m"]).output();
    if !usable.is_ok_and(|ran| ran.status.success()) {
        println!("skipped: no Go as new as {directory}/go.mod wants on this machine");
        return None;
    }
    let binary = root.join("target/go").join(directory);
    let mut build = go();
    build.args(["build", "-o"]).arg(&binary);
    succeeded("go build", build).await;
    Some(binary)
}

/// Runs a program against the service; gives what it printed, standard error too.
async fn run(program: &Path, arguments: &[&str], service: &Service, key: &str) -> String {
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
        .arg(program)
        .args(arguments)
        .env("MILVUS_ADDRESS", service.url.trim_start_matches("http://"))
        .env("MILVUS_TOKEN", key)
        .env("NO_PROXY", "*");
    let said = succeeded(arguments.first().unwrap_or(&""), command).await;
    println!("{}:\n{said}", arguments.join(" "));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Go toolchain and the Go module proxy: make test-milvus"]
async fn the_guides_use_cases_work_in_go() {
    let Some(guide) = built("examples/guide/go").await else {
        return;
    };
    let dir = directory();
    let service = service(dir.path()).await;
    let collections = ["production_vectors", "ml_embeddings", "test_collection", "my_collection"];
    for (copy, name) in (0..).zip(collections) {
        load(&service, dir.path(), name, copy).await;
    }
    // in this order: `jobs` and `errors` look at what `several` leaves
    for use_case in ["backup", "versioning", "environment", "several", "jobs", "export", "errors"] {
        run(&guide, &[use_case], &service, "").await;
    }
    // the SDK sees what was restored as what it came from
    let Some(sdk) = built("examples/guide/go-sdk").await else {
        return;
    };
    let said = run(
        &sdk,
        &["production_vectors", "recovered_vectors", "back_from_export"],
        &service,
        "",
    )
    .await;
    assert_eq!(said.matches("Rows: 9000 in ").count(), 3, "{said}");
    assert!(said.ends_with("done\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Go toolchain and the Go module proxy: make test-milvus"]
async fn the_guides_errors_of_a_server_that_lacks_something_are_met_in_go() {
    let Some(guide) = built("examples/guide/go").await else {
        return;
    };
    let dir = directory();
    server_errors(dir.path(), async |service, error, key| {
        run(&guide, &[error], service, key).await
    })
    .await;
}
