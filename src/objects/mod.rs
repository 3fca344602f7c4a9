//! Object storage: where it is, which keys exist, how bytes get there and are copied.
//!
//! Keys are relative to the storage root and come from [`keys`] or from checked paths of data
//! files. The root is `s3://bucket/prefix`, a directory, or memory (tests).

pub mod bundle;
mod copy;
mod delete;
mod error;
pub mod keys;
mod limiter;
mod listing;
mod local;
mod local_copy;
pub mod manifest;
pub mod marker;
pub mod metadata;
mod observe;
mod parts;
mod probe;
mod scratch;
mod storage;
mod stored;
mod stream;
mod together;
mod tree;
mod uploads;
mod url;

pub use copy::{CopyFallback, CopyFile, CopyOutcome, SINGLE_COPY_MAX};
pub use delete::{BatchFailure, DELETE_BATCH};
pub use error::storage_error;
pub use listing::{Directories, Expected, Listing, requests_at_most};
pub use scratch::Scratch;
pub use storage::{Credentials, Entry, Objects, StorageOptions};
pub use stream::{Sink, hex};
pub use tree::{Route, Tree};
pub use uploads::{OpenUpload, UploadMarker, Uploads};
pub use url::StorageUrl;
