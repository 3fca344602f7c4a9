//! Why is this object kept?

use time::OffsetDateTime;

use super::Service;
use crate::domain::explain::{Explanation, Keeper, ObjectKind};
use crate::domain::id::JobId;
use crate::domain::key::DataPath;
use crate::domain::timestamp::rfc3339;
use crate::domain::{Error, Result};
use crate::objects::keys::{self, SnapshotObject};
use crate::store::explain::{Needed, Owner, later};
use crate::store::{self, PgConnection};

/// Snapshots that an explanation lists at most.
const LISTED: i64 = 100;

/// Pins that an explanation lists at most.
const PINS_LISTED: i64 = 100;

/// Why something outside the known layouts stays.
const FOREIGN: &str = "it lies in no directory that this service manages, and is never touched";

impl Service {
    /// Says what an object is, what keeps it, and when it could go. `text` is a key relative to
    /// the storage root, a full key, or a whole URI as `s3_location` has it.
    ///
    /// # Errors
    /// `invalid_request` for a URI of another storage; storage and database errors.
    pub async fn explain_object(&self, text: &str) -> Result<Explanation> {
        let key = self.relative_key(text)?;
        let size_bytes = self.objects.size(&key).await?;
        let mut found = Explanation {
            key: key.clone(),
            kind: ObjectKind::Unmanaged,
            size_bytes,
            collection: None,
            segment: None,
            build: None,
            snapshot: None,
            known: false,
            kept_by: Vec::new(),
            kept_by_total: 0,
            may_go_at: None,
            reason: String::new(),
        };
        let mut conn = self.conn().await?;
        if key == keys::MARKER {
            found.kind = ObjectKind::Marker;
            found.known = true;
            found.reason = "it says which catalog owns the storage root, and stays".into();
        } else if let Some(object) = keys::parse(&key) {
            self.explain_snapshot_object(&mut conn, &mut found, object).await?;
        } else if let Ok(path) = DataPath::parse_below(&key) {
            self.explain_data(&mut conn, &mut found, &path).await?;
        } else {
            found.reason = FOREIGN.into();
        }
        if found.size_bytes.is_none() {
            found.reason = format!("there is no such object; if there were one: {}", found.reason);
        }
        Ok(found)
    }

    fn relative_key(&self, text: &str) -> Result<String> {
        let bad = |why: &str| Error::invalid("?key", why.to_string());
        let url = self.objects.url();
        let root = url.location("");
        let root = root.trim_end_matches('/');
        // as it is written here, and as Milvus' clients know it
        let roots = [url.milvus_location(""), url.whole_location("")];
        let below = |root: &str| {
            text.strip_prefix(root.trim_end_matches('/'))
                .filter(|rest| rest.starts_with('/'))
        };
        let key = match below(root).or_else(|| roots.iter().find_map(|root| below(root))) {
            Some(rest) => rest,
            _ if text.contains("://") => return Err(bad(&format!("is not below the storage root {root}"))),
            _ => {
                let prefix = self.objects.url().root();
                let full = (!prefix.is_empty()).then(|| text.strip_prefix(prefix)).flatten();
                full.filter(|rest| rest.starts_with('/')).unwrap_or(text)
            }
        };
        let key = key.trim_start_matches('/');
        // the whole of it: a part that leads out of the root may stand anywhere
        crate::domain::key::check(key).map_err(|why| bad(&why))?;
        Ok(key.to_string())
    }

    async fn explain_snapshot_object(
        &self,
        conn: &mut PgConnection,
        found: &mut Explanation,
        object: SnapshotObject,
    ) -> Result<()> {
        let needed = match object {
            SnapshotObject::Receipt(job) => return self.explain_receipt(conn, found, job).await,
            SnapshotObject::Metadata(snapshot) => {
                found.kind = ObjectKind::SnapshotMetadata;
                found.snapshot = Some(snapshot);
                Needed {
                    snapshot: Some(snapshot),
                    ..Needed::default()
                }
            }
            SnapshotObject::Manifest(owner, segment) => {
                found.kind = ObjectKind::Manifest;
                (found.snapshot, found.segment) = (Some(owner), Some(segment));
                found.known = store::explain::manifest_is_known(conn, owner, segment).await?;
                Needed {
                    segment: Some(segment),
                    manifest_owner: Some(owner),
                    ..Needed::default()
                }
            }
        };
        self.explain_needed(conn, found, needed, None).await?;
        found.known |= found.kept_by_total > 0;
        if let Some(snapshot) = found.snapshot
            && store::explain::is_adopted(conn, snapshot, found.segment).await?
        {
            found.may_go_at = None;
            found.reason = "another system wrote it: it is never deleted here".into();
        }
        if found.reason.is_empty() {
            self.explain_unknown(conn, found).await?;
        }
        Ok(())
    }

