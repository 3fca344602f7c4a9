//! Compares the storage, and the figures about it, with the model.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::run::{Checked, Run};
use super::world::Life;

/// Every file below the storage root by key, with its bytes.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let key = path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_string();
                found.insert(key, std::fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

fn is_data(key: &str) -> bool {
    ["insert_log/", "delta_log/", "stats_log/", "index_files/"]
        .iter()
        .any(|d| key.starts_with(d))
}

fn sum<'a>(files: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> i64 {
    files.map(|(_, content)| content.len() as i64).sum()
}

impl Run {
    /// After a run of the collector: what is needed is there, and nothing else where that can be
    /// said.
    pub async fn check(&self) -> Checked {
        let there = files(self.app.directory.path());
        let needed = self.world.files();
        for (path, content) in &needed {
            match there.get(*path) {
                Some(found) if found == content => {}
                Some(_) => return Err(format!("{path} has changed")),
                None => return Err(format!("{path} is needed and gone")),
            }
        }
        self.check_snapshots(&there)?;
        // the copies of a running restore, and what an unsuccessful one left, are in no book of the model
        let targets = self.targets().await?;
        let copied = |key: &str| targets.iter().any(|directory| key.starts_with(directory));
        let extra = |key: &&String| is_data(key) && !needed.contains_key(key.as_str()) && !copied(key);
        if let Some(extra) = there.keys().find(extra) {
            return Err(format!("nobody needs {extra} and it is still there"));
        }
        if self.world.jobs.iter().any(|j| !j.settled) {
            return Ok(());
        }
        self.check_usage(&there).await
    }

    /// What is needed is there.
    pub async fn check_needed(&self) -> Checked {
        let there = files(self.app.directory.path());
        match self.world.files().keys().find(|path| !there.contains_key(**path)) {
            Some(path) => Err(format!("{path} is needed and gone")),
            None => Ok(()),
        }
    }

