//! Verifying a snapshot: its metadata file, its manifests, and every data file that it references.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt as _, stream};
use tracing::Instrument as _;

use super::Service;
use super::restore_check::{Inspection, PAGE, files};
use super::snapshots::{SnapshotRef, find};
use crate::domain::id::SegmentId;
use crate::domain::manifest::{Manifest, WrittenManifest};
use crate::domain::problem::{FileProblem, ProblemKind};
use crate::domain::segment::{File, is_md5};
use crate::domain::snapshot::Snapshot;
use crate::domain::verification::{Level, Report, Verification};
use crate::domain::{Code, Error, Result};
use crate::objects::{keys, metadata};
use crate::store::{self, file_sums::Sums};
use crate::telemetry::VERIFICATIONS;

/// Reads that are prepared at a time; bounds the memory.
const READS: usize = 256;
/// Verifications of one process at the same time; others wait for their turn.
pub(super) const AT_ONCE: usize = 2;

/// What reading one object said.
struct Read {
    size_bytes: u64,
    comparable: bool,
    problem: Option<FileProblem>,
    /// Path and sum of a data file that had none recorded.
    learned: Option<(String, String)>,
}

impl Service {
    /// Verifies a snapshot and keeps the result. At level `checksum` all manifests are read, and a
    /// `sample` of the data files; a sum is compared where one was recorded. Takes as long as the
    /// store needs; holds neither a transaction nor a lock meanwhile. A data file that has nothing to compare with gets
    /// its sum recorded, so that the next time has. Waits while two others run in this process.
    ///
    /// # Errors
    /// `invalid_request`, `snapshot_not_found`, `snapshot_name_ambiguous`; storage errors: nothing
    /// is kept then.
    pub async fn verify_snapshot(&self, wanted: &SnapshotRef, level: Level, sample: f64) -> Result<Verification> {
        if !(sample > 0.0 && sample <= 1.0) {
            return Err(Error::invalid("/sample", "must be above 0 and at most 1"));
        }
        // before the wait: what is not there is said at once
        find(&mut *self.conn().await?, &self.caller, wanted, false).await?;
        let (service, wanted) = (self.clone(), wanted.clone());
        // a caller that hangs up, or whose proxy does, finds the result in the snapshot's description
        let verify = async move {
            let _turn = service.verifying.clone().acquire_owned().await.map_err(Error::internal)?;
            service.verify_to_the_end(&wanted, level, sample).await
        };
        tokio::spawn(verify.in_current_span()).await.map_err(Error::internal)?
    }

    async fn verify_to_the_end(&self, wanted: &SnapshotRef, level: Level, sample: f64) -> Result<Verification> {
        let mut conn = self.conn().await?;
        let snapshot = find(&mut conn, &self.caller, wanted, false).await?;
        let started_at = store::catalog::now(&mut conn).await?;
        drop(conn);
        let mut report = Report::default();
        if let Some(manifests) = self.verify_metadata(&snapshot, &mut report).await? {
            self.verify_manifests(&manifests, level, &mut report).await?;
        }
        self.verify_data(&snapshot, level, sample, &mut report).await?;
        let mut conn = self.conn().await?;
        let kept = store::verifications::keep(&mut conn, snapshot.snapshot_id, level, sample, &report, started_at).await?;
        let finished_at = kept.ok_or_else(|| {
            Code::SnapshotNotFound.error(format!("snapshot {:?} was dropped while it was verified", snapshot.name))
        })?;
        let outcome = if report.problems.total == 0 { "passed" } else { "failed" };
        metrics::counter!(VERIFICATIONS, "level" => level.as_str(), "outcome" => outcome).increment(1);
        tracing::info!(snapshot.id = %snapshot.snapshot_id, level = level.as_str(), problems = report.problems.total, "snapshot verified");
        Ok(Verification {
            level,
            sample,
            report,
            started_at,
            finished_at,
        })
    }

