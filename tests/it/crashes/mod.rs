//! The real binary, killed at every effect and started again: nothing is lost, nothing half done
//! is seen, nothing stays behind.
//!
//! Where to die is said by `TEST_STILLFRAME_CRASH_AT` (see `src/crash_point.rs`), so these tests need
//! a debug build.

mod bundles;
mod content;
mod materialize;
mod outages;
mod place;
mod points;
mod replicas;
mod s3;
mod silence;
mod skew;
