//! The proofs of a job just before it is published: between the copy of a segment and the end of its job
//! may lie days, in a pause or an outage, and what was copied may be gone.

use futures::{StreamExt as _, stream};

use super::restore_check::PAGE;
use super::restore_control::join_line;
use super::restore_prove::targets;
use super::restore_run::{Outcome, RunError};
use super::{Service, commit};
use crate::domain::id::TaskId;
use crate::domain::restore::{ClaimedTask, JobKind, JobState, RestoreJob};
use crate::domain::{Code, Error};
use crate::objects::marker;
use crate::store;

/// Seconds for which a proof counts.
const PROOF_SECONDS: i64 = 600;
/// Segments whose directories are listed at the same time.
const AT_ONCE: usize = 8;

impl Service {
    /// Proves the copies of a job again, unless all proofs are of late and were made in no pause. A segment
    /// of which a file is gone or has another size is copied again, and the job published after that; the
    /// outcome of this task is given then. None: every file is there, the job may be published.
    pub(super) async fn prove_again(&self, task: &ClaimedTask, job: &RestoreJob) -> Result<Option<Outcome>, RunError> {
        if !store::proofs::are_old(&mut *self.conn().await?, job.job_id, PROOF_SECONDS).await? {
            return Ok(None);
        }
        let mut after = -1;
        loop {
            let page = store::proofs::copies(&mut *self.conn().await?, job.job_id, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.task_id.0;
            let looks: Vec<_> = page.iter().map(|copy| self.prove_copy(job, copy.task_id)).collect();
            let looks: Vec<_> = stream::iter(looks).buffered(AT_ONCE).collect().await;
            let (mut proved, mut gone) = (Vec::new(), Vec::new());
            for (copy, look) in page.iter().zip(looks) {
                match look? {
                    Ok(methods) => proved.push((copy.task_id, methods)),
                    Err(error) if copy.failures + 1 >= self.settings.task_failures => return Err(RunError::Fail(error)),
                    Err(error) => gone.push((copy.task_id, error.to_string())),
                }
            }
            if !gone.is_empty() {
                tracing::warn!(
                    job.id = %job.job_id, segments = gone.len(), first = gone[0].1,
                    "what was copied is not there any more, it is copied again"
                );
            }
            let mut tx = self.begin().await?;
            store::proofs::set(&mut tx, &proved).await?;
            store::proofs::copy_again(&mut tx, &gone).await?;
            if !store::tasks::holds(&mut tx, task).await? {
                return Ok(Some(Outcome::Lost));
            }
            commit(tx).await?;
        }
        // some may have been let go by an attempt before this one
        if store::tasks::is_copied(&mut *self.conn().await?, job.job_id).await? {
            return Ok(None);
        }
        let mut tx = self.begin().await?;
        store::jobs::lock(&mut tx, job.job_id).await?;
        if !store::proofs::call_off_publishing(&mut tx, task).await? {
            return Ok(Some(Outcome::Lost));
        }
        store::jobs::advance(&mut tx, job.job_id, &[JobState::Publishing], JobState::InProgress).await?;
        join_line(&mut tx, job.job_id).await?;
        store::catalog::notify_workers(&mut tx).await?;
        commit(tx).await?;
        Ok(Some(Outcome::HandedBack))
    }

    /// How the files of a copied segment are proved now, a letter each; or why it has to be copied again.
    /// What came from a bundle is proved by its size.
    async fn prove_copy(&self, job: &RestoreJob, copy: TaskId) -> Result<Result<String, Error>, RunError> {
        // of a bundle nothing is needed any more: it may be gone, and the credentials for it forgotten
        let without_source = job.kind == JobKind::External;
        let mut planned = self.plan_copies(job.job_id, copy, without_source).await?;
        if without_source {
            planned.copies.iter_mut().for_each(|copy| copy.etag = None);
        }
        let found = planned.route.to.list_all(targets(&planned.copies)?).await?;
        match self.prove(&planned.route, &planned.copies, found).await {
            Ok(proved) => Ok(Ok(proved.methods)),
            Err(RunError::Retry(error) | RunError::Fail(error))
                if matches!(error.code(), Code::FileMissing | Code::FileSizeMismatch) =>
            {
                // in a storage that is away nothing is there, and nothing is gone
                let catalog_id = store::catalog::id(&mut *self.conn().await?).await?;
                marker::verify(&self.objects, catalog_id).await?;
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }
}
