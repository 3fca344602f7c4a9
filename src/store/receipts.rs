//! Receipts of restore jobs, and how each copied file was proved.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;
use crate::domain::id::{BuildId, JobId, SegmentId};
use crate::domain::receipt::Receipt;

/// What became of one captured segment.
#[derive(Debug, Clone)]
pub struct Copied {
    pub target: SegmentId,
    /// One letter per file; none when an older version of the service copied it.
    pub methods: Option<String>,
    /// New build ids by captured ones.
    pub builds: HashMap<BuildId, BuildId>,
}

/// The copies of captured segments in a job, by captured segment id.
pub async fn copies(conn: &mut PgConnection, job: JobId, sources: &[i64]) -> Result<HashMap<i64, Copied>> {
    let rows = sqlx::query!(
        r#"select t.source_segment_id as "source!", t.target_segment_id as "target!", p.methods as "methods?"
             from restore_tasks t left join restore_proofs p using (task_id)
            where t.job_id = $1 and t.kind = 'copy' and t.state = 'succeeded' and t.source_segment_id = any($2)"#,
        job.0,
        sources
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(failed)?;
    let targets: Vec<i64> = rows.iter().map(|r| r.target).collect();
    let builds = sqlx::query!(
        "select source_build_id, target_build_id, target_segment_id from restore_builds
          where job_id = $1 and target_segment_id = any($2)",
        job.0,
        &targets
    )
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let mut of_target: HashMap<i64, HashMap<BuildId, BuildId>> = HashMap::new();
    for row in builds {
        of_target
            .entry(row.target_segment_id)
            .or_default()
            .insert(BuildId(row.source_build_id), BuildId(row.target_build_id));
    }
    Ok(rows
        .into_iter()
        .map(|r| {
            let copied = Copied {
                target: SegmentId(r.target),
                methods: r.methods,
                builds: of_target.remove(&r.target).unwrap_or_default(),
            };
            (r.source, copied)
        })
        .collect())
}

/// Notes the key of a receipt before its object is written; false when the job has ended.
pub async fn begin(conn: &mut PgConnection, job: JobId, key: &str) -> Result<bool> {
    let row = sqlx::query_scalar!(
        "insert into restore_receipts (job_id, key)
         select job_id, $2 from restore_jobs where job_id = $1 and finished_at is null
         on conflict (job_id) do update set key = excluded.key where restore_receipts.sha256 is null
         returning job_id",
        job.0,
        key
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.is_some())
}

/// Records a written receipt, in the transaction that completes its job.
pub async fn complete(conn: &mut PgConnection, job: JobId, receipt: &Receipt) -> Result<()> {
    sqlx::query!(
        "update restore_receipts set sha256 = $2, file_count = $3, size_bytes = $4 where job_id = $1",
        job.0,
        receipt.sha256,
        receipt.files,
        receipt.size_bytes
    )
    .execute(conn)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The receipt of a completed job.
pub async fn find(conn: &mut PgConnection, job: JobId) -> Result<Option<Receipt>> {
    let row = sqlx::query!(
        r#"select key, sha256 as "sha256!", file_count, size_bytes from restore_receipts where job_id = $1 and sha256 is not null"#,
        job.0
    )
    .fetch_optional(conn)
    .await
    .map_err(failed)?;
    Ok(row.map(|r| Receipt {
        key: r.key,
        sha256: r.sha256,
        files: r.file_count,
        size_bytes: r.size_bytes,
    }))
}

/// A receipt that nobody needs any more.
#[derive(Debug, Clone)]
pub struct Unneeded {
    pub job_id: i64,
    pub key: String,
    pub size_bytes: i64,
}

/// Receipts whose job's history has expired or whose snapshot (of a bundle: whose target) has been collected, and what an
/// unsuccessful job left once no worker can write any more; by job after a cursor. A dry run sees
/// past what the real run deletes first.
pub async fn unneeded(
    conn: &mut PgConnection,
    grace_seconds: i64,
    history_seconds: i64,
    after: i64,
    limit: i64,
) -> Result<Vec<Unneeded>> {
    sqlx::query_as!(
        Unneeded,
        "select r.job_id, r.key, r.size_bytes from restore_receipts r
           left join restore_jobs j using (job_id)
           left join snapshots s on s.snapshot_id = j.snapshot_id
          where r.job_id > $3
            and (j.job_id is null
                 or (j.finished_at is not null and j.cleanup <> 'pending'
                     and (j.state <> 'Completed' or (j.snapshot_id is null and (j.kind = 'restore'
                              or not exists (select from collections c where c.collection_id = j.collection_id)))
                          or j.finished_at < (select stillframe_now()) - $2::bigint * interval '1 second'
                          or (s.state in ('deleting', 'condemned') and s.dropped_at <= (select stillframe_now()) - $1::bigint * interval '1 second'
                              and not exists (select from restore_jobs o where o.snapshot_id = s.snapshot_id and o.finished_at is null)))))
          order by r.job_id limit $4",
        grace_seconds,
        history_seconds,
        after,
        limit
    )
    .fetch_all(conn)
    .await
    .map_err(failed)
}

/// Deletes the rows of receipts whose objects are gone.
pub async fn delete(conn: &mut PgConnection, jobs: &[i64]) -> Result<()> {
    sqlx::query!("delete from restore_receipts where job_id = any($1)", jobs)
        .execute(conn)
        .await
        .map_err(failed)?;
    Ok(())
}
