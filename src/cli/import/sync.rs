//! Brings the service to what a plan says.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::http::{Client, Query};
use super::catalog::Collection;
use super::existing::Existing;
use super::places::{Place, ServiceStorage};
use super::plan::Plan;
use super::report::Outcome;

/// Segments of one request: some 10 MB of JSON at 40 files each.
const BATCH: usize = 1000;
/// New segments that are registered together with the drop of those that they replace.
const EXCHANGE: usize = 4000;
/// Segments that one request may drop.
const MOST_INPUTS: usize = 10_000;

/// The service that is brought up to date.
pub struct Service<'a> {
    client: &'a Client,
    storage: &'a ServiceStorage,
    place: &'a Place,
    dry_run: bool,
}

/// One collection of it.
struct Target<'a> {
    client: &'a Client,
    db: &'a str,
    name: &'a str,
}

impl<'a> Service<'a> {
    pub fn new(client: &'a Client, storage: &'a ServiceStorage, place: &'a Place, dry_run: bool) -> Self {
        Self {
            client,
            storage,
            place,
            dry_run,
        }
    }

    /// Makes one collection here what it is in Milvus. `here`: the name that it has here, if it is here.
    ///
    /// # Errors
    /// What can't be imported, and what the service answered.
    pub async fn follow(&self, from: &Collection, here: Option<&str>, outcome: &mut Outcome) -> Result<(), Failure> {
        let db = from.listed.db_name.as_str();
        let known = match here {
            Some(name) => Some(Existing::read(self.client, db, name).await?),
            None => None,
        };
        let plan = Plan::make(from, known.as_ref(), self.place, outcome).map_err(|why| anyhow!(why))?;
        let plan = Plan {
            aliases: self.aliases(from).await?,
            ..plan
        };
        if let Some(path) = plan.a_file() {
            self.expect(&path).await?;
        }
        outcome.planned(&plan);
        if self.dry_run || plan.is_empty() {
            return Ok(());
        }
        let target = Target {
            client: self.client,
            db,
            name: from.listed.name(),
        };
        target.apply(&plan).await?;
        let now = self.client.get(&["v1", "collections", target.name], target.query()).await?;
        outcome.size_bytes = now["size_bytes"].as_u64();
        Ok(())
    }

    /// The aliases of the collection that don't lead to it here.
    async fn aliases(&self, from: &Collection) -> Result<Vec<String>, Failure> {
        let id = from.listed.collection_id.to_string();
        let mut wanting = Vec::new();
        for alias in &from.aliases {
            let query = Query::default().and("db_name", Some(&from.listed.db_name));
            match self.client.get(&["v1", "aliases", alias], query).await {
                Ok(found) if found["collection_id"] == id.as_str() => {}
                Err(Failure::Refused(p)) if !["alias_not_found", "database_not_found"].contains(&p.code.as_str()) => {
                    return Err(Failure::Refused(p));
                }
                Err(Failure::Refused(_)) | Ok(_) => wanting.push(alias.clone()),
                Err(other) => return Err(other),
            }
        }
        Ok(wanting)
    }

    /// One file, looked for before anything is changed: with a wrong storage none is there.
    async fn expect(&self, path: &str) -> Result<(), Failure> {
        let query = Query::default().and("key", Some(format!("{}{path}", self.storage.root)));
        let found = self.client.get(&["v1", "objects", "explain"], query).await?;
        if found["size_bytes"].is_null() {
            return Err(Failure::Other(anyhow!(
                "{path} is not in the service's storage {}: --storage must be where Milvus keeps its files (its minio.bucketName and \
                 minio.rootPath), and the service must run on that bucket. If it does, Milvus has just deleted the file: try again",
                self.storage.root
            )));
        }
        Ok(())
    }
}

