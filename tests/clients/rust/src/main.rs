//! The whole way by the client that progenitor makes: stillframe-client-rust URL CATALOG [KEY].
//!
//! As tests/clients/python/whole_way.py.

/// What the build script made.
#[allow(warnings, clippy::all, clippy::pedantic, rustdoc::all)]
mod stillframe {
    include!(concat!(env!("OUT_DIR"), "/stillframe.rs"));
}

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use stillframe::types::{ChangeSnapshotRequest, CreateSnapshotRequest, Id, JobStateText, Problem, RestoreSnapshotRequest};
use stillframe::{ByteStream, Client, Error};

type Failed = Box<dyn std::error::Error>;

/// The problem document of a refused call: progenitor knows only `application/json`, and hands any other answer on unread.
async fn problem<T: std::fmt::Debug>(answer: Result<T, Error<ByteStream>>) -> Result<Problem, Failed> {
    match answer {
        Err(Error::ErrorResponse(refusal)) => {
            let mut stream = refusal.into_inner_stream();
            let mut bytes = Vec::new();
            while let Some(part) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
                bytes.extend_from_slice(&part?);
            }
            Ok(serde_json::from_slice(&bytes)?)
        }
        other => Err(format!("{other:?} is no refusal").into()),
    }
}

/// The catalog's JSON as a type of the document.
fn body<T: DeserializeOwned>(value: &Value) -> Result<T, Failed> {
    Ok(serde_json::from_value(value.clone())?)
}

fn client(url: &str, key: Option<&str>) -> Result<Client, Failed> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?);
    }
    let http = reqwest::Client::builder().no_proxy().default_headers(headers).build()?;
    Ok(Client::new_with_client(url, http))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, catalog, key @ ..] = args.as_slice() else {
        return Err("usage: stillframe-client-rust URL CATALOG [KEY]".into());
    };
    let key = key.first().map(String::as_str);
    let catalog: Value = serde_json::from_str(&std::fs::read_to_string(catalog)?)?;
    if key.is_some() {
        let stranger = problem(client(url, None)?.list_snapshots().send().await).await?;
        assert_eq!(stranger.status, 401);
    }
    let client = client(url, key)?;

    let request: stillframe::types::CreateCollectionRequest = body(&catalog["collection"])?;
    let id = catalog["collection"]["collection_id"].as_str().ok_or("no id")?;
    assert!(id.parse::<i64>()? > 1 << 53, "an id that a number of JavaScript can't hold");
    let collection = client.create_collection().body(request).send().await?.into_inner();
    assert_eq!(collection.collection_id.to_string(), id);
    let name = collection.name;
    for index in catalog["indexes"].as_array().ok_or("no indexes")? {
        let index: stillframe::types::IndexBody = body(index)?;
        client.create_index().collection_name(&name).body(index).send().await?;
    }
    let segments = serde_json::json!({"segments": catalog["segments"]});
    let segments: stillframe::types::RegisterSegmentsRequest = body(&segments)?;
    let registered = client
        .register_segments()
        .collection_name(&name)
        .body(segments)
        .send()
        .await?;
    assert_eq!(registered.file_count.0, 48);
    for segment in catalog["segments"].as_array().ok_or("no segments")? {
        let id: Id = body(&segment["segment_id"])?;
        let seen = client
            .get_segment()
            .collection_name(&name)
            .segment_id(id.clone())
            .send()
            .await?;
        assert_eq!(seen.segment_id, id);
    }

    let request = || {
        CreateSnapshotRequest::builder()
            .collection_name(&name)
            .snapshot_name("by_rust")
    };
    let create = || client.create_snapshot().body(request());
    let snapshot = create().idempotency_key("rust-1").send().await?;
    let again = create().idempotency_key("rust-1").send().await?;
    assert_eq!(
        (again.snapshot_id.clone(), snapshot.file_count.0),
        (snapshot.snapshot_id.clone(), 48)
    );
    assert_eq!(problem(create().send().await).await?.code, "snapshot_already_exists");
    assert_eq!(
        problem(client.get_snapshot().snapshot_name("nothing").send().await)
            .await?
            .status,
        404
    );

    let seen = client.get_snapshot().snapshot_name("by_rust").send().await?;
    let tag = seen.headers().get("etag").ok_or("no tag")?.to_str()?;
    let change = |tag: &str| {
        let note = ChangeSnapshotRequest::builder().description("seen".to_string());
        client
            .change_snapshot()
            .snapshot_name("by_rust")
            .if_match(tag)
            .body(note)
            .send()
    };
    change(tag).await?;
    assert_eq!(problem(change("\"stale\"").await).await?.code, "precondition_failed");
    let listed = client.list_snapshots().collection_name(&name).page_size(1).send().await?;
    assert_eq!(
        listed.items.iter().map(|s| s.description.as_str()).collect::<Vec<_>>(),
        ["seen"]
    );

    let target = RestoreSnapshotRequest::builder().collection_name("from_rust");
    let mut job = client
        .restore_snapshot()
        .snapshot_name("by_rust")
        .body(target)
        .send()
        .await?
        .into_inner();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !matches!(
        job.state,
        JobStateText::Completed | JobStateText::Failed | JobStateText::Cancelled
    ) {
        assert!(Instant::now() < deadline, "{job:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        job = client.get_restore_job().job_id(job.job_id).send().await?.into_inner();
    }
    assert_eq!((job.state, job.progress), (JobStateText::Completed, 100), "{:?}", job.reason);
    let restored = client.get_collection().collection_name("from_rust").send().await?;
    assert_eq!(restored.num_of_rows.0, 9000);

    assert_eq!(client.drop_snapshot().snapshot_name("by_rust").send().await?.status(), 204);
    for name in [name.as_str(), "from_rust"] {
        assert_eq!(client.drop_collection().collection_name(name).send().await?.status(), 204);
    }
    Ok(())
}
