//! Restores: a completed one is a collection like others from then on.

use serde_json::{Value, json};
use stillframe::service::CopyProgress;

use super::run::{Checked, Run};
use super::world::{Build, Collection, File, Job, Life, Segment, Snapshot, World};

fn number(value: &Value) -> i64 {
    value.as_str().and_then(|text| text.parse().ok()).expect("an id")
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

impl Run {
    pub async fn restore(&mut self, of: u8) -> Checked {
        let Some(snapshot) = self.world.snapshot(of, Life::Committed) else {
            return Ok(());
        };
        let target = format!("r{}", self.world.jobs.len());
        let path = self.snapshot_path(snapshot, "/restore");
        let job = self.post(&path, &json!({"collection_name": target}), 202).await?;
        self.world.jobs.push(Job {
            id: job["job_id"].as_str().expect("an id").to_string(),
            snapshot,
            target,
            ended: false,
            paused: false,
            failed: false,
            settled: false,
        });
        Ok(())
    }

    /// A restore that fails in its check: one of its source files is away. Only while no other job could miss it.
    pub async fn failing_restore(&mut self, of: u8) -> Checked {
        let needs = |s: &Snapshot| s.is(Life::Committed) && s.captured.iter().any(|c| c.files > 0);
        let Some(snapshot) = World::pick(&self.world.snapshots, of, needs) else {
            return Ok(());
        };
        if self.world.jobs.iter().any(|j| !j.ended) {
            return Ok(());
        }
        let captured = self.world.snapshots[snapshot]
            .captured
            .iter()
            .find(|c| c.files > 0)
            .expect("one");
        let file = &self.world.segments[captured.segment].files[0];
        let path = self.app.directory.path().join(&file.path);
        std::fs::remove_file(&path).map_err(|e| format!("{}: {e}", file.path))?;
        let content = file.content.clone();
        let target = format!("r{}", self.world.jobs.len());
        let job = self
            .post(
                &self.snapshot_path(snapshot, "/restore"),
                &json!({"collection_name": target}),
                202,
            )
            .await?;
        let id = job["job_id"].as_str().expect("an id").to_string();
        let path_of_job = format!("/v1/restore-jobs/{id}");
        while self.call("GET", &path_of_job, None, 200, "").await?["state"] != "Failed" {
            let claimed = self.app.service.claim_tasks(uuid::Uuid::new_v4(), 1).await;
            let Some(task) = claimed.map_err(|e| e.to_string())?.pop() else {
                return Err(format!("{job} waits for nothing"));
            };
            let ran = self.app.service.run_task(&task, &CopyProgress::of(&task)).await;
            ran.map_err(|e| e.to_string())?;
        }
        std::fs::create_dir_all(path.parent().expect("a directory")).map_err(|e| e.to_string())?;
        std::fs::write(&path, content).map_err(|e| e.to_string())?;
        self.world.jobs.push(Job {
            id,
            snapshot,
            target,
            ended: true,
            paused: false,
            failed: true,
            settled: false,
        });
        Ok(())
    }

    pub async fn pause(&mut self, of: u8, paused: bool) -> Checked {
        let Some(job) = World::pick(&self.world.jobs, of, |j| !j.ended && j.paused != paused) else {
            return Ok(());
        };
        let action = if paused { "pause" } else { "resume" };
        let path = format!("/v1/restore-jobs/{}/{action}", self.world.jobs[job].id);
        self.call("POST", &path, None, 200, "").await?;
        self.world.jobs[job].paused = paused;
        Ok(())
    }

    /// Others take the tasks over when their leases have run out, in the next hour.
    pub async fn claim_and_die(&mut self, tasks: u8) -> Checked {
        if self.world.deaths == 2 {
            return Ok(());
        }
        self.world.deaths += 1;
        let claimed = self.app.service.claim_tasks(uuid::Uuid::new_v4(), tasks.into()).await;
        claimed.map_err(|e| e.to_string())?;
        Ok(())
    }

    pub async fn work(&mut self, tasks: u8) -> Checked {
        for _ in 0..tasks {
            let claimed = self.app.service.claim_tasks(uuid::Uuid::new_v4(), 1).await;
            let Some(task) = claimed.map_err(|e| e.to_string())?.pop() else {
                break;
            };
            let ran = self.app.service.run_task(&task, &CopyProgress::of(&task)).await;
            ran.map_err(|e| e.to_string())?;
        }
        self.look_at_jobs().await
    }

    pub async fn cancel(&mut self, of: u8) -> Checked {
        let Some(job) = World::pick(&self.world.jobs, of, |j| !j.ended) else {
            return Ok(());
        };
        let path = format!("/v1/restore-jobs/{}/cancel", self.world.jobs[job].id);
        self.call("POST", &path, None, 200, "").await?;
        self.world.jobs[job].ended = true;
        Ok(())
    }

    /// Learns what has become of jobs.
    pub async fn look_at_jobs(&mut self) -> Checked {
        for j in 0..self.world.jobs.len() {
            if self.world.jobs[j].settled {
                continue;
            }
            let job = self
                .call("GET", &format!("/v1/restore-jobs/{}", self.world.jobs[j].id), None, 200, "")
                .await?;
            match (job["state"].as_str().expect("a state"), self.world.jobs[j].ended) {
                ("Completed", false) => {
                    self.adopt_target(j, number(&job["collection_id"])).await?;
                    (self.world.jobs[j].ended, self.world.jobs[j].settled) = (true, true);
                }
                ("Cancelled", true) if !self.world.jobs[j].failed => self.world.jobs[j].settled = job["cleanup"] == "done",
                ("Failed", true) if self.world.jobs[j].failed => self.world.jobs[j].settled = job["cleanup"] == "done",
                ("Pending" | "Validating" | "InProgress" | "Publishing", false) if !self.world.jobs[j].paused => {}
                ("Paused", false) if self.world.jobs[j].paused => {}
                _ => return Err(job.to_string()),
            }
        }
        Ok(())
    }

    /// Takes a target into the model, after a look whether it is what was captured.
    async fn adopt_target(&mut self, job: usize, id: i64) -> Checked {
        let name = self.world.jobs[job].target.clone();
        let path = format!("/v1/collections/{name}");
        let partitions = self.call("GET", &format!("{path}/partitions"), None, 200, "").await?;
        let channels = self.call("GET", &format!("{path}/channels"), None, 200, "").await?;
        let indexes = self.call("GET", &format!("{path}/indexes"), None, 200, "").await?;
        let default = list(&partitions["items"])
            .into_iter()
            .find(|p| p["name"] == "_default")
            .expect("a partition");
        let collection = self.world.collections.len();
        self.world.collections.push(Collection {
            name,
            id,
            partition: number(&default["partition_id"]),
            channel: channels["items"][0]["channel_name"].as_str().expect("a name").to_string(),
            index: list(&indexes["items"]).first().map(|i| number(&i["index_id"])),
            living: true,
        });
        let segments = self
            .call("GET", &format!("{path}/segments?page_size=1000"), None, 200, "")
            .await?;
        let mut contents = Vec::new();
        for body in list(&segments["items"]) {
            let segment = self.read_segment(collection, &body)?;
            let builds = segment.builds.iter().map(|b| b.file.content.clone());
            let files = segment.files.iter().map(|f| f.content.clone());
            let mut content: Vec<Vec<u8>> = files.chain(builds).collect();
            content.sort();
            contents.push(content);
            self.world.segments.push(segment);
        }
        contents.sort();
        if contents == self.captured_contents(self.world.jobs[job].snapshot) {
            Ok(())
        } else {
            Err("the restored files are not those that were captured".into())
        }
    }

    fn captured_contents(&self, snapshot: usize) -> Vec<Vec<Vec<u8>>> {
        let captured = self.world.snapshots[snapshot].captured.iter().map(|c| {
            let segment = &self.world.segments[c.segment];
            let builds = c.builds.iter().map(|b| &segment.builds[*b].file);
            let files = segment.files[..c.files].iter().chain(builds);
            let mut content: Vec<Vec<u8>> = files.map(|f| f.content.clone()).collect();
            content.sort();
            content
        });
        let mut contents: Vec<_> = captured.collect();
        contents.sort();
        contents
    }

    fn read_segment(&self, collection: usize, body: &Value) -> Result<Segment, String> {
        let read = |value: &Value| -> Result<File, String> {
            let path = value["path"].as_str().expect("a path").to_string();
            let content = std::fs::read(self.app.directory.path().join(&path)).map_err(|e| format!("{path}: {e}"))?;
            Ok(File { path, content })
        };
        let mut files = Vec::new();
        for kind in ["binlogs", "statslogs", "deltalogs"] {
            for group in list(&body[kind]) {
                for log in list(&group["logs"]) {
                    files.push(read(&log)?);
                }
            }
        }
        let mut builds = Vec::new();
        for build in list(&body["index_builds"]) {
            builds.push(Build {
                index: number(&build["index_id"]),
                file: read(&build["files"][0])?,
                dropped: None,
                gone: false,
            });
        }
        Ok(Segment {
            id: number(&body["segment_id"]),
            collection,
            files,
            builds,
            dropped: None,
            gone: false,
        })
    }
}
