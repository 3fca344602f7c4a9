//! Metadata files: read below a known root, and wherever they were written.

use stillframe::domain::Code;
use stillframe::objects::metadata::{decode, decode_stored, encode, rewrite, rewrite_copy};

/// Reads it; what was accepted is written, rewritten, and read again. Gives whether it was accepted.
pub fn check(bytes: &[u8]) -> bool {
    match decode_stored(bytes) {
        // where it says that it was written, it is read as the same
        Ok(stored) => assert_eq!(decode(bytes, &stored.root).expect("its own root"), stored.metadata),
        Err(error) => assert_eq!(error.code(), Code::CorruptSnapshot, "{error}"),
    }
    let read = match decode(bytes, "files") {
        Ok(read) => read,
        Err(error) => {
            assert_eq!(error.code(), Code::CorruptSnapshot, "{error}");
            return false;
        }
    };
    assert_eq!(decode(&encode(&read, "files"), "files").expect("ours"), read);
    // what is ignored when it is read may be too much to be kept: a number out of every range
    for rewritten in [rewrite(bytes, &read, "files"), rewrite_copy(bytes, &read, "files")]
        .into_iter()
        .flatten()
    {
        assert_eq!(decode(&rewritten, "files").expect("ours"), read);
    }
    true
}
