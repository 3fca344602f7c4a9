//! Hybrid timestamps: physical milliseconds since 1970 shifted left 18 bits, plus a counter.
//! The form is Milvus' (facts §1.4); `create_ts` and seek positions use it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time as RFC 3339 text in UTC.
pub fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

/// Bits of the counter.
pub const LOGICAL_BITS: u32 = 18;

/// The hybrid timestamp of a time in milliseconds since 1970, with a zero counter.
pub fn from_millis(millis: i64) -> i64 {
    millis << LOGICAL_BITS
}

/// The milliseconds since 1970 in a hybrid timestamp.
pub fn to_millis(timestamp: i64) -> i64 {
    timestamp >> LOGICAL_BITS
}
