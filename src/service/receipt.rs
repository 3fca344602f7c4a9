//! Receipts of restore jobs: which files were copied to where, and how each was proved.
//!
//! A receipt is one JSON object, written piece by piece before its job is completed, beside the
//! metadata of the restored snapshot. It has one line per file; its sha-256 is over the compact
//! form of those entries, each followed by a line feed: what `jq -c '.files[]' | sha256sum` says.

use futures::stream::BoxStream;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Service;
use super::restore::one_restore;
use super::restore_check::files;
use super::restore_run::RunError;
use super::restore_validate::map_manifest;
use super::source::Source;
use crate::domain::id::JobId;
use crate::domain::receipt::{Proof, ProvedFile, Receipt};
use crate::domain::restore::RestoreJob;
use crate::domain::{Code, Error, Result};
use crate::objects::{Sink, hex, keys};
use crate::store;

/// Bytes gathered before they are written.
const PIECE: usize = 1 << 20;

#[derive(Serialize)]
struct Head<'a> {
    job_id: JobId,
    snapshot_id: String,
    snapshot_name: &'a str,
    source_collection_name: &'a str,
    db_name: &'a str,
    collection_name: &'a str,
    collection_id: String,
}

#[derive(Serialize)]
struct Tail<'a> {
    file_count: i64,
    size_bytes: i64,
    verified: Verified,
    sha256: &'a str,
}

/// Files by how they were proved.
#[derive(Serialize, Default)]
struct Verified {
    size: i64,
    etag: i64,
    content: i64,
}

/// A receipt while it is written.
struct Writing {
    sink: Sink,
    buffer: Vec<u8>,
    written: i64,
    sum: Sha256,
    files: i64,
    bytes: i64,
    verified: Verified,
}

impl Service {
    /// Writes the receipt of a job whose copies have all been proved; none when the job has ended.
    /// A later attempt writes the same bytes again.
    pub(super) async fn write_receipt(&self, job: &RestoreJob) -> Result<Option<Receipt>, RunError> {
        let source = self.restore_source(job).await?;
        let key = keys::receipt(source.receipts_of, job.job_id);
        if !store::receipts::begin(&mut *self.conn().await?, job.job_id, &key).await? {
            return Ok(None);
        }
        let mut writing = Writing {
            sink: self.objects.sink(&key).await?,
            buffer: Vec::with_capacity(PIECE + 4096),
            written: 0,
            sum: Sha256::new(),
            files: 0,
            bytes: 0,
            verified: Verified::default(),
        };
        match self.fill_receipt(&mut writing, job, &source).await {
            Ok(sha256) => {
                let (files, size_bytes) = (writing.files, writing.written);
                writing.sink.finish().await?;
                Ok(Some(Receipt {
                    key,
                    sha256,
                    files,
                    size_bytes,
                }))
            }
            Err(error) => {
                writing.sink.abandon().await;
                Err(error)
            }
        }
    }

    async fn fill_receipt(&self, to: &mut Writing, job: &RestoreJob, from: &Source) -> Result<String, RunError> {
        let head = Head {
            job_id: job.job_id,
            snapshot_id: from.snapshot_id.map_or_else(|| "0".into(), |id| id.to_string()),
            snapshot_name: &job.snapshot_name,
            source_collection_name: &job.source_collection_name,
            db_name: &job.db_name,
            collection_name: &job.collection_name,
            collection_id: job.collection_id.to_string(),
        };
        let head = serde_json::to_string(&head).map_err(Error::internal)?;
        let head = head.strip_suffix('}').unwrap_or(&head);
        to.add(format!("{head},\"files\":[").as_bytes());
        let mut after = None;
        loop {
            let mut conn = self.conn().await?;
            let page = from.page(&mut conn, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.segment.segment_id.0);
            let page = from.chosen(page);
            let ids: Vec<i64> = page.iter().map(|m| m.segment.segment_id.0).collect();
            let copies = store::receipts::copies(&mut conn, job.job_id, &ids).await?;
            drop(conn);
            for source in &page {
                let id = source.segment.segment_id;
                let unproved = |what: &str| RunError::Fail(Error::internal(format!("the copy of segment {id} {what}")));
                let copy = copies.get(&id.0).ok_or_else(|| unproved("has not succeeded"))?;
                let target = map_manifest(source, &from.mapping, copy.target, &copy.builds)?;
                let count = files(source).count();
                // an older version of the service proved by size, and kept no letters
                let methods = copy.methods.clone().unwrap_or_else(|| "s".repeat(count));
                if methods.len() != count || files(&target).count() != count {
                    return Err(unproved("has another number of files than were proved"));
                }
                let proofs = methods.chars().map(Proof::of_letter);
                for (((from, _), (into, _)), proof) in files(source).zip(files(&target)).zip(proofs) {
                    let proof = proof.ok_or_else(|| unproved("was proved in an unknown way"))?;
                    to.add_file(&from.path, &into.path, from.size_bytes, proof)?;
                }
                if to.buffer.len() >= PIECE {
                    to.flush().await?;
                }
            }
        }
        if to.files != job.total_files {
            let why = format!("{} files were proved, {} were to be copied", to.files, job.total_files);
            return Err(RunError::Fail(Error::internal(why)));
        }
        let sha256 = hex(&to.sum.clone().finalize());
        let tail = Tail {
            file_count: to.files,
            size_bytes: to.bytes,
            verified: std::mem::take(&mut to.verified),
            sha256: &sha256,
        };
        let tail = serde_json::to_string(&tail).map_err(Error::internal)?;
        let tail = tail.strip_prefix('{').unwrap_or(&tail);
        to.add(format!("\n],{tail}\n").as_bytes());
        to.flush().await?;
        Ok(sha256)
    }

    /// Reads the receipt of a completed job piece by piece; also gives its size in bytes.
    ///
    /// # Errors
    /// `restore_job_not_found`, `receipt_not_found`, storage errors.
    pub async fn receipt(&self, id: JobId) -> Result<(i64, BoxStream<'static, Result<Vec<u8>>>)> {
        let mut conn = self.conn().await?;
        let job = one_restore(&mut conn, &self.caller, id).await?;
        let found = store::receipts::find(&mut conn, id).await?;
        drop(conn);
        let none = |why: &str| {
            Code::ReceiptNotFound.error(format!(
                "restore job {id} is {} and has no receipt: {why}",
                job.state.as_str()
            ))
        };
        let receipt = found.ok_or_else(|| none("one is written when a job is completed, and goes with the snapshot"))?;
        let pieces = self.objects.read_stream(&receipt.key).await?;
        let pieces = pieces.ok_or_else(|| none("its object is not in the object storage"))?;
        Ok((receipt.size_bytes, pieces))
    }
}

impl Writing {
    fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn add_file(&mut self, source: &str, target: &str, size_bytes: u64, proof: Proof) -> Result<()> {
        let entry = ProvedFile {
            source,
            target,
            size_bytes,
            verified: proof.as_str(),
        };
        let line = serde_json::to_string(&entry).map_err(Error::internal)?;
        self.add(if self.files == 0 { b"\n" } else { b",\n" });
        self.add(line.as_bytes());
        self.sum.update(line.as_bytes());
        self.sum.update(b"\n");
        self.files += 1;
        self.bytes += i64::try_from(size_bytes).unwrap_or(i64::MAX);
        match proof {
            Proof::Size => self.verified.size += 1,
            Proof::Etag => self.verified.etag += 1,
            Proof::Content => self.verified.content += 1,
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        self.written += piece.len() as i64;
        self.sink.write(piece).await
    }
}