impl Target<'_> {
    fn query(&self) -> Query {
        Query::default().and("db_name", Some(self.db))
    }

    async fn send(&self, method: Method, path: &[&str], body: &Value) -> Result<Value, Failure> {
        let path = [&["v1", "collections", self.name], path].concat();
        self.client.send(method, &path, self.query(), body).await
    }

    /// As [`Target::send`], for bodies with files.
    async fn register(&self, method: Method, path: &[&str], body: &Value) -> Result<Value, Failure> {
        let path = [&["v1", "collections", self.name], path].concat();
        let query = self.query().and("check", Some("exists"));
        self.client.send(method, &path, query, body).await
    }

    async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        let path = [&["v1", "collections", self.name], path].concat();
        self.client.delete(&path, self.query()).await
    }

    async fn apply(&self, plan: &Plan) -> Result<(), Failure> {
        self.definitions(plan).await?;
        self.segments(plan).await?;
        for (id, change) in &plan.changed_segments {
            self.register(Method::PATCH, &["segments", id], change).await?;
        }
        for (id, build) in &plan.new_builds {
            self.register(Method::POST, &["segments", id, "index-builds"], build).await?;
        }
        for partition in &plan.gone_partitions {
            self.delete(&["partitions", partition]).await?;
        }
        // at last: only now a snapshot may count on everything before them
        for (channel, position) in &plan.positions {
            self.send(Method::PUT, &["channels", channel], &json!({"seek_position": position}))
                .await?;
        }
        for alias in &plan.aliases {
            self.alias(alias).await?;
        }
        Ok(())
    }

    async fn definitions(&self, plan: &Plan) -> Result<(), Failure> {
        if let Some(body) = &plan.create {
            self.create(body).await?;
        }
        if let Some(name) = &plan.rename_from {
            let body = json!({"name": self.name});
            self.client
                .send(Method::PATCH, &["v1", "collections", name], self.query(), &body)
                .await?;
        }
        if !plan.properties.is_empty() {
            self.send(Method::PATCH, &[], &json!({"properties": plan.properties})).await?;
        }
        for partition in &plan.new_partitions {
            self.send(Method::POST, &["partitions"], partition).await?;
        }
        for index in &plan.gone_indexes {
            self.delete(&["indexes", index]).await?;
        }
        for index in &plan.new_indexes {
            self.send(Method::POST, &["indexes"], index).await?;
        }
        Ok(())
    }

    async fn create(&self, body: &Value) -> Result<(), Failure> {
        let create = async || {
            self.client
                .post(&["v1", "collections"], Query::default(), body, Duration::ZERO)
                .await
        };
        match create().await {
            Err(Failure::Refused(p)) if p.code == "database_not_found" => {
                self.client
                    .post(
                        &["v1", "databases"],
                        Query::default(),
                        &json!({"name": self.db}),
                        Duration::ZERO,
                    )
                    .await?;
                create().await.map(|_| ())
            }
            Err(Failure::Refused(p)) if p.code == "collection_already_exists" => Err(Failure::Other(anyhow!(
                "{} ({}). If it was imported, Milvus has dropped it since and created another of its name: drop it here (its snapshots \
                 stay), and import again",
                p.detail,
                p.code
            ))),
            other => other.map(|_| ()),
        }
    }

    /// New segments come and those that they replace go in one step, so that no snapshot sees
    /// rows twice or not at all.
    async fn segments(&self, plan: &Plan) -> Result<(), Failure> {
        let alone = match plan.gone_segments.is_empty() {
            true => plan.new_segments.len(),
            false => plan.new_segments.len().saturating_sub(EXCHANGE),
        };
        let (alone, together) = plan.new_segments.split_at(alone);
        for batch in alone.chunks(BATCH) {
            self.register(Method::POST, &["segments:batch"], &json!({"segments": batch}))
                .await?;
        }
        let mut outputs = together;
        for inputs in plan.gone_segments.chunks(MOST_INPUTS) {
            let body = json!({"inputs": inputs, "outputs": outputs});
            self.register(Method::POST, &["compactions"], &body).await?;
            outputs = &[];
        }
        Ok(())
    }

    async fn alias(&self, alias: &str) -> Result<(), Failure> {
        let body = json!({"collection_name": self.name});
        match self
            .client
            .send(Method::PUT, &["v1", "aliases", alias], self.query(), &body)
            .await
        {
            Err(Failure::Refused(p)) if p.code == "alias_not_found" => {
                let body = json!({"alias": alias, "collection_name": self.name, "db_name": self.db});
                self.client
                    .post(&["v1", "aliases"], Query::default(), &body, Duration::ZERO)
                    .await
                    .map(|_| ())
            }
            other => other.map(|_| ()),
        }
    }
}
