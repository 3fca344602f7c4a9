//! How copied files were proved.

use serde::Serialize;

/// What was compared of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The size that the target's listing says.
    Size,
    /// The size, and the ETag of the copy with the one recorded of the source.
    Etag,
    /// The size, and the bytes of both, which were read.
    Content,
}

impl Proof {
    pub const ALL: [Proof; 3] = [Proof::Size, Proof::Etag, Proof::Content];

    pub fn as_str(self) -> &'static str {
        match self {
            Proof::Size => "size",
            Proof::Etag => "etag",
            Proof::Content => "content",
        }
    }

    /// The letter that stands for it in the catalog.
    pub fn letter(self) -> char {
        match self {
            Proof::Size => 's',
            Proof::Etag => 'e',
            Proof::Content => 'c',
        }
    }

    pub fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.letter() == letter)
    }
}

/// One file in a receipt; the order of the fields is part of its sha-256.
#[derive(Debug, Serialize)]
pub struct ProvedFile<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub size_bytes: u64,
    pub verified: &'static str,
}

/// What is known of a written receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Relative to the storage root.
    pub key: String,
    /// Over the list of files, lower-case hexadecimal.
    pub sha256: String,
    pub files: i64,
    /// Bytes of the object.
    pub size_bytes: i64,
}
