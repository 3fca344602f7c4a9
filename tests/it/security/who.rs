//! Callers with credentials.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use stillframe::service::{AuthSettings, Secret};

use crate::support::TestApp;
use crate::support::app::Answer;

/// The operator's own key.
pub const ADMIN_KEY: &str = "admin-0123456789abcdef0123456789abcdef";

/// Somebody who calls.
pub struct Who<'a> {
    pub app: &'a TestApp,
    pub credential: String,
}

/// Authentication with the operator's key and nothing else.
pub fn required() -> AuthSettings {
    AuthSettings {
        required: true,
        admin_key: Some(Secret::new(ADMIN_KEY)),
        ..AuthSettings::default()
    }
}

impl<'a> Who<'a> {
    pub fn admin(app: &'a TestApp) -> Self {
        Self::with(app, ADMIN_KEY)
    }

    pub fn with(app: &'a TestApp, credential: &str) -> Self {
        Self {
            app,
            credential: credential.into(),
        }
    }

    /// Somebody with a new key and these grants, each ROLE, DB and COLLECTION.
    pub async fn new(app: &'a TestApp, name: &str, grants: &[(&str, &str, &str)]) -> Self {
        let grants: Vec<Value> = grants
            .iter()
            .map(|(role, db, collection)| json!({"role": role, "db_name": db, "collection_name": collection}))
            .collect();
        let body = json!({"name": name, "grants": grants});
        let made = Self::admin(app).post("/v1/keys", &body).await.created();
        Self::with(app, made.json["key"].as_str().expect("a key"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.credential));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |b| Body::from(b.to_string()));
        self.app.send(request.body(body).expect("a request")).await
    }

    /// A small collection of the caller's own, with ids given out by the service, a position, and a
    /// segment whose files are in the storage; gives the collection's id.
    pub async fn collection_with_segment(&self, db: &str, name: &str, segment: i64) -> i64 {
        let body = json!({"name": name, "db_name": db, "fields": [
            {"field_id": "100", "name": "id", "data_type": "Int64", "is_primary_key": true}]});
        let made = self.post("/v1/collections", &body).await.created().json;
        let id = made["collection_id"].as_str().expect("an id").to_string();
        let channel = made["channels"][0]["channel_name"].as_str().expect("a channel").to_string();
        let at = format!("/v1/collections/{name}/channels/{channel}?db_name={db}");
        self.put(&at, &json!({"seek_position": {"timestamp": "1000"}})).await.ok();
        let segment = own_segment(self.app, &id, &channel, segment).await;
        let at = format!("/v1/collections/{name}/segments?db_name={db}");
        self.post(&at, &segment).await.created();
        id.parse().expect("a number")
    }
}

/// Writes the one file of a segment and gives its body.
pub async fn own_segment(app: &TestApp, collection: &str, channel: &str, segment: i64) -> Value {
    let path = format!("collections/{collection}/segments/{segment}/100/1");
    let content = format!("rows of {segment}").into_bytes();
    let size = content.len();
    app.objects.put_many(vec![(path.clone(), content)]).await.expect("written");
    json!({"segment_id": segment.to_string(), "partition_name": "_default", "channel_name": channel, "num_of_rows": 1,
        "start_position": {"timestamp": "10"},
        "binlogs": [{"field_id": "100", "logs": [{"log_id": "1", "path": path, "size_bytes": size, "entries_num": 1}]}]})
}

/// Looks until there is something to see; far longer than anything here takes.
pub async fn soon<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), look)
        .await
        .expect("it comes in time")
}
