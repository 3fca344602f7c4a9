//! Creating a snapshot, in two phases.
//!
//! 1. One read-committed transaction inserts a `pending` row under a lease, and the references
//!    to the manifests of the chosen segments, those of earlier snapshots where nothing changed:
//!    from its commit on nothing that the snapshot needs can be collected.
//! 2. New manifests are written in parallel, then the metadata file, then the row is committed,
//!    fenced by the lease (`create_write`). A crash leaves a pending row; its expired lease frees
//!    the name, and the collector removes what was written.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::paths::{check_name, collection, gone};
use super::snapshots::check_texts;
use super::{Service, commit};
use crate::crash_point;
use crate::domain::access::{Permission, Visible};
use crate::domain::collection::{Channel, Collection};
use crate::domain::id::SnapshotId;
use crate::domain::schema::Params;
use crate::domain::snapshot::{CapturedCollection, LeftOut, LeftOutReason, Snapshot};
use crate::domain::{Code, Error, Result, timestamp};
use crate::objects::manifest;
use crate::store::id_blocks::Purpose;
use crate::store::manifests::{Captured, WrittenAs};
use crate::store::snapshots::NewSnapshot;
use crate::store::{self, PgConnection};

/// A snapshot to be created.
#[derive(Debug, Clone)]
pub struct CreateSnapshot {
    pub db_name: String,
    pub collection_name: String,
    pub snapshot_name: String,
    pub description: String,
    pub labels: Params,
    /// Seal growing segments first and wait so long for the engine to flush them. That needs the permission to write too.
    pub flush: Option<Duration>,
    /// Capture every flushed segment of a collection whose channels report no positions.
    pub allow_unbounded: bool,
}

/// A created snapshot and how long it took.
#[derive(Debug, Clone)]
pub struct CreatedSnapshot {
    pub snapshot: Snapshot,
    pub took: Duration,
}

/// What the first phase captured.
pub(super) struct Pending {
    pub snapshot_id: SnapshotId,
    pub token: Uuid,
    pub collection: Collection,
    pub captured: CapturedCollection,
    pub channels: Vec<Channel>,
    pub create_ts: i64,
    pub counts: Captured,
    pub left_out: Vec<LeftOut>,
}

/// Captures in a row that a changing segment may spoil.
const CAPTURE_TRIES: usize = 20;

impl Service {
    /// Creates a snapshot of a collection.
    ///
    /// # Errors
    /// `invalid_request`, `collection_not_found`, `channel_without_position`, `flush_timeout`,
    /// `snapshot_already_exists`, `snapshot_interrupted`, storage errors. Nothing visible is
    /// left by any of them.
    pub async fn create_snapshot(&self, request: CreateSnapshot) -> Result<CreatedSnapshot> {
        // a caller that hangs up must not leave a half-written snapshot behind for a whole lease
        let service = self.clone();
        tokio::spawn(async move { service.create_to_the_end(request).await })
            .await
            .map_err(Error::internal)?
    }

    async fn create_to_the_end(&self, request: CreateSnapshot) -> Result<CreatedSnapshot> {
        self.caller.note(format!("snapshot {:?}", request.snapshot_name));
        check_name("/snapshot_name", &request.snapshot_name)?;
        check_texts(&request.description, &request.labels)?;
        let began = Instant::now();
        if let Some(timeout) = request.flush {
            let found = self.collection(&request.db_name, &request.collection_name).await?;
            // sealing is the engine's part
            for name in [&request.collection_name, &found.name] {
                self.caller.need_also(Permission::Write, &request.db_name, name)?;
            }
            let flushed = self.flush_collection(&found, timeout).await?;
            if !flushed.unflushed.is_empty() {
                return Err(Code::FlushTimeout.error(format!(
                    "the engine has not flushed {} sealed segments in {} ms; no snapshot was taken",
                    flushed.unflushed.len(),
                    timeout.as_millis()
                )));
            }
        }
        let pending = self.capture(&request).await?;
        let outcome = tokio::select! {
            written = self.write_and_commit(&request, &pending) => written,
            lost = self.keep_pending(&pending) => Err(lost),
        };
        match outcome {
            Ok(snapshot) => Ok(CreatedSnapshot {
                snapshot,
                took: began.elapsed(),
            }),
            Err(error) => {
                // frees the name at once; should this fail too, the lease frees it later
                if let Ok(mut conn) = self.conn().await
                    && let Err(e) = store::snapshots::abandon(&mut conn, pending.snapshot_id, pending.token).await
                {
                    tracing::warn!(snapshot.id = %pending.snapshot_id, error = %e.cause_chain(), "could not abandon the snapshot");
                }
                Err(error)
            }
        }
    }

    /// Renews the lease of a snapshot that is being written; ends only when it is lost.
    async fn keep_pending(&self, pending: &Pending) -> Error {
        loop {
            tokio::time::sleep(self.settings.create_lease / 3).await;
            let renewed = async {
                let mut conn = self.conn().await?;
                store::snapshots::renew(&mut conn, pending.snapshot_id, pending.token, self.lease_ms()).await
            };
            match renewed.await {
                Ok(true) => {}
                Ok(false) => return interrupted("that was being written"),
                Err(error) => {
                    tracing::warn!(snapshot.id = %pending.snapshot_id, error = %error, "could not renew the lease of the snapshot")
                }
            }
        }
    }

