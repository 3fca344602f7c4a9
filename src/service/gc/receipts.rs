//! Collecting receipts of restores.

use std::collections::HashMap;

use super::super::Service;
use super::BATCH;
use super::ledger::Ledger;
use crate::crash_point;
use crate::domain::Result;
use crate::domain::gc::ItemKind;
use crate::store;
use crate::store::gc::Scope;

impl Service {
    /// Deletes receipts whose job's history has expired or whose snapshot is gone: the object by
    /// its recorded key, then the row.
    pub(super) async fn collect_receipts(&self, scope: Scope, ledger: &mut Ledger) -> Result<()> {
        let mut after = -1;
        loop {
            let history = self.settings.history_seconds;
            let page = store::receipts::unneeded(&mut *self.conn().await?, scope.grace_seconds, history, after, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.job_id;
            ledger.report.candidates += page.len() as i64;
            let mut failed = HashMap::new();
            if !scope.dry_run {
                let keys = page.iter().map(|r| r.key.clone()).collect();
                for (key, error) in ledger.delete(&self.objects, keys).await? {
                    tracing::warn!(key, error = %error, cause = error.cause_chain(), "could not delete a receipt, its row stays");
                    failed.insert(key, error.to_string());
                }
                crash_point::reached("collect.receipts_deleted");
            }
            let (mut items, mut gone) = (Vec::with_capacity(page.len()), Vec::with_capacity(page.len()));
            for receipt in page {
                match failed.get(&receipt.key) {
                    Some(reason) => items.push(ledger.failed(ItemKind::Receipt, receipt.key.clone(), &receipt.key, reason)),
                    None => {
                        gone.push(receipt.job_id);
                        items.push(ledger.deleted(ItemKind::Receipt, receipt.key, 1, receipt.size_bytes));
                    }
                }
            }
            let mut conn = self.conn().await?;
            if !scope.dry_run {
                store::receipts::delete(&mut conn, &gone).await?;
            }
            ledger.add(&mut conn, items).await?;
        }
    }
}
