//! Multipart uploads that nobody ends: what a killed worker leaves of an object that was being copied in parts.
//!
//! As with orphans, only under ids that this catalog gave out for restores. No running job may write there: a living worker
//! ends or aborts its own. Once the target is visible its engine may write to its segments too, so there an upload
//! is left for as long as an object without a row is.

use std::collections::{HashMap, HashSet};

use super::super::Service;
use super::BATCH;
use super::ledger::Ledger;
use super::orphans::{Given, Owner};
use crate::domain::Result;
use crate::domain::gc::{Item, ItemKind, Outcome};
use crate::domain::id::{CollectionId, RunId};
use crate::domain::key::DataPath;
use crate::domain::timestamp::rfc3339;
use crate::objects::keys::{self, SnapshotObject};
use crate::objects::{OpenUpload, Uploads};
use crate::store::uploads::{Margins, Seen, Upload, Written};
use crate::store::{self, PgConnection};

/// Seconds for which an upload must have been known before it is aborted, at most, where no engine writes: far more than a
/// worker that lost its job goes on for.
const MARGIN_SECONDS: i64 = 3600;
/// Uploads that stay and are listed at most.
const LISTED: i64 = 1000;

/// What an upload would write.
#[derive(Debug, Clone, Copy)]
enum Writes {
    Segment(i64),
    Build(i64),
    /// Of a job.
    Receipt(i64),
}

fn written_by(given: &Given, key: &str) -> Option<Writes> {
    if let Some(SnapshotObject::Receipt(job)) = keys::parse(key) {
        return Some(Writes::Receipt(job.0));
    }
    DataPath::parse(key).ok()?;
    match given.owner(key)? {
        Owner::Segment(id) => Some(Writes::Segment(id)),
        Owner::Build(id) => Some(Writes::Build(id)),
        Owner::Snapshot(_) | Owner::Manifest(..) => None,
    }
}

impl Service {
    /// Part of the look for orphans: lists the store's open uploads, and aborts those that have been known for long enough.
    pub(super) async fn collect_uploads(&self, run: RunId, tolerance: i64, dry_run: bool, ledger: &mut Ledger) -> Result<()> {
        let given = self.given_ids().await?;
        let mut after = None;
        loop {
            let (page, next) = match self.objects.open_uploads(after.as_ref()).await? {
                Uploads::Page(page, next) => (page, next),
                Uploads::None => return Ok(()),
                Uploads::Unlisted(why) => {
                    ledger.report.uploads_unlisted = Some(why);
                    return Ok(());
                }
            };
            self.note_uploads(run, &given, page, ledger).await?;
            after = next;
            if after.is_none() {
                break;
            }
        }
        let mut conn = self.conn().await?;
        store::uploads::forget_unseen(&mut conn, run).await?;
        let margins = Margins {
            own: tolerance.min(MARGIN_SECONDS),
            engine: tolerance,
        };
        let young = store::uploads::list(&mut conn, run, margins, false, ("", ""), LISTED).await?;
        let kept = |upload: Upload, reason: String| Item {
            kind: ItemKind::MultipartUpload,
            name: name(&upload),
            outcome: Outcome::Kept,
            reason,
            objects: 0,
            size_bytes: 0,
        };
        let known = |u: Upload| {
            let (margin, why) = match u.engine_writes {
                true => (margins.engine, ", since the collection's engine may be writing it"),
                false => (margins.own, ""),
            };
            let since = format!(
                "known since {}, and aborted after {margin} seconds{why}",
                rfc3339(u.first_seen_at)
            );
            kept(u, since)
        };
        ledger.add(&mut conn, young.into_iter().map(known).collect()).await?;
        if !dry_run && !store::orphans::may_delete(&mut conn).await? {
            let ripe = store::uploads::list(&mut conn, run, margins, true, ("", ""), LISTED).await?;
            let refused = ripe
                .into_iter()
                .map(|u| kept(u, "deleting orphans is not allowed at present".into()));
            return ledger.add(&mut conn, refused.collect()).await;
        }
        drop(conn);
        self.abort_ripe(run, margins, dry_run, ledger).await
    }

    async fn note_uploads(&self, run: RunId, given: &Given, page: Vec<OpenUpload>, ledger: &mut Ledger) -> Result<()> {
        let seen: Vec<(Writes, OpenUpload)> = page
            .into_iter()
            .filter_map(|upload| Some((written_by(given, &upload.key)?, upload)))
            .collect();
        if seen.is_empty() {
            return Ok(());
        }
        let mut conn = self.conn().await?;
        let writers = Writers::of(&mut conn, seen.iter().map(|(writes, _)| *writes)).await?;
        let left = seen.into_iter().filter_map(|(writes, upload)| {
            Some(Seen {
                engine_writes: match writers.of_upload(writes) {
                    Writer::Worker => return None,
                    Writer::Engine => true,
                    Writer::Nobody => false,
                },
                key: upload.key,
                upload_id: upload.upload_id,
                initiated_at: upload.initiated_at,
            })
        });
        let left: Vec<Seen> = left.collect();
        ledger.report.uploads_found += left.len() as i64;
        store::uploads::see(&mut conn, run, &left).await
    }

