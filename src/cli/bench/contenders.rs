//! What is measured, in turn: a restore by the service, a plain loop of copies, one that proves them, s5cmd.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::args::ClientArgs;
use super::super::failure::Failure;
use super::super::http::{Client, Query};
use super::super::output;
use super::BenchArgs;
use super::collection::{Collection, NAME};
use super::memory;
use super::report::{self, Measured};
use crate::objects::{CopyFile, Listing, Objects, StorageUrl};

const SERVICE: &str = "service";
const PLAIN: &str = "plain loop";
const PROVING: &str = "proving loop";
const S5CMD: &str = "s5cmd";

/// Above this many bytes copies are deleted after their round, for the disk's sake. Otherwise at
/// the end: for minutes ext4 steps over the inodes of deleted files when it makes new ones.
const KEEP_BYTES: u64 = 1_000_000_000;

/// A running service, and what it shall do.
pub struct Bench {
    client: Client,
    objects: Objects,
    collection: Collection,
    concurrency: u16,
    rounds: u32,
    plain: bool,
    s5cmd: Option<PathBuf>,
}

impl Bench {
    /// # Errors
    /// A URL that is none.
    pub fn new(args: &BenchArgs, objects: Objects, url: &str) -> Result<Self, Failure> {
        let client = Client::new(ClientArgs {
            server: url.into(),
            api_key: None,
            ca_file: None,
            json: false,
            db: None,
        })?;
        Ok(Self {
            client,
            objects,
            collection: Collection::new(args.files, args.file_size, args.segment_files),
            concurrency: args.concurrency,
            rounds: args.rounds,
            plain: !args.no_plain,
            s5cmd: args.s5cmd.clone(),
        })
    }

    /// Makes the collection, measures, prints.
    ///
    /// # Errors
    /// The first thing that could not be done.
    pub async fn run(&self) -> Result<(), Failure> {
        self.prepare().await?;
        let mut all = vec![Measured::new(SERVICE)];
        if self.plain {
            all.extend([PLAIN, PROVING].map(Measured::new));
        }
        all.extend(self.s5cmd.as_ref().map(|_| Measured::new(S5CMD)));
        memory::reset_peak();
        for round in 0..self.rounds {
            for turn in 0..all.len() {
                // each begins once: the first one finds the disk busy with what was made or deleted
                let at = (turn + round as usize) % all.len();
                let took = match all[at].name {
                    SERVICE => self.restore(round).await?,
                    PLAIN => self.copy_all(format!("plain/{round}/")).await?,
                    PROVING => self.copy_and_prove(format!("proving/{round}/")).await?,
                    _ => self.run_s5cmd(format!("s5cmd/{round}/")).await?,
                };
                all[at].rounds.push(took.0);
                self.tidy(&took.1).await?;
            }
        }
        report::table(self.collection, &all)
            .iter()
            .try_for_each(|line| output::line(line))?;
        match memory::peak_mb() {
            Some(peak) => output::line(&format!("peak of resident memory while measuring: {peak} MB")),
            None => Ok(()),
        }
    }

    async fn prepare(&self) -> Result<(), Failure> {
        let began = Instant::now();
        self.collection.write(&self.objects).await?;
        self.post(&["v1", "collections"], &Collection::body()).await?;
        for body in self.collection.segment_bodies() {
            self.post(&["v1", "collections", NAME, "segments:batch"], &body).await?;
        }
        let body = json!({"collection_name": NAME, "snapshot_name": "s"});
        self.post(&["v1", "snapshots"], &body).await?;
        let fsync = match self.objects.local_fsync() {
            Some(true) => ", synced",
            Some(false) => ", not synced",
            None => "",
        };
        output::line(&format!(
            "{} files of {} bytes in {} segments on {}{fsync}; {} copies at once; made in {:.1} s",
            self.collection.files,
            self.collection.file_size,
            self.collection.segments(),
            self.objects.url(),
            self.concurrency,
            began.elapsed().as_secs_f64()
        ))
    }

