//! The last steps: the comparison, and how to go on.

use std::collections::BTreeMap;

use super::super::failure::Failure;
use super::super::http::{Query, decode, decode_all};
use super::super::job::{self, Job, Task};
use super::super::snapshot::Snapshot;
use super::super::{output, text};
use super::check::same;
use super::compare::{self, Side};
use super::model::{Collection, Segment};
use super::place::Place;
use super::steps::{Demo, SNAPSHOT, TARGET};

impl Demo<'_> {
    /// Compares what was restored with what the engine had, and says what that proves.
    ///
    /// # Errors
    /// The first difference.
    pub async fn compare(&mut self, snapshot: &Snapshot, captured: &[Segment], job: &Job) -> Result<(), Failure> {
        let target: Collection = decode(&self.client.get(&["v1", "collections", TARGET], Query::default()).await?)?;
        let restored: Vec<Segment> = decode_all(&self.list(&["v1", "collections", TARGET, "segments"]).await?)?;
        let mut from = decode_all(&self.catalog.indexes)?;
        let mut to = decode_all(&self.list(&["v1", "collections", TARGET, "indexes"]).await?)?;
        compare::definitions(&self.source, &target, &mut from, &mut to)?;

        let tasks: Vec<Task> = decode_all(&job::tasks(&self.client, job).await?)?;
        let origin: BTreeMap<_, _> = tasks
            .into_iter()
            .filter_map(|t| Some((t.target_segment_id?, t.source_segment_id?)))
            .collect();
        let (source, target) = (
            Side {
                collection: &self.source,
                segments: captured,
            },
            Side {
                collection: &target,
                segments: &restored,
            },
        );
        let proof = compare::segments(&source, &target, &origin, self.place)?;
        same("rows of the restored collection", &snapshot.num_of_rows, &proof.rows)?;
        same("bytes of the restored collection", &snapshot.size_bytes, &proof.bytes)?;

        let (fields, indexes) = (
            text::counted(number_of(&self.source.fields), "field"),
            text::counted(number_of(&from), "index"),
        );
        let (segments, rows) = (text::counted(proof.segments, "segment"), text::counted(proof.rows, "row"));
        let what = format!(
            "ids of {fields} and {indexes}, positions of {}",
            text::counted(number_of(&self.source.channels), "channel")
        );
        self.story.tell(&format!(
            "Compared the restored collection with what the engine had: {what}, {rows} in {segments}"
        ))?;
        let (files, bytes) = (text::counted(proof.files, "file"), text::count(proof.bytes));
        let equal = format!("{files}, {bytes} bytes, equal byte for byte");
        output::line(&format!(
            "proved: {equal} after drop and restore, with the same field ids, index ids and row counts"
        ))
    }
}

fn number_of<T>(items: &[T]) -> u64 {
    items.len() as u64
}

/// How to go on with the service of the demo.
///
/// # Errors
/// When standard output can't be written.
pub fn what_next(url: &str, place: &Place) -> Result<(), Failure> {
    let body = format!(r#"{{"collection_name": "{TARGET}_again"}}"#);
    output::line(&format!(
        "
The service stays up until Ctrl-C, with its data in {dir}.
Documentation of the API: {url}/docs
Go on with:
  curl -s {url}/v1/snapshots/{SNAPSHOT}
  curl -s {url}/v1/snapshots/{SNAPSHOT}/restore -H 'content-type: application/json' -d '{body}'
  curl -s {url}/v1/restore-jobs
Later again: stillframe serve --data-dir {dir}",
        dir = place.data_dir().display()
    ))
}