    /// Directories of the targets of jobs that are not settled.
    async fn targets(&self) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for job in self.world.jobs.iter().filter(|j| !j.settled) {
            let id: i64 = job.id.parse().expect("a number");
            let collection: i64 = sqlx::query_scalar("select collection_id from restore_jobs where job_id = $1")
                .bind(id)
                .fetch_one(&self.app.pool)
                .await
                .map_err(|e| e.to_string())?;
            found.extend(["insert_log", "delta_log", "stats_log"].map(|d| format!("{d}/{collection}/")));
            let builds: Vec<i64> = sqlx::query_scalar("select target_build_id from restore_builds where job_id = $1")
                .bind(id)
                .fetch_all(&self.app.pool)
                .await
                .map_err(|e| e.to_string())?;
            found.extend(builds.into_iter().map(|b| format!("index_files/{b}/")));
        }
        Ok(found)
    }

    /// The metadata file of a committed or dropped snapshot is there, with every manifest that it
    /// names; that of one that is gone is not.
    fn check_snapshots(&self, there: &BTreeMap<String, Vec<u8>>) -> Checked {
        for snapshot in &self.world.snapshots {
            let collection = self.world.collections[snapshot.collection].id;
            let key = format!("snapshots/{collection}/metadata/{}.json", snapshot.id);
            match snapshot.life {
                Life::Gone if there.contains_key(&key) => return Err(format!("{key} is still there")),
                Life::Committed | Life::Dropped { back: true, .. } => {
                    let bytes = there.get(&key).ok_or_else(|| format!("{key} is gone"))?;
                    let metadata: Value = serde_json::from_slice(bytes).map_err(|e| format!("{key}: {e}"))?;
                    for manifest in metadata["manifest_list"].as_array().into_iter().flatten() {
                        let manifest = manifest.as_str().expect("a key");
                        if !there.contains_key(manifest) {
                            return Err(format!("{manifest} of snapshot {} is gone", snapshot.id));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn check_usage(&self, there: &BTreeMap<String, Vec<u8>>) -> Checked {
        let usage = self.call("GET", "/v1/usage", None, 200, "").await?;
        let figure = |name: &str| usage[name].as_i64().expect("a number");
        let data = sum(there.iter().filter(|(key, _)| is_data(key)));
        let said = figure("live_bytes") + figure("held_by_snapshots_bytes") + figure("waiting_bytes");
        if said != data {
            return Err(format!("there are {data} bytes of data files, not {said}: {usage}"));
        }
        let living = |s: &&super::world::Segment| s.dropped.is_none();
        let live: usize = self
            .world
            .segments
            .iter()
            .filter(living)
            .flat_map(|s| &s.files)
            .map(|f| f.content.len())
            .sum();
        let builds = self
            .world
            .segments
            .iter()
            .flat_map(|s| &s.builds)
            .filter(|b| b.dropped.is_none());
        let live = live + builds.map(|b| b.file.content.len()).sum::<usize>();
        if figure("live_bytes") != live as i64 {
            return Err(format!("{live} bytes are live: {usage}"));
        }
        // a snapshot that was never committed has no figures
        let half = |life: Life| matches!(life, Life::Pending { .. } | Life::Dropped { back: false, .. });
        let metadata = sum(there.iter().filter(|(key, _)| key.starts_with("snapshots/")));
        if !self.world.snapshots.iter().any(|s| half(s.life)) && figure("metadata_bytes") != metadata {
            return Err(format!("there are {metadata} bytes of metadata: {usage}"));
        }
        Ok(())
    }

    /// What the drop of some snapshots is said to free is what it frees.
    pub async fn check_simulated_drop(&mut self, seed: usize) -> Checked {
        // first of all what is dropped already, and what is half done
        self.pass(5).await?;
        while self.app.drain().await > 0 {}
        self.work(1).await?;
        let everything = json!({"grace_seconds": 0});
        self.post("/v1/gc/runs", &everything, 201).await?;
        self.world.collect(0);
        self.check().await?;
        let chosen: Vec<usize> = (0..self.world.snapshots.len())
            .filter(|s| self.world.snapshots[*s].is(Life::Committed) && self.world.refusal(*s).is_none())
            .filter(|s| !(s * 7 + seed).is_multiple_of(3))
            .collect();
        if chosen.is_empty() {
            return Ok(());
        }
        let named: Vec<Value> = chosen
            .iter()
            .map(|s| json!({"snapshot_name": self.world.snapshots[*s].name, "snapshot_id": self.world.snapshots[*s].id}))
            .collect();
        let said = self.post("/v1/usage/simulate", &json!({"drop": named}), 200).await?;
        let before = files(self.app.directory.path());
        for s in chosen {
            self.call("DELETE", &self.snapshot_path(s, ""), None, 204, "").await?;
            self.world.snapshots[s].life = Life::Dropped {
                at: self.world.now,
                back: true,
            };
        }
        let run = self.post("/v1/gc/runs", &everything, 201).await?;
        self.world.collect(0);
        self.check().await?;
        let there = files(self.app.directory.path());
        let freed = |data: bool| {
            let gone = before
                .iter()
                .filter(|(key, _)| !there.contains_key(*key) && is_data(key) == data);
            (gone.clone().count(), sum(gone))
        };
        let ((data_files, data), (objects, metadata)) = (freed(true), freed(false));
        let real = json!([data_files, data, objects, metadata]);
        let figures = json!([
            said["data_file_count"],
            said["data_bytes"],
            said["metadata_object_count"],
            said["metadata_bytes"]
        ]);
        if real != figures {
            return Err(format!("freed {real}, said {said}"));
        }
        if run["bytes"].as_i64() != Some(data + metadata) || run["objects"].as_u64() != Some((data_files + objects) as u64) {
            return Err(format!("freed {real}, and the run says {run}"));
        }
        Ok(())
    }

    /// No object but the marker, no row.
    pub async fn check_empty(&self) -> Checked {
        let left: Vec<String> = files(self.app.directory.path())
            .into_keys()
            .filter(|k| k != "stillframe.json")
            .collect();
        if !left.is_empty() {
            return Err(format!("objects are left: {left:?}"));
        }
        for table in [
            "collections",
            "segments",
            "segment_versions",
            "index_builds",
            "snapshots",
            "snapshot_descriptions",
            "manifests",
            "snapshot_manifests",
            "pins",
            "orphans",
        ] {
            let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
                .fetch_one(&self.app.pool)
                .await
                .map_err(|e| e.to_string())?;
            if rows != 0 {
                return Err(format!("{rows} rows are left in {table}"));
            }
        }
        Ok(())
    }
}
