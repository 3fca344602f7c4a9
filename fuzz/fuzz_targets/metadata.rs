//! Metadata files: read below a known root, and wherever they were written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stillframe::objects::metadata::{decode, decode_stored, encode, rewrite};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(stored) = decode_stored(bytes) {
        // where it says that it was written, it is read as the same
        assert_eq!(decode(bytes, &stored.root).expect("its own root"), stored.metadata);
    }
    let Ok(read) = decode(bytes, "files") else { return };
    assert_eq!(decode(&encode(&read, "files"), "files").expect("ours"), read);
    assert_eq!(
        decode(&rewrite(bytes, &read, "files").expect("small"), "files").expect("ours"),
        read
    );
});
