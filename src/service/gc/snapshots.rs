//! Collecting dropped snapshots, and the manifests that nothing needs any more.

use std::collections::HashMap;

use super::super::{Service, commit};
use super::BATCH;
use super::ledger::Ledger;
use crate::crash_point;
use crate::domain::gc::ItemKind;
use crate::domain::{Code, Result};
use crate::objects::keys;
use crate::store;
use crate::store::gc::Scope;
use crate::store::gc::snapshots::{CondemnedManifest, DroppedSnapshot};

impl Service {
    pub(super) async fn collect_snapshots(&self, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        let mut after = -1;
        loop {
            let page = store::gc::snapshots::candidates(&mut *self.conn().await?, scope, after, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.snapshot_id.0;
            ledger.report.candidates += page.len() as i64;
            if scope.dry_run {
                ledger.going.snapshots.extend(page.iter().map(|s| s.snapshot_id.0));
            }
            for snapshot in page {
                self.collect_snapshot(snapshot, scope, ledger).await?;
            }
        }
    }

    /// The metadata file first, so that nobody finds it without its manifests; then the
    /// references, then the row. Manifests that are shared stay.
    async fn collect_snapshot(&self, snapshot: DroppedSnapshot, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        let name = snapshot.snapshot_id.to_string();
        if !scope.dry_run {
            let condemned =
                store::gc::snapshots::condemn(&mut *self.conn().await?, snapshot.snapshot_id, scope.grace_seconds).await?;
            if !condemned {
                return Ok(());
            }
            crash_point::reached("collect.snapshot_condemned");
            let own = match snapshot.adopted {
                // another system's file
                true => vec![],
                false => vec![keys::metadata(snapshot.collection_id, snapshot.snapshot_id)],
            };
            if let Some((key, error)) = ledger.delete(&self.objects, own).await?.pop() {
                tracing::warn!(key, error = %error, cause = error.cause_chain(), "could not delete an object, its snapshot's row stays");
                let item = ledger.failed(ItemKind::Snapshot, name, &key, &error.to_string());
                return ledger.add(&mut *self.conn().await?, vec![item]).await;
            }
            crash_point::reached("collect.metadata_deleted");
            loop {
                let mut tx = self.begin().await?;
                let released = match store::gc::snapshots::release(&mut tx, snapshot, BATCH).await {
                    // its collection is in use: the next run goes on
                    Err(error) if error.code() == Code::DatabaseUnavailable => {
                        tracing::warn!(snapshot.id = %snapshot.snapshot_id, error = %error, cause = error.cause_chain(), "a collection is busy, its dropped snapshot is left for the next run");
                        return Ok(());
                    }
                    released => released?,
                };
                if released == 0 {
                    store::gc::snapshots::delete(&mut tx, snapshot.snapshot_id).await?;
                }
                commit(tx).await?;
                crash_point::reached("collect.references_released");
                if released == 0 {
                    break;
                }
            }
        }
        ledger.report.snapshots += 1;
        let (objects, bytes) = match snapshot.adopted {
            true => (0, 0),
            false => (1, snapshot.metadata_bytes),
        };
        let item = ledger.deleted(ItemKind::Snapshot, name, objects, bytes);
        ledger.add(&mut *self.conn().await?, vec![item]).await
    }

    pub(super) async fn collect_manifests(&self, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        // every page of a dry run looks at all references of what is going
        let limit = if scope.dry_run { 20 * BATCH } else { BATCH };
        let mut after = (-1, -1);
        loop {
            let page = store::gc::snapshots::condemned_manifests(&mut *self.conn().await?, &ledger.going, after, limit).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = (last.owner.0, last.segment_id.0);
            ledger.report.candidates += page.len() as i64;
            let by_key: HashMap<String, CondemnedManifest> = page
                .into_iter()
                .map(|m| (keys::manifest(m.collection_id, m.owner, m.segment_id), m))
                .collect();
            let own = by_key
                .iter()
                .filter(|(_, m)| !m.adopted && !scope.dry_run)
                .map(|(key, _)| key.clone());
            let failed: HashMap<String, String> = ledger
                .delete(&self.objects, own.collect())
                .await?
                .into_iter()
                .map(|(key, error)| (key, error.to_string()))
                .collect();
            crash_point::reached("collect.manifests_deleted");
            let (mut gone, mut items) = (Vec::new(), Vec::new());
            for (key, manifest) in by_key {
                match failed.get(&key) {
                    Some(reason) => {
                        tracing::warn!(key, reason, "could not delete a manifest, its row stays");
                        items.push(ledger.failed(ItemKind::Manifest, key.clone(), &key, reason));
                    }
                    None => {
                        if !manifest.adopted {
                            items.push(ledger.deleted(ItemKind::Manifest, key, 1, manifest.size_bytes));
                        }
                        gone.push(manifest);
                    }
                }
            }
            let mut conn = self.conn().await?;
            let rows = match scope.dry_run {
                true => gone.len() as u64,
                false => store::gc::snapshots::delete_manifests(&mut conn, &gone).await?,
            };
            crash_point::reached("collect.manifest_rows_deleted");
            ledger.report.manifests += i64::try_from(rows).unwrap_or(i64::MAX);
            ledger.add(&mut conn, items).await?;
        }
    }
}