    async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.client.post(path, Query::default(), body, Duration::ZERO).await
    }

    /// A whole restore: the time from the request to `Completed`, by the service's own clock, and
    /// the directory of the copies.
    async fn restore(&self, round: u32) -> Result<(Duration, String), Failure> {
        let body = json!({"collection_name": format!("restored_{round}")});
        let job = self.post(&["v1", "snapshots", "s", "restore"], &body).await?;
        let id = job["job_id"].as_str().context("a job has an id")?.to_string();
        let mut curve: Vec<String> = Vec::new();
        loop {
            // seldom: asking takes time from the copies
            tokio::time::sleep(Duration::from_millis(100)).await;
            let job = self.client.get(&["v1", "restore-jobs", &id], Query::default()).await?;
            let progress = job["progress"].as_u64().unwrap_or_default();
            if curve.len() as u64 <= progress / 10 {
                curve.push(memory::resident_mb().map_or_else(|| "?".into(), |mb| mb.to_string()));
            }
            match job["state"].as_str() {
                Some("Completed") => {
                    if self.collection.files >= 100_000 {
                        output::line(&format!("resident memory along the restore: {} MB", curve.join(" ")))?;
                    }
                    let took = number(&job["time_cost"]).context("a job has a time")?;
                    let collection = job["collection_id"].as_str().context("a job has a collection")?;
                    return Ok((Duration::from_millis(took), Collection::directory(collection)));
                }
                Some("Failed" | "Cancelled") => return Err(Failure::Other(anyhow!("the restore failed: {}", job["reason"]))),
                _ => {}
            }
        }
    }

    /// The same copies by the same client, and nothing else.
    async fn copy_all(&self, directory: String) -> Result<(Duration, String), Failure> {
        let began = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut copying: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for _ in 0..self.concurrency {
            let (objects, collection, next) = (self.objects.clone(), self.collection, next.clone());
            let directory = directory.clone();
            copying.spawn(async move {
                loop {
                    let file = next.fetch_add(1, Ordering::Relaxed);
                    if file >= collection.files {
                        return Ok(());
                    }
                    let name = collection.name(file);
                    let (source, target) = (Collection::source_directory() + &name, format!("{directory}{name}"));
                    let file = CopyFile {
                        source: &source,
                        target: &target,
                        size_bytes: collection.file_size,
                        etag: None,
                    };
                    objects.copy(&file).await.map_err(|outcome| anyhow!("{name}: {outcome:?}"))?;
                }
            });
        }
        while let Some(ended) = copying.join_next().await {
            ended.context("a copy panicked")??;
        }
        Ok((began.elapsed(), directory))
    }

    /// The same, and the sources are listed before, the copies after, as in a restore: with few requests, which overlap
    /// with no copy.
    async fn copy_and_prove(&self, directory: String) -> Result<(Duration, String), Failure> {
        let began = Instant::now();
        self.prove(&Collection::source_directory()).await?;
        self.copy_all(directory.clone()).await?;
        self.prove(&directory).await?;
        Ok((began.elapsed(), directory))
    }

    async fn prove(&self, directory: &str) -> anyhow::Result<()> {
        let found = self.objects.list_all(&self.collection.segment_directories(directory)).await?;
        self.check(directory, &found)
    }

    fn check(&self, directory: &str, found: &Listing) -> anyhow::Result<()> {
        if found.len() as u64 != self.collection.files || found.values().any(|e| e.size_bytes != self.collection.file_size) {
            bail!("{directory} does not hold {} whole copies", self.collection.files);
        }
        Ok(())
    }

    async fn run_s5cmd(&self, directory: String) -> Result<(Duration, String), Failure> {
        let url = self.objects.url();
        let (Some(binary), StorageUrl::S3 { endpoint, region, .. }) = (&self.s5cmd, url) else {
            return Ok((Duration::ZERO, directory));
        };
        let mut command = tokio::process::Command::new(binary);
        if let Some(endpoint) = endpoint {
            command.args(["--endpoint-url", endpoint]);
        }
        if let Some(region) = region {
            command.env("AWS_REGION", region);
        }
        let from = url.location(&format!("{}*", Collection::source_directory()));
        command.args(["--log", "error", "--numworkers", "64", "cp", &from, &url.location(&directory)]);
        let began = Instant::now();
        let ran = command.stdout(Stdio::null()).kill_on_drop(true).status().await;
        if !ran.with_context(|| format!("can't run {}", binary.display()))?.success() {
            return Err(Failure::Other(anyhow!("s5cmd failed")));
        }
        Ok((began.elapsed(), directory))
    }

    async fn tidy(&self, directory: &str) -> anyhow::Result<()> {
        if self.objects.local_fsync().is_some() && self.collection.bytes() <= KEEP_BYTES {
            return Ok(());
        }
        let copies = self.objects.list(directory).await?;
        // the plain loop's and s5cmd's copies are proved here, outside of the time
        self.check(directory, &copies)?;
        let left = self.objects.delete(copies.into_keys().collect()).await;
        anyhow::ensure!(left.is_empty(), "{} copies could not be deleted", left.len());
        Ok(())
    }
}

/// A number, or one in a string as the API writes large ones.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
