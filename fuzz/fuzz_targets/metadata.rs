//! Metadata files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stillframe::objects::metadata::{decode, encode, rewrite};

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = decode(bytes, "files") else { return };
    assert_eq!(decode(&encode(&read, "files"), "files").expect("ours"), read);
    assert_eq!(
        decode(&rewrite(bytes, &read, "files").expect("small"), "files").expect("ours"),
        read
    );
});