    /// Reads the metadata file; gives the manifests that it lists.
    async fn verify_metadata(&self, snapshot: &Snapshot, report: &mut Report) -> Result<Option<Vec<WrittenManifest>>> {
        let below = snapshot.adopted_from.as_deref().unwrap_or_default();
        let key = format!("{below}{}", keys::metadata(snapshot.collection_id, snapshot.snapshot_id));
        let problem = |kind, detail| FileProblem {
            path: key.clone(),
            segment_id: None,
            kind,
            detail,
        };
        let Some(bytes) = self.objects.get(&key, metadata::MAX_BYTES as u64).await? else {
            let detail = format!("the metadata file {key} is missing");
            report.problems.add(problem(ProblemKind::Missing, detail));
            return Ok(None);
        };
        match metadata::decode_stored(&bytes).map(|stored| stored.metadata) {
            Ok(mut found)
                if found.snapshot_id == snapshot.snapshot_id && found.manifests.len() as i64 == snapshot.totals.segments =>
            {
                for manifest in &mut found.manifests {
                    manifest.key.insert_str(0, below);
                }
                Ok(Some(found.manifests))
            }
            Ok(found) => {
                let detail = format!(
                    "the metadata file {key} is of snapshot {} with {} manifests, not of {} with {}",
                    found.snapshot_id,
                    found.manifests.len(),
                    snapshot.snapshot_id,
                    snapshot.totals.segments
                );
                report.problems.add(problem(ProblemKind::Unreadable, detail));
                Ok(None)
            }
            Err(error) => {
                let detail = format!("the metadata file {key} can't be read: {error}");
                report.problems.add(problem(ProblemKind::Unreadable, detail));
                Ok(None)
            }
        }
    }

    async fn verify_manifests(&self, manifests: &[WrittenManifest], level: Level, report: &mut Report) -> Result<()> {
        // one listing per directory: a manifest may lie with those of another snapshot
        let mut by_directory: BTreeMap<&str, Vec<&WrittenManifest>> = BTreeMap::new();
        for manifest in manifests {
            let end = manifest.key.rfind('/').map_or(0, |at| at + 1);
            by_directory.entry(&manifest.key[..end]).or_default().push(manifest);
        }
        for (directory, manifests) in by_directory {
            let listed = match directory {
                "" => HashMap::new(),
                directory => self.objects.list(directory).await?,
            };
            let mut sound = Vec::new();
            for manifest in manifests {
                report.manifests += 1;
                let key = &manifest.key;
                let (kind, detail) = match listed.get(key).map(|e| e.size_bytes) {
                    None => (ProblemKind::Missing, format!("the manifest {key} is missing")),
                    // a metadata file that another system wrote gives no sizes
                    Some(size) if level > Level::Exists && manifest.size_bytes != 0 && size != manifest.size_bytes => (
                        ProblemKind::WrongSize,
                        format!("the manifest {key} has {size} bytes, {} were recorded", manifest.size_bytes),
                    ),
                    Some(_) => {
                        sound.push(manifest);
                        continue;
                    }
                };
                report.problems.add(problem(key, manifest.segment_id, kind, detail));
            }
            if level == Level::Checksum {
                for some in sound.chunks(READS) {
                    let mut reads = Vec::with_capacity(some.len());
                    for manifest in some {
                        reads.push(self.read_manifest(manifest));
                    }
                    self.note_all(reads, report).await?;
                }
            }
        }
        Ok(())
    }

    async fn read_manifest(&self, manifest: &WrittenManifest) -> Result<Read> {
        let key = &manifest.key;
        let Some((size_bytes, sum)) = self.objects.sha256(key).await? else {
            return Ok(missing(key, manifest.segment_id));
        };
        let comparable = !manifest.sha256.is_empty();
        let differs = comparable && sum != manifest.sha256;
        Ok(Read {
            size_bytes,
            comparable,
            learned: None,
            problem: differs.then(|| {
                let detail = format!("the manifest {key} has the sha-256 {sum}, {} was recorded", manifest.sha256);
                problem(key, manifest.segment_id, ProblemKind::WrongChecksum, detail)
            }),
        })
    }

    async fn verify_data(&self, snapshot: &Snapshot, level: Level, sample: f64, report: &mut Report) -> Result<()> {
        let mut after = None;
        loop {
            let page = store::snapshots::manifests(&mut *self.conn().await?, snapshot.snapshot_id, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.segment.segment_id.0);
            let mut found = Inspection::default();
            // what was overwritten is seen by its ETag already, without being read
            self.inspect_page(&page, level, &mut found).await?;
            report.files += found.files;
            report.bytes += found.bytes;
            let more = found.problems.total - found.problems.listed.len() as i64;
            found.problems.listed.into_iter().for_each(|p| report.problems.add(p));
            report.problems.total += more;
            if level == Level::Checksum {
                self.read_data(&page, &found.wrong, sample, report).await?;
            }
        }
    }

