//! What a job reads: a snapshot of the catalog, or a bundle whose segments stand in the job's own
//! rows.
//!
//! A bundle's segments do not become segments of the catalog, hidden or not: their ids may be in use
//! here (a bundle can come back to the catalog that exported it), and no collector, usage or quota
//! needs to know files that are only read.

use super::restore_check::PAGE;
use super::restore_run::RunError;
use super::restore_validate::Mapping;
use super::{Service, stores};
use crate::domain::bundle::FILES;
use crate::domain::id::{CollectionId, JobId, SnapshotId};
use crate::domain::manifest::Manifest;
use crate::domain::restore::{JobKind, RestoreJob};
use crate::domain::snapshot::{CapturedCollection, Snapshot};
use crate::domain::{Code, Error, Result};
use crate::objects::{Route, Tree};
use crate::store::bundles::Bundle;
use crate::store::snapshots::SnapshotFilter;
use crate::store::{self, PgConnection};

/// The source of a restore, and how it becomes its target.
pub(super) struct Source {
    /// None: the job reads every snapshot of a collection.
    pub snapshot_id: Option<SnapshotId>,
    /// Whose directory the receipt goes to.
    pub receipts_of: CollectionId,
    /// None where there is no snapshot.
    pub captured: Option<CapturedCollection>,
    pub mapping: Mapping,
    from: From,
}

enum From {
    Snapshot(SnapshotId),
    /// What the job noted: a bundle's segments, or those of a collection that is materialized.
    Noted(JobId),
}

impl Source {
    /// A page of its segments, by id.
    pub async fn page(&self, conn: &mut PgConnection, after: Option<i64>) -> Result<Vec<Manifest>> {
        match self.from {
            From::Snapshot(id) => store::snapshots::manifests(conn, id, after, PAGE).await,
            From::Noted(job) => store::bundles::sources(conn, job, after, PAGE).await,
        }
    }

    /// Those of a page that are restored.
    pub fn chosen(&self, mut page: Vec<Manifest>) -> Vec<Manifest> {
        page.retain(|m| self.mapping.takes(&m.segment));
        page
    }
}

impl Service {
    pub(super) async fn restore_source(&self, job: &RestoreJob) -> Result<Source, RunError> {
        let mut conn = self.conn().await?;
        let targets = store::partitions::list(&mut conn, job.collection_id, None, None).await?;
        if job.kind == JobKind::External {
            let bundle = store::bundles::captured(&mut conn, job.job_id).await?;
            let bundle = bundle.ok_or_else(|| RunError::Fail(Error::internal("the job has no bundle")))?;
            return Ok(Source {
                snapshot_id: Some(bundle.snapshot_id),
                receipts_of: job.collection_id,
                mapping: Mapping::new(job, &bundle.channels, &bundle.captured, &targets)?,
                captured: Some(bundle.captured),
                from: From::Noted(job.job_id),
            });
        }
        if job.kind == JobKind::Materialize {
            let of = store::materialize::find(&mut conn, job.job_id).await?;
            let channels = store::channels::list(&mut conn, of.source).await?;
            return Ok(Source {
                snapshot_id: None,
                captured: None,
                receipts_of: job.collection_id,
                mapping: Mapping::of_whole(job, &channels, of.partitions),
                from: From::Noted(job.job_id),
            });
        }
        let snapshot = job_snapshot(&mut conn, job).await?;
        let captured = store::snapshots::description(&mut conn, snapshot.snapshot_id).await?;
        Ok(Source {
            snapshot_id: Some(snapshot.snapshot_id),
            receipts_of: snapshot.collection_id,
            mapping: Mapping::new(job, &snapshot.channels, &captured, &targets)?,
            captured: Some(captured),
            from: From::Snapshot(snapshot.snapshot_id),
        })
    }

    /// From where to where the files of a job are copied.
    pub(super) fn route(&self, job: JobId, bundle: Option<&Bundle>) -> Result<Route, RunError> {
        let Some(bundle) = bundle else {
            return Ok(Route::inside(&self.objects));
        };
        let own = Tree::new(self.objects.clone(), "");
        let files = self.bundle_tree(job, bundle)?;
        let route = match bundle.kind {
            JobKind::Export => Route::new(own, files),
            JobKind::External | JobKind::Restore | JobKind::Materialize => Route::new(files, own),
        };
        Ok(route?)
    }

    /// The data files of a job's bundle: an export writes them by their paths in the storage, a restore reads
    /// them by their paths in the bundle.
    pub(super) fn bundle_tree(&self, job: JobId, bundle: &Bundle) -> Result<Tree, RunError> {
        let objects = self.stores.open(&self.objects, job, bundle);
        let objects = objects.map_err(|error| match error.code() {
            Code::CredentialsLost => RunError::Fail(error),
            _ => RunError::Retry(error),
        })?;
        let directory = match (bundle.kind, bundle.root.as_str()) {
            (JobKind::Export, root) => stores::below(root, FILES),
            (_, "") => String::new(),
            (_, root) => format!("{root}/"),
        };
        Ok(Tree::new(objects, directory))
    }
}

/// The snapshot that a job reads.
pub(super) async fn job_snapshot(conn: &mut PgConnection, job: &RestoreJob) -> Result<Snapshot, RunError> {
    let filter = SnapshotFilter {
        snapshot: job.snapshot_id,
        ..SnapshotFilter::default()
    };
    let snapshot = match job.snapshot_id {
        Some(_) => store::snapshots::list(conn, &filter, false, None, 1).await?.pop(),
        None => None,
    };
    snapshot.ok_or_else(|| {
        RunError::Fail(Code::SnapshotNotFound.error(format!("snapshot not found: {:?} is gone", job.snapshot_name)))
    })
}
