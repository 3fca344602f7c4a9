//! The last verification of each snapshot at each level.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::codec::{from_json, to_json};
use super::failed;
use crate::domain::id::SnapshotId;
use crate::domain::verification::{Level, Report, Verification};
use crate::domain::{Error, Result};

/// Keeps the result of a verification that ends now, in place of the last one at its level; none
/// when the snapshot has been dropped meanwhile.
pub async fn keep(
    conn: &mut PgConnection,
    snapshot: SnapshotId,
    level: Level,
    sample: f64,
    report: &Report,
    started_at: OffsetDateTime,
) -> Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        "insert into snapshot_verifications (snapshot_id, level, sample, outcome, report, started_at)
         select snapshot_id, $2, $3, $4, $5, $6 from snapshots where snapshot_id = $1 and state = 'committed'
         on conflict (snapshot_id, level) do update
            set sample = excluded.sample, outcome = excluded.outcome, report = excluded.report,
                started_at = excluded.started_at, finished_at = excluded.finished_at
         returning finished_at",
        snapshot.0,
        level.as_str(),
        sample,
        if report.problems.total == 0 { "passed" } else { "failed" },
        to_json(report)?,
        started_at
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)
}

/// The newest verification of a snapshot at each level, the newest of all first.
pub async fn last(conn: &mut PgConnection, snapshot: SnapshotId) -> Result<Vec<Verification>> {
    let rows = sqlx::query!(
        "select level, sample, report, started_at, finished_at from snapshot_verifications
          where snapshot_id = $1 order by finished_at desc",
        snapshot.0
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    rows.into_iter()
        .map(|row| {
            Ok(Verification {
                level: Level::parse(&row.level).ok_or_else(|| Error::internal("a verification has an unknown level"))?,
                sample: row.sample,
                report: from_json(row.report)?,
                started_at: row.started_at,
                finished_at: row.finished_at,
            })
        })
        .collect()
}
