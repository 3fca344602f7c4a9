//! Materializing: an external collection, with every snapshot of it, becomes one of our own.
//!
//! A job copies what is needed into a collection that nobody sees, as a restore does, under new ids;
//! writes the snapshots anew for it; and then, in one transaction, puts it in the place of the external
//! one, whose files stay where they are. So nothing that is written lies where the other system writes,
//! and a half state is never seen, whenever the job ends.
//!
//! While it runs, nothing of the external collection can be changed: what locks a collection for a change
//! refuses (`store::collections::hold`, `lock`). Restores and exports of its snapshots go on, and the swap
//! waits for those that run.

use super::collections::channel_name;
use super::paths::{collection, gone};
use super::restore::one_job;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::collection::{Channel, Collection, Ownership};
use crate::domain::id::{CollectionId, JobId, TaskId};
use crate::domain::restore::{JobKind, RestoreJob, RestoreOptions, TaskKind};
use crate::domain::schedule::Control;
use crate::domain::{Code, Error, Result};
use crate::store::jobs::NewJob;
use crate::store::{self, PgConnection};
use crate::telemetry;

/// A collection to be materialized.
#[derive(Debug, Clone)]
pub struct MaterializeRequest {
    pub db_name: String,
    /// Its name, or an alias.
    pub collection_name: String,
    /// The job's share and limits at first.
    pub control: Control,
}

impl Service {
    /// Starts to materialize an external collection: checks what is cheap, inserts the hidden target, and
    /// queues the job.
    ///
    /// # Errors
    /// `collection_not_found`, `collection_not_external`, `collection_not_ready` while a segment is not
    /// flushed or a snapshot is being created, `collection_being_materialized`, `invalid_request`.
    pub async fn start_materialize(&self, request: &MaterializeRequest) -> Result<RestoreJob> {
        request.control.check()?;
        let mut tx = self.begin().await?;
        let source = collection(&mut tx, &self.caller, &request.db_name, &request.collection_name).await?;
        if !store::collections::lock(&mut tx, source.collection_id).await? {
            return Err(gone(&source));
        }
        // read again under the lock: it may have been renamed
        let source = collection(&mut tx, &self.caller, &request.db_name, &request.collection_name).await?;
        check_ready(&mut tx, &source).await?;
        let partitions = store::materialize::partition_ids(&mut tx, source.collection_id).await?;
        let first = store::catalog::allocate_ids(&mut tx, 3 + partitions.len() as i64).await?;
        let (job_id, target_id, task_id) = (JobId(first), CollectionId(first + 1), TaskId(first + 2));
        let partitions: Vec<(i64, i64)> = partitions.into_iter().zip(first + 3..).collect();
        insert_target(&mut tx, &source, target_id, &partitions).await?;
        store::jobs::insert(
            &mut tx,
            &NewJob {
                job_id,
                kind: JobKind::Materialize,
                snapshot_id: None,
                snapshot_name: "",
                source_collection_name: &source.name,
                db_id: source.db_id,
                collection_name: &source.name,
                collection_id: target_id,
                options: &RestoreOptions::default(),
                control: &request.control,
            },
        )
        .await?;
        store::materialize::begin(&mut tx, job_id, source.collection_id, &partitions).await?;
        let warning = "the collection's files belong to another system, which may delete them while they are copied";
        store::jobs::set_warnings(&mut tx, job_id, &[warning.into()]).await?;
        if let Some(traceparent) = telemetry::traceparent() {
            store::jobs::set_traceparent(&mut tx, job_id, &traceparent).await?;
        }
        store::tasks::enqueue(&mut tx, task_id, job_id, TaskKind::Validate, None).await?;
        let job = one_job(&mut tx, &self.caller, job_id).await?;
        commit(tx).await?;
        crash_point::reached("materialize.queued");
        Ok(job)
    }
}

async fn check_ready(conn: &mut PgConnection, source: &Collection) -> Result<()> {
    if source.ownership != Ownership::External {
        return Err(Code::CollectionNotExternal.error(format!(
            "collection {:?} is owned: its files are kept here already",
            source.name
        )));
    }
    let not_ready = |why: String| -> Error { Code::CollectionNotReady.error(why) };
    if let Some((state, count)) = store::materialize::unflushed(conn, source.collection_id).await?.first() {
        return Err(not_ready(format!(
            "collection {:?} has {count} segments that are {state}: rows of them are in no file yet; flush it first",
            source.name
        )));
    }
    if let Some(name) = store::materialize::unsettled_snapshots(conn, source.collection_id).await? {
        return Err(not_ready(format!(
            "snapshot {name:?} of collection {:?} is being created; try again when it is there",
            source.name
        )));
    }
    Ok(())
}

/// Inserts the target, which has no name until it takes that of its source.
async fn insert_target(
    conn: &mut PgConnection,
    source: &Collection,
    target_id: CollectionId,
    partitions: &[(i64, i64)],
) -> Result<()> {
    let target = Collection {
        collection_id: target_id,
        ownership: Ownership::Owned,
        ..source.clone()
    };
    store::collections::insert(conn, &target, true).await?;
    for channel in store::channels::list(conn, source.collection_id).await? {
        let channel = Channel {
            channel_name: channel_name(target_id, channel.shard_no),
            ..channel
        };
        store::channels::insert(conn, target_id, &channel).await?;
    }
    store::materialize::copy_definitions(conn, source.collection_id, target_id, partitions).await
}