    async fn explain_receipt(&self, conn: &mut PgConnection, found: &mut Explanation, job: JobId) -> Result<()> {
        found.kind = ObjectKind::Receipt;
        let Some(receipt) = store::explain::receipt(conn, job).await? else {
            found.reason = "it looks like a receipt, but no restore job of this catalog wrote it".into();
            return Ok(());
        };
        found.known = true;
        found.kept_by.extend(receipt.job.map(Keeper::RestoreJob));
        found.kept_by_total = found.kept_by.len() as i64;
        found.may_go_at = receipt.finished_at.map(|at| later(at, self.settings.history_seconds));
        found.reason =
            "it is the receipt of a restore; it goes when the job's history expires or its snapshot is collected".into();
        Ok(())
    }

    async fn explain_data(&self, conn: &mut PgConnection, found: &mut Explanation, path: &DataPath<'_>) -> Result<()> {
        (found.collection, found.segment) = (path.collection, path.segment);
        let (owner, alive) = if path.is_of_build() {
            found.kind = ObjectKind::IndexFile;
            found.build = path.build;
            match path.build {
                Some(id) => (store::explain::build(conn, id).await?, Some(Keeper::IndexBuild(id))),
                None => (None, None),
            }
        } else {
            found.kind = ObjectKind::SegmentFile;
            match path.segment {
                Some(id) => (store::explain::segment(conn, id).await?, Some(Keeper::Segment(id))),
                None => (None, None),
            }
        };
        // below another system's directory lie its files only
        if path.is_below() && !owner.as_ref().is_some_and(|o| o.external) {
            found.kind = ObjectKind::Unmanaged;
            (found.collection, found.segment, found.build) = (None, None, None);
            found.reason = FOREIGN.into();
            return Ok(());
        }
        let Some(owner) = owner else {
            return self.explain_unknown(conn, found).await;
        };
        found.collection = Some(owner.collection);
        let is_recorded = match (found.build, found.segment) {
            (Some(build), _) => store::explain::build_names(conn, build, &found.key).await?,
            (None, Some(segment)) => store::explain::segment_names(conn, segment, &found.key).await?,
            (None, None) => false,
        };
        if owner.external {
            found.kept_by.push(Keeper::ExternalCollection(owner.collection));
        }
        if !is_recorded {
            found.kept_by_total = found.kept_by.len() as i64;
            found.reason = self.explain_stray(found, &owner).await?;
            return Ok(());
        }
        found.known = true;
        let given_up = owner.target.is_some_and(|t| t.given_up);
        if let (None, Some(keeper), false) = (owner.dropped_at, alive, given_up) {
            found.kept_by.push(keeper);
        }
        let needed = match found.build {
            Some(build) => Needed {
                build: Some(build),
                ..Needed::default()
            },
            None => Needed {
                segment: found.segment,
                ..Needed::default()
            },
        };
        self.explain_needed(conn, found, needed, Some(&owner)).await
    }

    /// A file in the directory of something with a row that does not name it.
    async fn explain_stray(&self, found: &Explanation, owner: &Owner) -> Result<String> {
        let of = match (found.build, found.segment) {
            (Some(build), _) => format!("index build {build}"),
            (None, Some(segment)) => format!("segment {segment}"),
            (None, None) => "a segment".to_string(),
        };
        let end = if owner.external {
            "its collection is external: nothing in there is ever deleted here"
        } else if self.given_ids().await?.owner(&found.key).is_some() {
            "it stays as long as that has a row; then the collector finds it as an orphan, and deletes it after the tolerance where that is allowed"
        } else {
            "it is never deleted here, since the id of its directory was not given out by this catalog"
        };
        Ok(format!(
            "it is not a recorded file of {of}, in whose directory it lies: no snapshot needs it and no restore copies it; {end}"
        ))
    }

