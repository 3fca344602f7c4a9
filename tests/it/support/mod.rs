//! What tests stand on: a real Postgres, a database per test, real objects, a settable clock.

pub mod app;
pub mod etags;
pub mod faults;
pub mod fixture;
pub mod jobs;
pub mod postgres;
pub mod s3;
pub mod uploads;

pub use app::TestApp;

/// The Python that has fastavro; the Makefile makes it.
pub fn python() -> std::path::PathBuf {
    let path = std::env::var_os("STILLFRAME_TEST_PYTHON").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python"),
        Into::into,
    );
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}
