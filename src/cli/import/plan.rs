//! What has to be done so that the service knows what Milvus knows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::bodies;
use super::catalog::Collection;
use super::existing::{Existing, INDEX_FILES, LOGS, files_of, number, paths};
use super::places::Place;
use super::report::Outcome;

/// The partition of an L0 segment that belongs to all.
const ALL_PARTITIONS: i64 = -1;

/// The steps, in the order in which they are done.
#[derive(Debug, Default)]
pub struct Plan {
    /// The collection, when the service does not have it.
    pub create: Option<Value>,
    /// The name under which the service has it, when Milvus has another.
    pub rename_from: Option<String>,
    /// Properties to set, and with `null` to remove.
    pub properties: Map<String, Value>,
    pub new_partitions: Vec<Value>,
    /// Names.
    pub gone_indexes: Vec<String>,
    pub new_indexes: Vec<Value>,
    pub new_segments: Vec<Value>,
    /// Ids.
    pub gone_segments: Vec<String>,
    /// Ids, and what changed.
    pub changed_segments: Vec<(String, Value)>,
    /// Ids of segments, and builds.
    pub new_builds: Vec<(String, Value)>,
    /// Names.
    pub gone_partitions: Vec<String>,
    /// Names of channels, and positions.
    pub positions: Vec<(String, Value)>,
    pub aliases: Vec<String>,
}

impl Plan {
    /// Compares. What is left out, and totals, go to the outcome.
    ///
    /// # Errors
    /// What can't be imported or followed.
    pub fn make(from: &Collection, known: Option<&Existing>, place: &Place, outcome: &mut Outcome) -> Result<Self, String> {
        let body = bodies::collection(from)?;
        let mut plan = Self::default();
        match known {
            None => plan.create = Some(body),
            Some(known) => plan.collection(&body, known)?,
        }
        let index_ids = plan.indexes(from, known);
        let mut living = BTreeSet::new();
        let partitions: BTreeSet<i64> = from
            .partitions
            .iter()
            .map(|p| p.partition_id)
            .chain([ALL_PARTITIONS])
            .collect();
        for segment in &from.segments {
            if !partitions.contains(&segment.info.partition_id) {
                outcome.leave_out("segment", "of a partition that is being dropped");
                continue;
            }
            match bodies::segment(segment, &index_ids, place)? {
                Err(why) => outcome.leave_out("segment", why),
                Ok((body, skipped)) => {
                    skipped.into_iter().for_each(|why| outcome.leave_out("index build", why));
                    outcome.count(&body);
                    living.insert(segment.info.id.to_string());
                    plan.segment(body, known)?;
                }
            }
        }
        let registered = known.into_iter().flat_map(|k| k.segments.keys());
        plan.gone_segments = registered.filter(|id| !living.contains(*id)).cloned().collect();
        let here: BTreeMap<&str, i128> = known.map(positions_of).unwrap_or_default();
        for channel in &from.listed.info.virtual_channel_names {
            match from.positions.get(channel) {
                Some(position) if here.get(channel.as_str()).is_none_or(|t| *t < i128::from(position.timestamp)) => {
                    plan.positions.push((channel.clone(), bodies::position(position)));
                }
                Some(_) => {}
                None => outcome.leave_out("channel", "without a checkpoint yet"),
            }
        }
        Ok(plan)
    }

    fn collection(&mut self, body: &Value, known: &Existing) -> Result<(), String> {
        if known.ownership != "external" {
            return Err("the service has a collection of this id that is its own, not external".into());
        }
        let schema = [
            ("fields", &known.fields),
            ("functions", &known.functions),
            ("struct_array_fields", &known.struct_array_fields),
        ];
        if let Some((what, _)) = schema.iter().find(|(key, here)| body[key] != **here) {
            return Err(format!(
                "its {what} have changed in Milvus since it was imported, which can't be followed: drop it here (its snapshots stay), \
                 wait for the collector, and import it again"
            ));
        }
        let channels: Vec<&str> = known.channels.iter().map(|c| c.channel_name.as_str()).collect();
        let theirs: Vec<&str> = list(&body["channels"]).filter_map(|c| c["channel_name"].as_str()).collect();
        if channels != theirs {
            return Err("its channels have changed in Milvus since it was imported, which can't be followed".into());
        }
        self.rename_from = (body["name"] != known.name.as_str()).then(|| known.name.clone());
        let wanted: BTreeMap<String, String> = serde_json::from_value(body["properties"].clone()).unwrap_or_default();
        for (key, value) in &wanted {
            if known.properties.get(key) != Some(value) {
                self.properties.insert(key.clone(), value.clone().into());
            }
        }
        for key in known.properties.keys().filter(|k| !wanted.contains_key(*k)) {
            self.properties.insert(key.clone(), Value::Null);
        }
        for partition in list(&body["partitions"]) {
            match known
                .partitions
                .iter()
                .find(|p| partition["partition_id"] == p.partition_id.as_str())
            {
                None => self.new_partitions.push(partition.clone()),
                Some(p) if partition["name"] != p.name.as_str() => {
                    return Err(format!(
                        "partition {:?} has another name in Milvus, which can't be followed",
                        p.name
                    ));
                }
                Some(_) => {}
            }
        }
        let gone = known
            .partitions
            .iter()
            .filter(|p| list(&body["partitions"]).all(|theirs| theirs["partition_id"] != p.partition_id.as_str()));
        self.gone_partitions = gone.map(|p| p.name.clone()).collect();
        Ok(())
    }

