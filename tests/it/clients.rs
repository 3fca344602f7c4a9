//! Clients that are generated from the committed document go the whole way against the real
//! service: register, snapshot, restore, poll, drop.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::process::{Ran, directory};
use crate::cli::service::Service;
use crate::support::{fixture, postgres};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn target(part: &str) -> PathBuf {
    Path::new(ROOT).join("target/clients").join(part)
}

/// A program that `make setup` installs.
fn program(path: &str) -> Command {
    let path = target(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    Command::new(path)
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let ran = Ran::from(command.output().unwrap_or_else(|e| panic!("{command:?}: {e}")));
    assert_eq!(ran.code, Some(0), "{command:?}: {ran:#?}");
    ran.out + &ran.err
}

/// A service whose storage has the files of the fixture; nothing is registered.
async fn service(directory: &Path) -> Service {
    for (key, content) in fixture::files() {
        let path = directory.join("objects").join(key);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let database = postgres::url(&postgres::empty_database().await);
    Service::start(directory, &["--no-fsync", "--database-url", &database])
}

fn catalog() -> PathBuf {
    fixture::directory().join("catalog.json")
}

#[tokio::test]
async fn a_python_client_of_either_document_goes_the_whole_way() {
    let script = Path::new(ROOT).join("tests/clients/python/whole_way.py");
    for document in ["openapi.json", "openapi-3.0.json"] {
        let generated = tempfile::tempdir().expect("a directory");
        let said = run(program("python/bin/openapi-python-client")
            .args(["generate", "--meta", "none", "--path"])
            .arg(Path::new(ROOT).join("openapi").join(document))
            .arg("--output-path")
            .arg(generated.path().join("stillframe_client")));
        // what it has to say beside this is in docs/clients.md
        assert!(!said.contains("WARNING parsing") && !said.contains("ERROR"), "{said}");
        if document == "openapi.json" {
            run(program("python/bin/mypy")
                .args(["--strict", "--no-error-summary", "--cache-dir"])
                .arg(target("python/mypy-cache"))
                .arg(&script)
                .env("MYPYPATH", generated.path()));
        }
        let directory = directory();
        let service = service(directory.path()).await;
        run(program("python/bin/python")
            .arg(&script)
            .args([&service.url])
            .arg(catalog())
            .env("PYTHONPATH", generated.path())
            .env("PYTHONDONTWRITEBYTECODE", "1"));
    }
}

#[tokio::test]
async fn a_typescript_client_goes_the_whole_way_and_keeps_every_digit() {
    let here = target("typescript");
    for document in ["openapi-3.0.json", "openapi.json"] {
        run(program("typescript/node_modules/.bin/openapi-typescript")
            .arg(Path::new(ROOT).join("openapi").join(document))
            .args(["--default-non-nullable", "false", "--output", "schema.d.ts"])
            .current_dir(&here));
        run(program("typescript/node_modules/.bin/tsc").current_dir(&here));
    }
    let directory = directory();
    let service = service(directory.path()).await;
    run(Command::new("node")
        .arg("built/whole_way.js")
        .args([&service.url])
        .arg(catalog())
        .current_dir(&here));
}
