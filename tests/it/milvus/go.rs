//! `examples/guide/go/` run against the real server.

use std::path::Path;
use std::process::Command;

use super::guide::{load, service, succeeded};
use crate::cli::process::directory;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a Go toolchain and the Go module proxy: make test-milvus"]
async fn the_guides_use_cases_work_in_go() {
    if Command::new("go").arg("version").output().is_err() {
        println!("skipped: no Go toolchain on this machine");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = root.join("target/go/guide");
    let mut build = Command::new("go");
    build
        .args(["build", "-o"])
        .arg(&binary)
        .current_dir(root.join("examples/guide/go"));
    succeeded("go build", build).await;

    let dir = directory();
    let service = service(dir.path()).await;
    let collections = ["production_vectors", "ml_embeddings", "test_collection", "my_collection"];
    for (copy, name) in (0..).zip(collections) {
        load(&service, dir.path(), name, copy).await;
    }
    // in this order: the last two look at what `several` leaves
    for use_case in ["backup", "versioning", "environment", "several", "jobs", "errors"] {
        let mut command = Command::new(&binary);
        command
            .arg(use_case)
            .env("MILVUS_ADDRESS", service.url.trim_start_matches("http://"))
            .env("NO_PROXY", "*");
        let said = succeeded(use_case, command).await;
        println!("{use_case}:\n{said}");
    }
}
