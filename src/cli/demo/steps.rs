//! The steps of the demo, in their order.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::args::ClientArgs;
use super::super::failure::Failure;
use super::super::http::{Client, Query, decode, decode_all};
use super::super::job::Job;
use super::super::progress::Progress;
use super::super::snapshot::{self, Snapshot};
use super::super::{text, waiting};
use super::check::{failed, same};
use super::model::{Catalog, Collection, Segment};
use super::place::Place;
use super::{Story, fixture};

/// Name of the snapshot.
pub const SNAPSHOT: &str = "before_the_drop";
/// Name of the restored collection.
pub const TARGET: &str = "restored";

/// The demo on a running service.
pub struct Demo<'a> {
    pub(super) place: &'a Place,
    pub(super) client: Client,
    started_in: Duration,
    pub(super) catalog: Catalog,
    /// The collection as the engine knows it.
    pub(super) source: Collection,
    pub(super) story: Story,
}

impl<'a> Demo<'a> {
    /// # Errors
    /// An embedded catalog that can't be read.
    pub fn new(place: &'a Place, url: &str, started_in: Duration) -> Result<Self, Failure> {
        let client = Client::new(ClientArgs {
            server: url.into(),
            api_key: None,
            ca_file: None,
            json: false,
            db: None,
        })?;
        let catalog: Catalog = serde_json::from_str(fixture::CATALOG).context("the embedded catalog")?;
        let source = decode(&catalog.collection)?;
        Ok(Self {
            place,
            client,
            started_in,
            catalog,
            source,
            story: Story::default(),
        })
    }

    /// Every step, and the last line that says what was proved.
    ///
    /// # Errors
    /// The first step that could not be done, or check that failed.
    pub async fn run(mut self) -> Result<(), Failure> {
        let took = text::millis(self.started_in.as_millis() as u64);
        let where_ = format!(
            "a private Postgres and local object storage in {}",
            self.place.data_dir().display()
        );
        self.story.tell(&format!("Started the service in {took}, with {where_}"))?;
        self.write_files()?;
        self.register().await?;
        let snapshot = self.create_snapshot().await?;
        let segments = self.captured().await?;
        self.drop_source().await?;
        self.collect(&segments).await?;
        let job = self.restore().await?;
        self.compare(&snapshot, &segments, &job).await
    }

    /// What the engine does before it tells anybody: its files lie in the object storage.
    fn write_files(&mut self) -> Result<(), Failure> {
        let mut bytes = 0;
        for (path, content) in fixture::FILES {
            let path = self.place.object(path);
            let directory = path.parent().context("a file has a directory")?;
            std::fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
            std::fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
            bytes += content.len() as u64;
        }
        let files = text::counted(fixture::FILES.len() as u64, "file");
        let size = text::bytes(bytes);
        self.story.tell(&format!(
            "Put {files} ({size}) that a real Milvus 2.3.5 wrote into the object storage, as the engine would"
        ))
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        let name = self.source.name.clone();
        self.post(&["v1", "collections"], &self.catalog.collection).await?;
        for index in &self.catalog.indexes {
            self.post(&["v1", "collections", &name, "indexes"], index).await?;
        }
        let batch = json!({"segments": self.catalog.segments});
        let registered = self.post(&["v1", "collections", &name, "segments:batch"], &batch).await?;
        let number = |key: &str| registered[key].as_u64().unwrap_or_default();
        same("registered files", &(fixture::FILES.len() as u64), &number("file_count"))?;
        let counted = |n: usize, noun| text::counted(n as u64, noun);
        let (fields, partitions) = (
            counted(self.source.fields.len(), "field"),
            counted(self.source.partitions.len(), "partition"),
        );
        let indexes = counted(self.catalog.indexes.len(), "index");
        let (segments, files) = (
            text::counted(number("segment_count"), "segment"),
            text::counted(number("file_count"), "file"),
        );
        let took = text::millis(began.elapsed().as_millis() as u64);
        let what = format!("{fields}, {partitions}, {indexes}, {segments}, {files}");
        self.story.tell(&format!(
            "Registered it through the API in {took} as collection {name}: {what}"
        ))
    }

    async fn create_snapshot(&mut self) -> Result<Snapshot, Failure> {
        let body =
            json!({"collection_name": self.source.name, "snapshot_name": SNAPSHOT, "description": "made by stillframe demo"});
        let snapshot: Snapshot = decode(&self.post(&["v1", "snapshots"], &body).await?)?;
        same("files of the snapshot", &(fixture::FILES.len() as u64), &snapshot.file_count)?;
        let content = snapshot::content(&snapshot);
        let cost = text::bytes(snapshot.metadata_bytes);
        let took = format!("{:.1} ms, synced to the disk", snapshot.took_ms);
        self.story.tell(&format!(
            "Created snapshot {SNAPSHOT} in {took}: {content}; none is copied, it takes {cost}"
        ))?;
        Ok(snapshot)
    }

    async fn captured(&self) -> Result<Vec<Segment>, Failure> {
        decode_all(
            &self
                .client
                .list(&["v1", "snapshots", SNAPSHOT, "segments"], Query::default(), None)
                .await?,
        )
    }

    async fn drop_source(&mut self) -> Result<(), Failure> {
        let path = ["v1", "collections", &self.source.name];
        self.client.delete(&path, Query::default()).await?;
        match self.client.get(&path, Query::default()).await {
            Err(Failure::Refused(problem)) if problem.code == "collection_not_found" => {}
            _ => {
                return Err(failed(format!(
                    "collection {} is still there after its drop",
                    self.source.name
                )));
            }
        }
        self.story.tell(&format!(
            "Dropped collection {}: the service does not know it any more",
            self.source.name
        ))
    }

    async fn collect(&mut self, segments: &[Segment]) -> Result<(), Failure> {
        let run = self.post(&["v1", "gc", "runs"], &json!({"grace_seconds": 0})).await?;
        let mut files = 0;
        for file in segments.iter().flat_map(|s| s.files().into_values()) {
            let there = std::fs::metadata(self.place.object(&file.path)).map(|m| m.len());
            let size = there.map_err(|e| failed(format!("{} after the collector ran: {e}", file.path)))?;
            same(
                &format!("size of {} after the collector ran", file.path),
                &file.size_bytes,
                &size,
            )?;
            files += 1;
        }
        same(
            "files of the snapshot after the collector ran",
            &(fixture::FILES.len() as u64),
            &files,
        )?;
        let number = |key: &str| run[key].as_u64().unwrap_or_default();
        let (deleted, kept) = (
            text::counted(number("objects"), "object"),
            text::count(number("kept_by_snapshots")),
        );
        let files = text::counted(files, "file");
        let report = format!("{deleted} deleted, {kept} dropped segments and index builds kept for the snapshot");
        self.story
            .tell(&format!("Ran the collector with no grace: {report}, all {files} still there"))
    }

    async fn restore(&mut self) -> Result<Job, Failure> {
        let started = self
            .post(&["v1", "snapshots", SNAPSHOT, "restore"], &json!({"collection_name": TARGET}))
            .await?;
        let (job, _) = waiting::until_ended(&self.client, decode(&started)?, Progress::new(false)).await?;
        waiting::completed(&job)?;
        self.story.tell(&format!(
            "Restored snapshot {SNAPSHOT} into the new collection {}",
            waiting::done(&job)
        ))?;
        Ok(job)
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.client.post(path, Query::default(), body, Duration::ZERO).await
    }

    pub(super) async fn list(&self, path: &[&str]) -> Result<Vec<Value>, Failure> {
        self.client.list(path, Query::default(), None).await
    }
}
