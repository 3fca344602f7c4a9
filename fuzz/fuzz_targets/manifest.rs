//! What it does is in `checks/manifest.rs`, which the bounded run of the tests shares.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/manifest.rs"]
mod checks;

fuzz_target!(|bytes: &[u8]| {
    checks::check(bytes);
});
