//! What the service knows of a collection already.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::http::{Client, Query, decode, decode_all};

/// A collection of the service.
#[derive(Debug, Deserialize)]
pub struct Existing {
    pub name: String,
    pub ownership: String,
    pub fields: Value,
    #[serde(default)]
    pub functions: Value,
    #[serde(default)]
    pub struct_array_fields: Value,
    pub properties: BTreeMap<String, String>,
    pub partitions: Vec<Partition>,
    pub channels: Vec<Channel>,
    #[serde(skip)]
    pub indexes: Vec<Index>,
    /// By id.
    #[serde(skip)]
    pub segments: BTreeMap<String, Segment>,
}

#[derive(Debug, Deserialize)]
pub struct Partition {
    pub partition_id: String,
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub struct Channel {
    pub channel_name: String,
    pub seek_position: Option<Position>,
}

#[derive(Debug, Deserialize)]
pub struct Position {
    pub timestamp: String,
}

#[derive(Debug, Deserialize)]
pub struct Index {
    pub index_id: String,
    pub index_name: String,
}

/// As much of a segment as a comparison needs.
#[derive(Debug)]
pub struct Segment {
    pub num_of_rows: String,
    pub paths: BTreeSet<String>,
    /// Ids of its index builds.
    pub builds: BTreeSet<String>,
}

/// Groups of logs in the body of a segment.
pub const LOGS: [&str; 4] = ["binlogs", "deltalogs", "statslogs", "bm25_statslogs"];
/// Groups of index files in it.
pub const INDEX_FILES: [&str; 2] = ["text_index_files", "json_key_index_files"];

/// The files of one of the groups of a segment's body.
pub fn files_of<'a>(segment: &'a Value, group: &str) -> impl Iterator<Item = &'a Value> {
    let list = |value: &'a Value| value.as_array().into_iter().flatten();
    list(&segment[group]).flat_map(move |g| list(&g["logs"]).chain(list(&g["files"])))
}

/// The paths of a segment's own files; index builds are not among them.
pub fn paths(segment: &Value) -> BTreeSet<String> {
    let groups = LOGS.iter().chain(&INDEX_FILES);
    let files = groups.flat_map(|group| files_of(segment, group));
    files.filter_map(|f| f["path"].as_str().map(String::from)).collect()
}

/// An id or a count, which may be a number or a text.
pub fn number(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// A collection in the service's list.
#[derive(Debug, Deserialize)]
pub struct Summary {
    pub collection_id: String,
    pub name: String,
    pub ownership: String,
}

/// The collections of a database; none of one that the service does not have.
///
/// # Errors
/// What the service answered, or that it did not.
pub async fn list(client: &Client, db: &str) -> Result<Vec<Summary>, Failure> {
    let query = Query::default().and("db_name", Some(db));
    match client.list(&["v1", "collections"], query, None).await {
        Err(Failure::Refused(problem)) if problem.code == "database_not_found" => Ok(Vec::new()),
        found => decode_all(&found?),
    }
}

impl Existing {
    /// Reads a collection with its indexes and segments.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub async fn read(client: &Client, db: &str, name: &str) -> Result<Self, Failure> {
        let query = || Query::default().and("db_name", Some(db));
        let path = ["v1", "collections", name];
        let mut found: Self = decode(&client.get(&path, query()).await?)?;
        found.indexes = decode_all(&client.list(&["v1", "collections", name, "indexes"], query(), None).await?)?;
        // page by page, so that only what is compared is kept of each
        let mut token: Option<String> = None;
        loop {
            let query = query().and("page_size", Some(1000)).and("page_token", token.take());
            let page = client.get(&["v1", "collections", name, "segments"], query).await?;
            for segment in page["items"].as_array().into_iter().flatten() {
                let builds = segment["index_builds"].as_array().into_iter().flatten();
                let known = Segment {
                    num_of_rows: number(&segment["num_of_rows"]),
                    paths: paths(segment),
                    builds: builds.map(|b| number(&b["build_id"])).collect(),
                };
                found.segments.insert(number(&segment["segment_id"]), known);
            }
            match page["next_page_token"].as_str() {
                Some(next) => token = Some(next.to_string()),
                None => return Ok(found),
            }
        }
    }
}