    async fn capture(&self, request: &CreateSnapshot) -> Result<Pending> {
        for _ in 0..CAPTURE_TRIES {
            if let Some(pending) = self.try_capture(request).await? {
                return Ok(pending);
            }
        }
        Err(Code::SnapshotInterrupted.error("the collection's segments change faster than they can be captured; try again"))
    }

    /// None when a segment changed at the very moment of the capture.
    async fn try_capture(&self, request: &CreateSnapshot) -> Result<Option<Pending>> {
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, &request.db_name, &request.collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let id = found.collection_id;
        // every statement sees its own moment: what was chosen by must not move until the end
        store::channels::hold(&mut tx, id).await?;
        let channels = store::channels::list(&mut tx, id).await?;
        let silent = channels.iter().find(|c| c.seek_position.is_none());
        if let (Some(channel), false) = (silent, request.allow_unbounded) {
            return Err(Code::ChannelWithoutPosition.error(format!(
                "channel {:?} has never reported a seek position, so what belongs to the snapshot is not known; \
                 report it, or set allow_unbounded to capture every flushed segment",
                channel.channel_name
            )));
        }
        let unbounded = silent.is_some();
        let create_ts = match channels
            .iter()
            .filter_map(|c| c.seek_position.as_ref())
            .map(|p| p.timestamp)
            .min()
        {
            Some(least) if !unbounded => least,
            _ => timestamp::from_millis(store::catalog::now_millis(&mut tx).await?),
        };
        let (snapshot_id, token) = self.insert_pending(&mut tx, request, &found, &channels, create_ts).await?;
        let written_as = WrittenAs {
            format_version: manifest::format_version(self.settings.manifest_encoding),
            root: self.objects.url().root(),
        };
        let counts = store::manifests::capture(&mut tx, snapshot_id, id, unbounded, written_as).await?;
        if counts.outrun {
            return Ok(None);
        }
        // after the segments and builds, so that every partition and index they name is in it; none can
        // be dropped meanwhile
        let captured = CapturedCollection {
            num_shards: found.num_shards,
            consistency_level: found.consistency_level.clone(),
            schema: found.schema.clone(),
            properties: found.properties.clone(),
            partitions: store::partitions::list(&mut tx, id, None, None).await?,
            indexes: store::indexes::list(&mut tx, id, None, None).await?,
            aliases: store::names::list_aliases(&mut tx, found.db_id, Some(id), &Visible::default(), None, i64::MAX)
                .await?
                .into_iter()
                .map(|a| a.alias)
                .collect(),
        };
        store::snapshots::insert_description(&mut tx, snapshot_id, &captured).await?;
        let left_out = left_out(store::manifests::left_out(&mut tx, snapshot_id, id).await?);
        commit(tx).await?;
        crash_point::reached("create.captured");
        Ok(Some(Pending {
            snapshot_id,
            token,
            collection: found,
            captured,
            channels,
            create_ts,
            counts,
            left_out,
        }))
    }

    async fn insert_pending(
        &self,
        conn: &mut PgConnection,
        request: &CreateSnapshot,
        collection: &Collection,
        channels: &[Channel],
        create_ts: i64,
    ) -> Result<(SnapshotId, Uuid)> {
        let snapshot_id = SnapshotId(store::id_blocks::allocate(conn, 1, Purpose::Snapshot).await?);
        let channels = serde_json::to_value(channels).map_err(Error::internal)?;
        let new = NewSnapshot {
            snapshot_id,
            collection_id: collection.collection_id,
            db_id: collection.db_id,
            name: &request.snapshot_name,
            description: &request.description,
            labels: &request.labels,
            create_ts,
            channels: &channels,
            lease_token: Uuid::new_v4(),
            lease_ms: self.lease_ms(),
        };
        if store::snapshots::insert_pending(conn, &new).await? {
            return Ok((snapshot_id, new.lease_token));
        }
        // a pending row of a call that died holds the name only until its lease expires
        let freed = store::snapshots::expire_pending(conn, collection.collection_id, &request.snapshot_name).await?;
        if freed && store::snapshots::insert_pending(conn, &new).await? {
            return Ok((snapshot_id, new.lease_token));
        }
        Err(Code::SnapshotAlreadyExists.error(format!(
            "collection {:?} has a snapshot {:?} already, or one is being created",
            collection.name, request.snapshot_name
        )))
    }

    fn lease_ms(&self) -> i64 {
        i64::try_from(self.settings.create_lease.as_millis()).unwrap_or(i64::MAX)
    }
}

pub(super) fn interrupted(name: &str) -> Error {
    Code::SnapshotInterrupted.error(format!(
        "the snapshot {name} took longer than its lease and was taken away; try again"
    ))
}

fn left_out(counts: Vec<(String, bool, i64, i64)>) -> Vec<LeftOut> {
    let reason = |state: &str, has_data| match (state, has_data) {
        ("growing", _) => LeftOutReason::Growing,
        ("sealed", _) => LeftOutReason::Sealed,
        ("importing", _) => LeftOutReason::Importing,
        (_, false) => LeftOutReason::NoFiles,
        (_, true) => LeftOutReason::AfterPosition,
    };
    let mut all: Vec<LeftOut> = Vec::new();
    for (state, has_data, segments, rows) in counts {
        let reason = reason(&state, has_data);
        match all.iter_mut().find(|l| l.reason == reason) {
            Some(known) => {
                known.segments += segments;
                known.rows += rows;
            }
            None => all.push(LeftOut { reason, segments, rows }),
        }
    }
    all
}
