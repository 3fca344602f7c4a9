//! MD5 sums of data files without a comparable ETag, as the first verification that read them found them.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::codec::{from_json, to_json};
use super::failed;
use crate::domain::Result;
use crate::domain::id::SegmentId;

/// Path to MD5.
pub type Sums = BTreeMap<String, String>;

/// The recorded sums of segments and their index builds, of those that have any.
pub async fn of(conn: &mut PgConnection, segments: &[i64]) -> Result<HashMap<i64, Sums>> {
    let rows = sqlx::query!("select segment_id, sums from file_sums where segment_id = any($1)", segments)
        .fetch_all(conn)
        .await
        .map_err(failed)?;
    rows.into_iter().map(|r| Ok((r.segment_id, from_json(r.sums)?))).collect()
}

/// Adds sums of files of a segment; one that is recorded already stays as it is: it was read first.
pub async fn record(conn: &mut PgConnection, segment: SegmentId, sums: &Sums) -> Result<()> {
    sqlx::query!(
        "insert into file_sums (segment_id, sums) select segment_id, $2 from segments where segment_id = $1
         on conflict (segment_id) do update set sums = excluded.sums || file_sums.sums",
        segment.0,
        to_json(sums)?
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}