    /// Gives the ids of the indexes that there are in Milvus.
    fn indexes(&mut self, from: &Collection, known: Option<&Existing>) -> BTreeSet<i64> {
        let mut ids = BTreeSet::new();
        for index in from.indexes.iter().filter_map(|i| i.info.as_ref()) {
            ids.insert(index.index_id);
            let id = index.index_id.to_string();
            if known.is_none_or(|k| k.indexes.iter().all(|i| i.index_id != id)) {
                self.new_indexes.push(bodies::index(index));
            }
        }
        let here = known.into_iter().flat_map(|k| &k.indexes);
        let gone = here.filter(|i| i.index_id.parse().is_ok_and(|id: i64| !ids.contains(&id)));
        self.gone_indexes = gone.map(|i| i.index_name.clone()).collect();
        ids
    }

    fn segment(&mut self, body: Value, known: Option<&Existing>) -> Result<(), String> {
        let id = number(&body["segment_id"]);
        let Some(here) = known.and_then(|k| k.segments.get(&id)) else {
            self.new_segments.push(body);
            return Ok(());
        };
        if let Some(gone) = here.paths.difference(&paths(&body)).next() {
            return Err(format!(
                "segment {id} has lost the file {gone} in Milvus, which can't be followed: drop the collection here (its snapshots \
                 stay), wait for the collector, and import it again"
            ));
        }
        let mut change = Map::new();
        let mut append = Map::new();
        for group in LOGS.iter().chain(&INDEX_FILES) {
            let added: Vec<Value> = list(&body[*group]).filter_map(|g| only_new(g, &here.paths)).collect();
            if !added.is_empty() {
                append.insert((*group).to_string(), added.into());
            }
        }
        if !append.is_empty() {
            change.insert("append".into(), append.into());
            if let Some(position) = body.get("dml_position") {
                change.insert("dml_position".into(), position.clone());
            }
        }
        if here.num_of_rows != number(&body["num_of_rows"]) {
            change.insert("num_of_rows".into(), body["num_of_rows"].clone());
        }
        if !change.is_empty() {
            self.changed_segments.push((id.clone(), change.into()));
        }
        for build in list(&body["index_builds"]).filter(|b| !here.builds.contains(&number(&b["build_id"]))) {
            self.new_builds.push((id.clone(), build.clone()));
        }
        Ok(())
    }

    /// Whether the service knows all of it already.
    pub fn is_empty(&self) -> bool {
        let Self {
            create,
            rename_from,
            properties,
            new_partitions,
            gone_indexes,
            new_indexes,
            new_segments,
            gone_segments,
            changed_segments,
            new_builds,
            gone_partitions,
            positions,
            aliases,
        } = self;
        create.is_none()
            && rename_from.is_none()
            && properties.is_empty()
            && [new_partitions, new_indexes, new_segments].iter().all(|v| v.is_empty())
            && [gone_indexes, gone_segments, gone_partitions, aliases]
                .iter()
                .all(|v| v.is_empty())
            && [changed_segments, new_builds, positions].iter().all(|v| v.is_empty())
    }

    /// A file that is new to the service, if there is one.
    pub fn a_file(&self) -> Option<String> {
        let bodies = self
            .new_segments
            .iter()
            .chain(self.changed_segments.iter().map(|(_, c)| &c["append"]));
        let of_segments = bodies.flat_map(paths);
        let builds = self.new_builds.iter().flat_map(|(_, b)| list(&b["files"]));
        let of_builds = builds.filter_map(|f| f["path"].as_str().map(String::from));
        of_segments.chain(of_builds).next()
    }
}

/// What of a group of logs or files the service does not have.
fn only_new(group: &Value, here: &BTreeSet<String>) -> Option<Value> {
    let mut group = group.clone();
    let key = if group.get("logs").is_some() { "logs" } else { "files" };
    let wrapped = json!({"g": [group.clone()]});
    let new: Vec<Value> = files_of(&wrapped, "g")
        .filter(|f| f["path"].as_str().is_none_or(|p| !here.contains(p)))
        .cloned()
        .collect();
    if new.is_empty() {
        return None;
    }
    group[key] = new.into();
    Some(group)
}

fn positions_of(known: &Existing) -> BTreeMap<&str, i128> {
    let position = |c: &super::existing::Channel| c.seek_position.as_ref().and_then(|p| p.timestamp.parse().ok());
    known
        .channels
        .iter()
        .filter_map(|c| Some((c.channel_name.as_str(), position(c)?)))
        .collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
