//! The Python package: its own tests, and its types.

use super::{interpreter, package, root, succeeds};
use crate::cli::process::directory;
use crate::cli::service::Service;
use crate::support::postgres;

#[tokio::test]
async fn the_tests_of_the_package_pass_on_the_real_binary() {
    let dir = directory();
    let (database, _pool) = postgres::database().await;
    let service = Service::start(dir.path(), &["--no-fsync", "--database-url", &postgres::url(&database)]);
    service.load_fixture(dir.path()).await;
    let mut pytest = interpreter();
    pytest
        .args(["-m", "pytest"])
        .current_dir(package())
        .env("STILLFRAME_TEST_URI", &service.url)
        .env("STILLFRAME_TEST_STORAGE", dir.path().join("objects"));
    let said = succeeds(pytest);
    let passed = said.lines().last().unwrap_or_default();
    assert!(passed.contains(" passed") && !passed.contains("skipped"), "{said}");
}

#[test]
fn the_package_is_typed_strictly() {
    assert!(package().join("src/stillframe/py.typed").exists());
    let mut mypy = interpreter();
    mypy.args(["-m", "mypy", "--cache-dir"])
        .arg(root().join("target/mypy"))
        .current_dir(package());
    assert!(succeeds(mypy).starts_with("Success: no issues found"));
}
