//! Clients that are generated from the committed documents go the whole way against the real
//! service, with authentication and without: register, snapshot, restore, poll, drop.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::process::{Ran, directory};
use crate::cli::service::Service;
use crate::support::{fixture, postgres};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Which document a client is made of, and the key that it sends; a service that knows the key wants one.
const WAYS: [(&str, Option<&str>); 2] = [("openapi-3.0.json", None), ("openapi.json", Some(KEY))];
pub const KEY: &str = "admin-0123456789abcdef0123456789abcdef";

fn target(part: &str) -> PathBuf {
    Path::new(ROOT).join("target/clients").join(part)
}

pub fn source(part: &str) -> PathBuf {
    Path::new(ROOT).join("tests/clients").join(part)
}

pub fn document(name: &str) -> PathBuf {
    Path::new(ROOT).join("openapi").join(name)
}

/// A program that `make setup` installs.
pub fn program(path: &str) -> Command {
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
pub async fn service(directory: &Path, key: Option<&str>, settings: &[&str]) -> Service {
    for (key, content) in fixture::files() {
        let path = directory.join("objects").join(key);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let database = postgres::url(&postgres::empty_database().await);
    let mut args = [&["--no-fsync", "--database-url", &database], settings].concat();
    if let Some(key) = key {
        args.extend(["--auth", "--admin-key", key]);
    }
    Service::start(directory, &args)
}

/// The fixture's catalog as the document has it: Milvus' tools print counts as texts, which the service takes and a typed
/// client does not.
pub fn catalog(directory: &Path) -> PathBuf {
    const COUNTS: [&str; 6] = [
        "num_of_rows",
        "size_bytes",
        "entries_num",
        "num_rows",
        "serialized_size_bytes",
        "index_version",
    ];
    fn typed(value: &mut Value) {
        match value {
            Value::Object(object) => object.iter_mut().for_each(|(name, inner)| {
                if COUNTS.contains(&name.as_str())
                    && let Some(text) = inner.as_str()
                {
                    *inner = json!(text.parse::<i64>().expect("a count"));
                }
                typed(inner);
            }),
            Value::Array(list) => list.iter_mut().for_each(typed),
            _ => {}
        }
    }
    let mut catalog = fixture::catalog();
    typed(&mut catalog);
    let path = directory.join("catalog.json");
    std::fs::write(&path, catalog.to_string()).expect("written");
    path
}

/// Runs a client against a service of its own.
async fn go(client: &mut Command, key: Option<&str>) {
    let directory = directory();
    let service = service(directory.path(), key, &[]).await;
    client.arg(&service.url).arg(catalog(directory.path())).args(key);
    run(client.env("NO_PROXY", "*"));
}

/// What `openapi-python-client` has to say and docs/clients.md lists: it only formats with that.
const SKIPS_RUFF: [&str; 6] = [
    "Warning(s) encountered while generating. Client was generated, but some pieces may be missing",
    "Skipping Integration",
    "ruff is not in PATH",
    "Skipping Integration",
    "ruff is not in PATH",
    "If you believe this was a mistake or this tool is missing a feature you need, please open an issue at \
     https://github.com/openapi-generators/openapi-python-client/issues/new/choose",
];

/// What a generator said but that it did its work.
fn warnings_of_python(said: &str) -> Vec<&str> {
    let lines = said.lines().filter(|line| !line.is_empty());
    lines.filter(|line| !line.starts_with("Generating ")).collect()
}

/// The same of `openapi-typescript`: its name, and what it made of what.
fn warnings_of_typescript(said: &str) -> Vec<&str> {
    let lines = said.lines().filter(|line| !line.is_empty());
    let done = |line: &&str| line.starts_with("✨ openapi-typescript ") || line.starts_with("🚀 ");
    lines.filter(|line| !done(line)).collect()
}

#[tokio::test]
async fn a_python_client_of_either_document_goes_the_whole_way() {
    let script = source("python/whole_way.py");
    for (name, key) in WAYS {
        let generated = tempfile::tempdir().expect("a directory");
        let said = run(program("python/bin/openapi-python-client")
            .args(["generate", "--meta", "none", "--path"])
            .arg(document(name))
            .arg("--output-path")
            .arg(generated.path().join("stillframe_client"))
            // whether this machine has a formatter is nothing to go by
            .env("PATH", ""));
        assert_eq!(warnings_of_python(&said), SKIPS_RUFF, "{name}");
        run(program("python/bin/mypy")
            .args(["--strict", "--no-error-summary", "--cache-dir"])
            .arg(target("python/mypy-cache").join(name))
            .arg(&script)
            .env("MYPYPATH", generated.path()));
        let mut client = program("python/bin/python");
        client
            .arg(&script)
            .env("PYTHONPATH", generated.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        go(&mut client, key).await;
    }
}

#[tokio::test]
async fn a_typescript_client_of_either_document_goes_the_whole_way_and_keeps_every_digit() {
    let here = target("typescript");
    for (name, key) in WAYS {
        let said = run(program("typescript/node_modules/.bin/openapi-typescript")
            .arg(document(name))
            .args(["--default-non-nullable", "false", "--output", "schema.d.ts"])
            .current_dir(&here));
        assert_eq!(warnings_of_typescript(&said), Vec::<&str>::new(), "{name}");
        let said = run(program("typescript/node_modules/.bin/tsc").current_dir(&here));
        assert_eq!(said, "", "{name}");
        let mut client = Command::new("node");
        client.arg("built/whole_way.js").current_dir(&here);
        go(&mut client, key).await;
    }
}

#[tokio::test]
async fn a_rust_client_goes_the_whole_way() {
    // its build script makes the client; nothing is fetched
    let said = run(Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--offline", "--manifest-path"])
        .arg(source("rust/Cargo.toml"))
        .env("CARGO_TARGET_DIR", target("rust")));
    assert_eq!(said, "", "warnings");
    for key in [None, Some(KEY)] {
        go(&mut program("rust/debug/stillframe-client-rust"), key).await;
    }
}

#[tokio::test]
async fn a_go_client_goes_the_whole_way_where_go_is_found() {
    let tool = |at: &Path| {
        let mut go = Command::new("go");
        go.current_dir(at).env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
        go
    };
    let usable = tool(&source("go")).args(["list", "-m"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        // past the test runner, which keeps what passing tests print
        let note = "skipped: the Go client, since this machine has no Go as new as tests/clients/go/go.mod wants";
        writeln!(std::io::stderr(), "{note}").expect("said");
        return;
    }
    // not a temporary one: Go's build cache goes by the directory
    let here = target("go/client");
    std::fs::create_dir_all(here.join("stillframe")).expect("made");
    for file in ["go.mod", "go.sum", "config.yaml", "whole_way.go"] {
        std::fs::copy(source("go").join(file), here.join(file)).expect("copied");
    }
    let said = run(program("go/oapi-codegen")
        .args(["-config", "config.yaml"])
        .arg(document("openapi-3.0.json"))
        .current_dir(&here));
    assert_eq!(said, "", "warnings");
    run(tool(&here).args(["vet", "./..."]));
    run(tool(&here).args(["build", "-o", "whole_way", "."]));
    for key in [None, Some(KEY)] {
        go(&mut program("go/client/whole_way"), key).await;
    }
}