    async fn abort_ripe(&self, run: RunId, margins: Margins, dry_run: bool, ledger: &mut Ledger) -> Result<()> {
        let mut after = (String::new(), String::new());
        loop {
            let page = store::uploads::list(&mut *self.conn().await?, run, margins, true, (&after.0, &after.1), BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.key.clone(), last.upload_id.clone());
            ledger.report.candidates += page.len() as i64;
            let mut items = Vec::with_capacity(page.len());
            if !dry_run {
                ledger.still_alone().await?;
            }
            for upload in page {
                let aborted = match dry_run {
                    true => Ok(()),
                    false => self.objects.abort_upload(&upload.key, &upload.upload_id).await,
                };
                match aborted {
                    Ok(()) => {
                        ledger.report.uploads_aborted += 1;
                        items.push(ledger.deleted(ItemKind::MultipartUpload, name(&upload), 0, 0));
                        if !dry_run {
                            store::uploads::forget(&mut *self.conn().await?, &upload.key, &upload.upload_id).await?;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(key = upload.key, error = %error, cause = error.cause_chain(), "could not abort a multipart upload");
                        items.push(ledger.failed(ItemKind::MultipartUpload, name(&upload), &upload.key, &error.to_string()));
                    }
                }
            }
            ledger.add(&mut *self.conn().await?, items).await?;
        }
    }

    /// Aborts what an unsuccessful restore left of uploads to its target. Nobody can write there any more. What can't be
    /// listed or aborted is left to the look for orphans: it keeps no name and no object.
    pub(super) async fn abort_uploads_of(&self, collection: CollectionId) -> Result<()> {
        let given = self.given_ids().await?;
        let mut after = None;
        loop {
            let (page, next) = match self.objects.open_uploads(after.as_ref()).await {
                Ok(Uploads::Page(page, next)) => (page, next),
                Ok(Uploads::None | Uploads::Unlisted(_)) => return Ok(()),
                Err(error) => {
                    tracing::warn!(error = %error, cause = error.cause_chain(), "could not list multipart uploads");
                    return Ok(());
                }
            };
            let (mut segments, mut builds) = (Vec::new(), Vec::new());
            let mut ours = Vec::new();
            for upload in page {
                let id = match written_by(&given, &upload.key) {
                    Some(Writes::Segment(id)) => {
                        segments.push(id);
                        id
                    }
                    Some(Writes::Build(id)) => {
                        builds.push(id);
                        id
                    }
                    _ => continue,
                };
                ours.push((id, upload));
            }
            let target: HashSet<i64> = store::uploads::of_collection(&mut *self.conn().await?, collection, &segments, &builds)
                .await?
                .into_iter()
                .collect();
            for (_, upload) in ours.into_iter().filter(|(id, _)| target.contains(id)) {
                if let Err(error) = self.objects.abort_upload(&upload.key, &upload.upload_id).await {
                    tracing::warn!(key = upload.key, error = %error, cause = error.cause_chain(), "could not abort a multipart upload");
                }
            }
            after = next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

fn name(upload: &Upload) -> String {
    format!("{}?uploadId={}", upload.key, upload.upload_id)
}

/// Who may be writing an upload.
#[derive(Debug, Clone, Copy)]
enum Writer {
    Worker,
    Engine,
    Nobody,
}

/// Who may still write what.
struct Writers {
    segments: HashMap<i64, Writer>,
    builds: HashMap<i64, Writer>,
    ended_jobs: HashSet<i64>,
}

impl Writers {
    async fn of(conn: &mut PgConnection, all: impl Iterator<Item = Writes>) -> Result<Self> {
        let (mut segments, mut builds, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for writes in all {
            match writes {
                Writes::Segment(id) => segments.push(id),
                Writes::Build(id) => builds.push(id),
                Writes::Receipt(id) => jobs.push(id),
            }
        }
        Ok(Self {
            segments: by_id(store::uploads::written_segments(conn, &segments).await?),
            builds: by_id(store::uploads::written_builds(conn, &builds).await?),
            ended_jobs: store::uploads::ended_jobs(conn, &jobs).await?.into_iter().collect(),
        })
    }

    fn of_upload(&self, writes: Writes) -> Writer {
        let found = match writes {
            Writes::Segment(id) => self.segments.get(&id),
            Writes::Build(id) => self.builds.get(&id),
            Writes::Receipt(id) if self.ended_jobs.contains(&id) => None,
            // a job that is not known may be another catalog's
            Writes::Receipt(_) => Some(&Writer::Worker),
        };
        found.copied().unwrap_or(Writer::Nobody)
    }
}

fn by_id(written: Vec<Written>) -> HashMap<i64, Writer> {
    let writer = |w: Written| match w {
        Written { worker: true, .. } => Writer::Worker,
        Written { engine: true, .. } => Writer::Engine,
        _ => Writer::Nobody,
    };
    written.into_iter().map(|w| (w.id, writer(w))).collect()
}