    /// What snapshots and jobs have to do with it, and the sentence that says all of it.
    async fn explain_needed(
        &self,
        conn: &mut PgConnection,
        found: &mut Explanation,
        needed: Needed,
        owner: Option<&Owner>,
    ) -> Result<()> {
        let mut snapshots = store::explain::snapshots(conn, needed, LISTED).await?;
        let ids: Vec<i64> = snapshots
            .keepers
            .iter()
            .filter_map(|k| match k {
                Keeper::Snapshot { id, .. } => Some(id.0),
                _ => None,
            })
            .collect();
        for pin in store::explain::pins(conn, &ids, PINS_LISTED).await? {
            let pinned = |k: &&mut Keeper| matches!(k, Keeper::Snapshot { id, .. } if *id == pin.snapshot_id);
            if let Some(Keeper::Snapshot { pinned_by, .. }) = snapshots.keepers.iter_mut().find(pinned) {
                pinned_by.push(pin);
            }
        }
        let jobs = store::explain::jobs(conn, &ids, owner.map(|o| o.collection)).await?;
        let alive = !found.kept_by.is_empty();
        found.kept_by_total = (found.kept_by.len() + jobs.len()) as i64 + snapshots.total;
        let running = !jobs.is_empty();
        found.kept_by.extend(jobs);
        found.kept_by.extend(snapshots.keepers);
        let grace = self.settings.gc_grace_seconds;
        let dropped_at = owner.and_then(|o| o.dropped_at).into_iter().chain(snapshots.last_dropped_at);
        let after_grace = dropped_at.max().map(|at| later(at, grace));
        let at = after_grace.max(owner.and_then(|o| o.collect_after));
        found.reason = match (alive, snapshots.living, running) {
            _ if owner.is_some_and(|o| o.external) => "its collection is external: its files are never deleted here".into(),
            _ if owner.and_then(|o| o.target).is_some_and(|t| t.given_up) => {
                let job = owner.and_then(|o| o.target).and_then(|t| t.job);
                let which = job.map_or_else(|| "a restore job".to_string(), |id| format!("restore job {id}"));
                format!("nothing needs it: {which} copied it and did not end well; the clean-up of that job deletes it")
            }
            (true, _, true) if owner.is_some_and(|o| o.target.is_some()) => "a restore is writing it".into(),
            (true, ..) => "it belongs to something that lives".into(),
            (_, 1, _) => "a snapshot needs it".into(),
            (_, n, _) if n > 1 => format!("{n} snapshots need it"),
            (_, _, true) => "a restore is using it".into(),
            _ if owner.is_none() && snapshots.total == 0 => String::new(),
            _ => {
                found.may_go_at = at;
                soon(at)
            }
        };
        Ok(())
    }

    /// Something without a row: an orphan of ours, or somebody else's.
    async fn explain_unknown(&self, conn: &mut PgConnection, found: &mut Explanation) -> Result<()> {
        if found.kind == ObjectKind::Manifest && found.known {
            found.reason = "no snapshot needs it any more; the collector is deleting it".into();
            return Ok(());
        }
        found.reason = match store::explain::orphan_since(conn, &found.key).await? {
            Some(since) => {
                let at = later(since, self.settings.orphan_tolerance_seconds);
                if store::orphans::may_delete(conn).await? {
                    found.may_go_at = Some(at);
                    format!(
                        "the catalog has no row for it (known since {}); the collector deletes it after {}",
                        rfc3339(since),
                        rfc3339(at)
                    )
                } else {
                    format!(
                        "the catalog has no row for it (known since {}); deleting orphans is not allowed at present",
                        rfc3339(since)
                    )
                }
            }
            None => "the catalog has no row for it; it goes only if the collector finds that it lies under an id given out here"
                .into(),
        };
        Ok(())
    }
}

fn soon(at: Option<OffsetDateTime>) -> String {
    at.map_or_else(
        || "nothing needs it; the next run of the collector deletes it".to_string(),
        |at| format!("nothing needs it; the collector deletes it after {}", rfc3339(at)),
    )
}
