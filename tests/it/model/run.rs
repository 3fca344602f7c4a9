//! Does the steps, through the API, and says in the model what they must have done.

use serde_json::{Value, json};
use stillframe::domain::id::CollectionId;
use stillframe::store::gc::{self, Scope};

use super::steps::Step;
use super::world::{Build, Collection, File, Life, Segment, World};
use crate::support::TestApp;

/// A service and the model of what must be in it.
pub struct Run {
    pub app: TestApp,
    pub world: World,
}

/// What went wrong, or nothing.
pub type Checked = Result<(), String>;

/// Runs a sequence from an empty catalog to an empty catalog.
pub async fn run(steps: &[Step]) -> Checked {
    let mut run = Run {
        app: TestApp::local().await,
        world: World {
            next_id: 1000,
            ..World::default()
        },
    };
    run.new_collection().await?;
    for _ in 0..3 {
        run.register(0).await?;
    }
    for (n, step) in steps.iter().enumerate() {
        let done = run.step(*step).await;
        done.map_err(|why| format!("step {n}, {step:?}: {why}"))?;
    }
    run.check_simulated_drop(steps.len())
        .await
        .map_err(|why| format!("simulated drop: {why}"))?;
    run.end().await.map_err(|why| format!("the end: {why}"))
}

impl Run {
    /// Calls, and expects a status, with the code of a refusal.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>, status: u16, code: &str) -> Result<Value, String> {
        let method = axum::http::Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = self.app.call(method.clone(), path, body).await;
        let fits = answer.status.as_u16() == status && (code.is_empty() || answer.json["code"] == code);
        if fits {
            Ok(answer.json)
        } else {
            Err(format!("{method} {path}: {}, expected {status} {code}", answer.text))
        }
    }

    pub async fn post(&self, path: &str, body: &Value, status: u16) -> Result<Value, String> {
        self.call("POST", path, Some(body), status, "").await
    }

    async fn step(&mut self, step: Step) -> Checked {
        match step {
            Step::NewCollection if self.world.collections.len() < 6 => self.new_collection().await,
            Step::NewCollection => Ok(()),
            Step::DropCollection { of, cascade } => self.drop_collection(of, cascade).await,
            Step::Register(of) => self.register(of).await,
            Step::Append(of) => self.append(of).await,
            Step::DropSegment(of) => self.drop_segment(of).await,
            Step::Compact { of, inputs, outputs } => self.compact(of, inputs, outputs).await,
            Step::NewIndex(of) => self.new_index(of).await,
            Step::DropIndex(of) => self.drop_index(of).await,
            Step::Build(of) => self.build(of).await,
            Step::Create { of, name } => self.create(of, name, None).await,
            Step::CrashedCreate { of, name, written } => self.create(of, name, Some(written)).await,
            Step::Drop(of) => self.drop(of).await,
            Step::Undelete(of) => self.undelete(of).await,
            Step::Pin { of, hours } => self.pin(of, hours).await,
            Step::Unpin(of) => self.unpin(of).await,
            Step::Hold(of) => self.hold(of, true).await,
            Step::Lift(of) => self.hold(of, false).await,
            Step::Restore(of) => self.restore(of).await,
            Step::FailingRestore(of) => self.failing_restore(of).await,
            Step::Pause(of) => self.pause(of, true).await,
            Step::Resume(of) => self.pause(of, false).await,
            Step::ClaimAndDie(tasks) => self.claim_and_die(tasks).await,
            Step::DieInCollect { grace } => self.die_in_collect(i64::from(grace)).await,
            Step::Work(tasks) => self.work(tasks).await,
            Step::Cancel(of) => self.cancel(of).await,
            Step::Pass(hours) => self.pass(i64::from(hours)).await,
            Step::Collect { grace, orphans, dry_run } => self.collect(i64::from(grace), orphans, dry_run).await,
        }
    }

    pub async fn pass(&mut self, hours: i64) -> Checked {
        self.world.now += hours;
        let seconds = u64::try_from(self.world.now * 3600).expect("forwards");
        self.app.set_clock(std::time::Duration::from_secs(seconds)).await;
        Ok(())
    }

    async fn new_collection(&mut self) -> Checked {
        let id = self.world.id() * 10;
        let name = format!("c{id}");
        self.app.small_collection(&name, id).await;
        self.world.collections.push(Collection {
            name,
            id,
            partition: id + 1,
            channel: format!("ch_{id}"),
            index: Some(7),
            living: true,
        });
        Ok(())
    }

    async fn drop_collection(&mut self, of: u8, cascade: bool) -> Checked {
        let Some(c) = self.world.living_collection(of) else {
            return Ok(());
        };
        let path = format!("/v1/collections/{}?cascade={cascade}", self.world.collections[c].name);
        let own: Vec<usize> = (0..self.world.snapshots.len())
            .filter(|s| self.world.snapshots[*s].collection == c)
            .collect();
        let committed = own.iter().filter(|s| self.world.snapshots[**s].is(Life::Committed));
        if cascade && committed.clone().any(|s| self.world.refusal(*s).is_some()) {
            self.call("DELETE", &path, None, 409, "").await?;
            return Ok(());
        }
        self.call("DELETE", &path, None, 204, "").await?;
        self.world.collections[c].living = false;
        for segment in self.world.living_segments(c) {
            self.world.drop_segment(segment);
        }
        for snapshot in own.into_iter().filter(|_| cascade) {
            let at = self.world.now;
            let snapshot = &mut self.world.snapshots[snapshot];
            match snapshot.life {
                Life::Committed => snapshot.life = Life::Dropped { at, back: true },
                Life::Pending { .. } => snapshot.life = Life::Dropped { at, back: false },
                Life::Dropped { .. } | Life::Gone => {}
            }
        }
        Ok(())
    }

    async fn write(&self, path: String) -> File {
        let content = format!("content of {path}").into_bytes();
        self.app
            .objects
            .put_many(vec![(path.clone(), content.clone())])
            .await
            .expect("written");
        File { path, content }
    }

    /// Writes the files of a new segment; gives its body.
    async fn new_segment(&mut self, collection: usize) -> (Segment, Value) {
        let id = self.world.id();
        let build = self.world.id();
        let c = &self.world.collections[collection];
        let (partition, channel, index) = (c.partition, c.channel.clone(), c.index);
        let place = format!("{}/{partition}/{id}", c.id);
        let rows = self.write(format!("insert_log/{place}/100/1")).await;
        let stats = self.write(format!("stats_log/{place}/100/1")).await;
        let log = |file: &File| json!([{"field_id": "100", "logs": [{"log_id": "1", "path": file.path, "size_bytes": file.content.len()}]}]);
        let mut body = json!({
            "segment_id": id.to_string(), "partition_id": partition.to_string(), "channel_name": channel, "num_of_rows": 5,
            "start_position": {"timestamp": "10"}, "binlogs": log(&rows), "statslogs": log(&stats)
        });
        let mut builds = Vec::new();
        if let Some(index) = index {
            let (one, json) = self.new_build(build, index, partition, id).await;
            builds.push(one);
            body["index_builds"] = json!([json]);
        }
        let segment = Segment {
            id,
            collection,
            files: vec![rows, stats],
            builds,
            dropped: None,
            gone: false,
        };
        (segment, body)
    }

    async fn new_build(&self, id: i64, index: i64, partition: i64, segment: i64) -> (Build, Value) {
        let file = self.write(format!("index_files/{id}/1/{partition}/{segment}/IVF")).await;
        let body = json!({"build_id": id.to_string(), "index_id": index.to_string(), "num_rows": 5,
            "files": [{"path": file.path, "size_bytes": file.content.len()}]});
        let build = Build {
            index,
            file,
            dropped: None,
            gone: false,
        };
        (build, body)
    }

    async fn register(&mut self, of: u8) -> Checked {
        let Some(c) = self.world.living_collection(of) else {
            return Ok(());
        };
        let (segment, body) = self.new_segment(c).await;
        let path = format!("/v1/collections/{}/segments", self.world.collections[c].name);
        self.post(&path, &body, 201).await?;
        self.world.segments.push(segment);
        Ok(())
    }

    fn segment_path(&self, segment: usize) -> String {
        let segment = &self.world.segments[segment];
        let collection = &self.world.collections[segment.collection];
        format!("/v1/collections/{}/segments/{}", collection.name, segment.id)
    }

    async fn append(&mut self, of: u8) -> Checked {
        let Some(s) = self.world.living_segment(of) else {
            return Ok(());
        };
        let log = self.world.id();
        let segment = &self.world.segments[s];
        let collection = &self.world.collections[segment.collection];
        let file = self
            .write(format!(
                "delta_log/{}/{}/{}/{log}",
                collection.id, collection.partition, segment.id
            ))
            .await;
        let logs = json!([{"log_id": log.to_string(), "path": file.path, "size_bytes": file.content.len()}]);
        let body = json!({"append": {"deltalogs": [{"field_id": "0", "logs": logs}]}});
        self.call("PATCH", &self.segment_path(s), Some(&body), 200, "").await?;
        self.world.segments[s].files.push(file);
        Ok(())
    }

    async fn drop_segment(&mut self, of: u8) -> Checked {
        let Some(s) = self.world.living_segment(of) else {
            return Ok(());
        };
        self.call("DELETE", &self.segment_path(s), None, 204, "").await?;
        self.world.drop_segment(s);
        Ok(())
    }

    async fn compact(&mut self, of: u8, inputs: u8, outputs: u8) -> Checked {
        let Some(c) = self.world.living_collection(of) else {
            return Ok(());
        };
        let inputs: Vec<usize> = self.world.living_segments(c).into_iter().take(inputs.into()).collect();
        let (mut added, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..outputs {
            let (segment, body) = self.new_segment(c).await;
            added.push(segment);
            bodies.push(body);
        }
        let ids: Vec<String> = inputs.iter().map(|s| self.world.segments[*s].id.to_string()).collect();
        let path = format!("/v1/collections/{}/compactions", self.world.collections[c].name);
        self.post(&path, &json!({"inputs": ids, "outputs": bodies}), 200).await?;
        for segment in inputs {
            self.world.drop_segment(segment);
        }
        self.world.segments.extend(added);
        Ok(())
    }

    async fn new_index(&mut self, of: u8) -> Checked {
        let Some(c) = World::pick(&self.world.collections, of, |c| c.living && c.index.is_none()) else {
            return Ok(());
        };
        let index = self.world.id();
        let body = json!({"index_id": index.to_string(), "field_id": "101", "index_name": "vec_idx"});
        let path = format!("/v1/collections/{}/indexes", self.world.collections[c].name);
        self.post(&path, &body, 201).await?;
        self.world.collections[c].index = Some(index);
        Ok(())
    }

    async fn drop_index(&mut self, of: u8) -> Checked {
        let Some(c) = World::pick(&self.world.collections, of, |c| c.living && c.index.is_some()) else {
            return Ok(());
        };
        let path = format!("/v1/collections/{}/indexes/vec_idx", self.world.collections[c].name);
        self.call("DELETE", &path, None, 204, "").await?;
        let dropped = self.world.collections[c].index.take();
        let now = self.world.now;
        for segment in self.world.segments.iter_mut().filter(|s| s.collection == c) {
            for build in segment
                .builds
                .iter_mut()
                .filter(|b| Some(b.index) == dropped && b.dropped.is_none())
            {
                build.dropped = Some(now);
            }
        }
        Ok(())
    }

    async fn build(&mut self, of: u8) -> Checked {
        // a segment has one living build of an index
        let collections = &self.world.collections;
        let unbuilt = |s: &Segment| {
            let index = collections[s.collection].index;
            let built = |b: &Build| b.dropped.is_none() && Some(b.index) == index;
            s.dropped.is_none() && index.is_some() && !s.builds.iter().any(built)
        };
        let Some(s) = World::pick(&self.world.segments, of, unbuilt) else {
            return Ok(());
        };
        let segment = &self.world.segments[s];
        let collection = &self.world.collections[segment.collection];
        let Some(index) = collection.index else { return Ok(()) };
        let (partition, segment) = (collection.partition, segment.id);
        let id = self.world.id();
        let (build, body) = self.new_build(id, index, partition, segment).await;
        self.post(&format!("{}/index-builds", self.segment_path(s)), &body, 201)
            .await?;
        self.world.segments[s].builds.push(build);
        Ok(())
    }

    async fn collect(&mut self, grace: i64, orphans: bool, dry_run: bool) -> Checked {
        let seconds = if grace == 0 { 0 } else { grace * 3600 + 1800 };
        let body = json!({"grace_seconds": seconds, "orphans": orphans, "orphan_tolerance_seconds": 0, "dry_run": dry_run});
        let run = self.post("/v1/gc/runs", &body, 201).await?;
        if run["state"] != "completed" || run["failed_objects"] != 0 {
            return Err(run.to_string());
        }
        if !dry_run {
            self.world.collect(grace);
        }
        self.look_at_jobs().await?;
        self.check().await
    }

    /// The first half of a run, as its steps are.
    async fn die_in_collect(&mut self, grace: i64) -> Checked {
        let scope = Scope {
            grace_seconds: if grace == 0 { 0 } else { grace * 3600 + 1800 },
            collection: None,
            dry_run: false,
        };
        let mut conn = self.app.pool.acquire().await.map_err(|e| e.to_string())?;
        let said = |e: stillframe::domain::Error| e.to_string();
        for snapshot in gc::snapshots::candidates(&mut conn, scope, -1, 500).await.map_err(said)? {
            let condemned = gc::snapshots::condemn(&mut conn, snapshot.snapshot_id, scope.grace_seconds).await;
            condemned.map_err(said)?;
        }
        let builds = gc::builds::candidates(&mut conn, scope, &[], -1, 500).await.map_err(said)?;
        for (collection, ids) in gc::builds::by_collection(&mut conn, &builds).await.map_err(said)? {
            gc::builds::condemn(&mut conn, CollectionId(collection), &ids)
                .await
                .map_err(said)?;
        }
        let segments = gc::segments::candidates(&mut conn, scope, &[], -1, 500).await.map_err(said)?;
        for (collection, ids) in gc::segments::by_collection(&mut conn, &segments).await.map_err(said)? {
            gc::segments::condemn(&mut conn, CollectionId(collection), &ids)
                .await
                .map_err(said)?;
        }
        self.world.condemn(grace);
        drop(conn);
        self.check_needed().await
    }

    /// Drops everything: nothing may stay.
    async fn end(&mut self) -> Checked {
        for job in 0..self.world.jobs.len() {
            if !self.world.jobs[job].ended {
                let path = format!("/v1/restore-jobs/{}/cancel", self.world.jobs[job].id);
                self.call("POST", &path, None, 200, "").await?;
            }
        }
        for s in 0..self.world.snapshots.len() {
            if !self.world.snapshots[s].is(Life::Committed) {
                continue;
            }
            self.world.snapshots[s]
                .pins
                .retain(|(_, end)| end.is_none_or(|end| self.world.now <= end));
            while let Some((pin, _)) = self.world.snapshots[s].pins.pop() {
                self.call("DELETE", &self.snapshot_path(s, &format!("/pins/{pin}")), None, 204, "")
                    .await?;
            }
            self.call("PATCH", &self.snapshot_path(s, ""), Some(&json!({"hold": null})), 200, "")
                .await?;
            self.call("DELETE", &self.snapshot_path(s, ""), None, 204, "").await?;
        }
        for collection in self.world.collections.iter().filter(|c| c.living) {
            self.call("DELETE", &format!("/v1/collections/{}", collection.name), None, 204, "")
                .await?;
        }
        self.pass(2).await?;
        self.app.drain().await;
        let everything = json!({"grace_seconds": 0, "orphans": true, "orphan_tolerance_seconds": 0});
        for _ in 0..2 {
            self.post("/v1/gc/runs", &everything, 201).await?;
        }
        self.check_empty().await
    }
}