    async fn read_data(&self, page: &[Manifest], wrong: &HashSet<String>, sample: f64, report: &mut Report) -> Result<()> {
        let ids: Vec<i64> = page.iter().map(|m| m.segment.segment_id.0).collect();
        let recorded = store::file_sums::of(&mut *self.conn().await?, &ids).await?;
        for manifest in page {
            let segment = manifest.segment.segment_id;
            let recorded = recorded.get(&segment.0);
            let mut learned = Sums::new();
            let mut reads = Vec::new();
            for (file, _) in files(manifest) {
                let chosen = sample >= 1.0 || rand::random::<f64>() < sample;
                if chosen && !wrong.contains(&file.path) {
                    reads.push(self.read_file(file, segment, recorded.and_then(|sums| sums.get(&file.path))));
                }
                if reads.len() == READS {
                    learned.extend(self.note_all(std::mem::take(&mut reads), report).await?);
                }
            }
            learned.extend(self.note_all(reads, report).await?);
            if !learned.is_empty() {
                store::file_sums::record(&mut *self.conn().await?, segment, &learned).await?;
                report.recorded += learned.len() as i64;
            }
        }
        Ok(())
    }

    /// Runs reads, several at a time, and notes what they say; gives the sums that were not recorded.
    async fn note_all(
        &self,
        reads: Vec<impl Future<Output = Result<Read>>>,
        report: &mut Report,
    ) -> Result<Vec<(String, String)>> {
        let mut reads = stream::iter(reads).buffer_unordered(self.settings.list_concurrency);
        let mut learned = Vec::new();
        while let Some(read) = reads.next().await {
            learned.extend(note(read?, report));
        }
        Ok(learned)
    }

    async fn read_file(&self, file: &File, segment: SegmentId, seen_before: Option<&String>) -> Result<Read> {
        let path = &file.path;
        let Some((size_bytes, sum)) = self.objects.md5(path).await? else {
            return Ok(missing(path, segment));
        };
        if size_bytes != file.size_bytes {
            let detail = format!(
                "file {path} of segment {segment} gave {size_bytes} bytes, {} were recorded",
                file.size_bytes
            );
            return Ok(Read {
                size_bytes,
                comparable: true,
                learned: None,
                problem: Some(problem(path, segment, ProblemKind::WrongSize, detail)),
            });
        }
        let etag = file.etag.as_deref().filter(|e| self.objects.compares_etags() && is_md5(e));
        let (recorded, what) = match etag {
            Some(etag) => (Some(etag), "the ETag"),
            None => (seen_before.map(String::as_str), "the MD5 of its first verification"),
        };
        let differs = recorded.filter(|recorded| *recorded != sum);
        Ok(Read {
            size_bytes,
            comparable: recorded.is_some(),
            problem: differs.map(|recorded| {
                let detail = format!("file {path} of segment {segment} has the MD5 {sum}, {what} {recorded} was recorded");
                problem(path, segment, ProblemKind::WrongChecksum, detail)
            }),
            learned: recorded.is_none().then(|| (path.clone(), sum)),
        })
    }
}

fn problem(path: &str, segment: SegmentId, kind: ProblemKind, detail: String) -> FileProblem {
    FileProblem {
        path: path.to_string(),
        segment_id: Some(segment),
        kind,
        detail,
    }
}

fn missing(path: &str, segment: SegmentId) -> Read {
    let detail = format!("{path} of segment {segment} is missing");
    Read {
        size_bytes: 0,
        comparable: true,
        learned: None,
        problem: Some(problem(path, segment, ProblemKind::Missing, detail)),
    }
}

fn note(read: Read, report: &mut Report) -> Option<(String, String)> {
    report.read_files += 1;
    report.read_bytes += i64::try_from(read.size_bytes).unwrap_or(i64::MAX);
    report.not_comparable += i64::from(!read.comparable);
    if let Some(problem) = read.problem {
        report.problems.add(problem);
    }
    read.learned
}
