//! What an import did, left out, and why.

use std::collections::BTreeMap;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::table::Table;
use super::super::text;
use super::catalog::Listed;
use super::existing::{Summary, number, paths};
use super::plan::Plan;

/// What became of one collection.
#[derive(Debug)]
pub struct Outcome {
    db_name: String,
    name: String,
    collection_id: String,
    /// `imported`, `updated`, `unchanged`, `skipped`, `absent` (from Milvus) or `failed`.
    result: &'static str,
    detail: String,
    segments: u64,
    rows: u64,
    files: u64,
    segments_added: usize,
    segments_changed: usize,
    segments_dropped: usize,
    builds_added: usize,
    /// By what it is and why it was left out.
    left_out: BTreeMap<(&'static str, &'static str), u64>,
    /// As the service counts it afterwards; none when nothing was done.
    pub size_bytes: Option<u64>,
}

impl Outcome {
    pub fn of(listed: &Listed) -> Self {
        Self::new(&listed.db_name, listed.name(), &listed.collection_id.to_string())
    }

    /// A collection of the service that may have been imported, and is not in Milvus.
    pub fn absent(db_name: &str, here: &Summary) -> Self {
        let mut outcome = Self::new(db_name, &here.name, &here.collection_id);
        outcome.result = "absent";
        outcome.detail = "it is external and not in this Milvus; left as it is. `stillframe collection drop` drops it here, its snapshots stay".into();
        outcome
    }

    fn new(db_name: &str, name: &str, collection_id: &str) -> Self {
        Self {
            db_name: db_name.to_string(),
            name: name.to_string(),
            collection_id: collection_id.to_string(),
            result: "failed",
            detail: String::new(),
            segments: 0,
            rows: 0,
            files: 0,
            segments_added: 0,
            segments_changed: 0,
            segments_dropped: 0,
            builds_added: 0,
            left_out: BTreeMap::new(),
            size_bytes: None,
        }
    }

    pub fn skip(&mut self, why: &str) {
        self.result = "skipped";
        self.detail = why.to_string();
    }

    pub fn fail(&mut self, failure: &Failure) {
        self.result = "failed";
        self.detail = failure.text();
    }

    pub fn leave_out(&mut self, what: &'static str, why: &'static str) {
        *self.left_out.entry((what, why)).or_default() += 1;
    }

    /// Counts a segment that is in Milvus.
    pub fn count(&mut self, segment: &Value) {
        let builds = segment["index_builds"].as_array().into_iter().flatten();
        let of_builds: usize = builds.map(|b| b["files"].as_array().map_or(0, Vec::len)).sum();
        self.segments += 1;
        self.rows += number(&segment["num_of_rows"]).parse().unwrap_or(0);
        self.files += (paths(segment).len() + of_builds) as u64;
    }

    /// Notes what is about to be done.
    pub fn planned(&mut self, plan: &Plan) {
        self.result = match plan.create {
            Some(_) => "imported",
            None if plan.is_empty() => "unchanged",
            None => "updated",
        };
        self.segments_added = plan.new_segments.len();
        self.segments_changed = plan.changed_segments.len();
        self.segments_dropped = plan.gone_segments.len();
        self.builds_added = plan.new_builds.len();
    }

    fn json(&self) -> Value {
        let left_out = self
            .left_out
            .iter()
            .map(|((what, why), count)| json!({"what": what, "reason": why, "count": count}));
        json!({
            "db_name": self.db_name, "collection_name": self.name, "collection_id": self.collection_id,
            "result": self.result, "detail": self.detail,
            "segment_count": self.segments, "num_of_rows": self.rows, "file_count": self.files, "size_bytes": self.size_bytes,
            "segments_added": self.segments_added, "segments_changed": self.segments_changed,
            "segments_dropped": self.segments_dropped, "index_builds_added": self.builds_added,
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }
}

/// What became of all of them.
#[derive(Debug)]
pub struct Report {
    revision: i64,
    dry_run: bool,
    shared: bool,
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// `shared`: the service's storage root is Milvus' own.
    pub fn new(revision: i64, dry_run: bool, shared: bool) -> Self {
        Self {
            revision,
            dry_run,
            shared,
            outcomes: Vec::new(),
        }
    }

    /// What Milvus' collector would do to restored files.
    fn warning(&self) -> Option<&'static str> {
        self.shared.then_some(
            "the service's storage root is Milvus' own: restore nothing there while that Milvus runs, its garbage collector deletes \
             files that are not in its catalog. Run the service on the bucket or directory above, and name Milvus' with --storage",
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "revision": self.revision, "dry_run": self.dry_run, "warnings": self.warning().into_iter().collect::<Vec<_>>(),
            "collections": self.outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
        })
    }

    pub fn text(&self) -> String {
        let mut table = Table::new(&[
            "DATABASE",
            "COLLECTION",
            "RESULT",
            ">SEGMENTS",
            ">ROWS",
            ">FILES",
            ">ADDED",
            ">CHANGED",
            ">DROPPED",
        ]);
        let mut left_out = Table::new(&["COLLECTION", "LEFT OUT", ">COUNT", "WHY"]);
        let mut lines = Vec::new();
        for o in &self.outcomes {
            table.row([
                o.db_name.clone(),
                o.name.clone(),
                o.result.into(),
                text::count(o.segments),
                text::count(o.rows),
                text::count(o.files),
                text::count(o.segments_added as u64),
                text::count(o.segments_changed as u64),
                text::count(o.segments_dropped as u64),
            ]);
            for ((what, why), count) in &o.left_out {
                left_out.row([o.name.clone(), (*what).into(), text::count(*count), (*why).into()]);
            }
            if !o.detail.is_empty() {
                lines.push(format!("{} {}: {}", o.name, o.result, text::clean(&o.detail)));
            }
        }
        let mut parts = vec![table.render()];
        if self.outcomes.iter().any(|o| !o.left_out.is_empty()) {
            parts.push(format!("\n{}", left_out.render()));
        }
        parts.extend(lines.into_iter().map(|line| format!("\n{line}")));
        if let Some(warning) = self.warning() {
            parts.push(format!("\nwarning: {warning}"));
        }
        let at = match self.dry_run {
            true => "nothing was changed (dry run); Milvus' catalog was read",
            false => "Milvus' catalog was read",
        };
        parts.push(format!("\n{at} at revision {}", self.revision));
        parts.join("\n")
    }

    /// Whether some collection could not be imported.
    pub fn failure(&self) -> Option<Failure> {
        let failed: Vec<&Outcome> = self.outcomes.iter().filter(|o| o.result == "failed").collect();
        let first = failed.first()?;
        Some(Failure::Other(anyhow!(
            "{} of {} could not be imported: {}: {}",
            failed.len(),
            text::counted(self.outcomes.len() as u64, "collection"),
            first.name,
            first.detail
        )))
    }
}
