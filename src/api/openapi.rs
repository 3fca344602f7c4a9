//! The OpenAPI document: its head, and the error responses of every operation.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use utoipa::openapi::content::Content;
use utoipa::openapi::example::Example;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Required, ResponseBuilder};
use utoipa::{OpenApi, ToSchema as _};
use utoipa_swagger_ui::SwaggerUi;

use super::problem::{Problem, ProblemField, status, type_uri};
use super::{openapi_30, openapi_http, openapi_rules};
use crate::domain::Code;
use crate::domain::access::{Access, needed};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stillframe",
        description = "Snapshots and restores for vector collections on object storage.\n\nIds and hybrid timestamps are strings, since JavaScript's numbers can't hold them; numbers are accepted in requests. Sizes are bytes, durations milliseconds, times RFC 3339. Errors are RFC 9457 problem documents with a stable `code`.\n\n# Limits\n\nThey are the defaults of settings where one is named. What is over one is answered by a problem document; only of the head (431) the answer has no body, and may be lost as the rest of the head is not read, and of connections there is none. A body has at most 64 MiB (`--max-body-bytes`; 413), also after decompression (`content-encoding: gzip` is taken); it is given up when in 30 seconds of waiting (`--body-timeout-seconds`; 408) fewer than 1 KiB for each of them have come. Bodies beyond 64 KiB share memory for four of the largest size, of which one client (its key or token, else its address) has no more than half; what finds no room in that time is refused (503 `overloaded`). JSON is read at most 127 deep, counted from the beginning of a body (400 `malformed_request`); where any JSON may stand (`default_value`, `extra`) it is nested at most 64 deep (422). What Milvus' REST v2 ignores may be nested at will. A page has at most 1000 entries (422). A call is answered within 300 seconds (`--request-timeout-seconds`; 504); waits that it asks for come on top. A client may send as many requests a second as `--rate-limit` says (429, with `Retry-After`), refused ones included; no limit without it; `/healthz`, `/readyz` and `/metrics` are not counted. A process serves 256 event streams, 64 of one client (503 `too_many_streams`). The head of a request has at most 64 KiB and 100 headers (431) and comes within 30 seconds (`--header-timeout-seconds`, else the connection is closed). A client takes some of its answer, 16 KiB or the rest, every 30 seconds (`--send-timeout-seconds`, else the connection is closed). There are at most 8192 connections (`--max-clients`), and half as many of one address (`--max-clients-per-address`): one more closes the one that has been idle longest, or is closed when all of them are busy. A connection of HTTP/2 has at most 200 requests at the same time. Over Milvus' gRPC and REST v2 a message has at most 4 MiB (code 1102 in its status or envelope), a request too many has code 8 over gRPC and 1807 over REST v2; the rest holds there too.\n\n# Conventions\n\nEvery GET has a HEAD. Answers are compressed for clients that accept gzip or br. `x-request-id` is taken over when it is 1 to 128 letters, digits, `-`, `_` and `.`, and is in every answer but that to a head which is too large (431). 503 and 429 carry `Retry-After`. Lists are stable under concurrent writes: an entry that is there from the first page to the last, and keeps what the list is sorted by, is seen exactly once. Collections are listed by name: one that is renamed meanwhile may be seen twice or not at all.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem, ProblemField)),
    tags(
        (name = "snapshots", description = "Create, list, describe, drop snapshots"),
        (name = "restores", description = "Restore snapshots into new collections"),
        (name = "exports", description = "Export snapshots as bundles, and restore bundles"),
        (name = "collections", description = "Collections, partitions, aliases"),
        (name = "engine", description = "What the engine reports: segments, index builds, positions"),
        (name = "databases", description = "Databases"),
        (name = "access", description = "API keys, and who did what"),
        (name = "operations", description = "Collector, webhooks, health, metrics")
    )
)]
struct Base;

/// The head of the document, to which routes add themselves.
pub fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The whole document.
pub fn document() -> utoipa::openapi::OpenApi {
    let (_, mut document) = super::routes().split_for_parts();
    openapi_rules::add(&mut document);
    let components = document.components.get_or_insert_default();
    components.examples = Code::ALL
        .iter()
        .map(|c| (c.as_str().to_string(), RefOr::T(example(*c))))
        .collect();
    components.headers = openapi_http::answer_headers();
    for (path, item) in &mut document.paths.paths {
        openapi_http::describe(path, item);
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        let [get, changes @ ..] = operations;
        get.iter_mut().for_each(|o| add_errors(o, false));
        changes.into_iter().flatten().for_each(|o| add_errors(o, true));
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ];
        operations.into_iter().flatten().for_each(openapi_http::describe_answers);
    }
    add_security(&mut document);
    document
}

/// A document as text, in OpenAPI 3.1, or in 3.0 for generators that need it.
pub fn text_of(document: &utoipa::openapi::OpenApi, as_30: bool) -> String {
    let text = if as_30 {
        let value = serde_json::to_value(document).map(|d| openapi_30::converted(&d));
        value.and_then(|v| serde_json::to_string_pretty(&v))
    } else {
        document.to_pretty_json()
    };
    text.expect("the document is made of texts, numbers and maps")
}

/// Says how callers show who they are. A service without authentication needs nothing, hence the
/// empty alternative.
fn add_security(document: &mut utoipa::openapi::OpenApi) {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key, or a token of the OpenID provider"))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let none: [&str; 0] = [];
    document.security = Some(vec![SecurityRequirement::new("bearer", none), SecurityRequirement::default()]);
}

/// The id of an operation; none when there is no such operation.
pub fn operation_id(method: &str, path: &str) -> Option<&'static str> {
    type Operations = HashMap<String, HashMap<&'static str, String>>;
    static KNOWN: LazyLock<Operations> = LazyLock::new(|| {
        let document = super::routes().split_for_parts().1;
        let ids = document.paths.paths.into_iter().map(|(path, item)| {
            let operations = [
                ("GET", item.get),
                ("PUT", item.put),
                ("POST", item.post),
                ("PATCH", item.patch),
                ("DELETE", item.delete),
            ];
            let ids = operations
                .into_iter()
                .filter_map(|(m, o)| o.and_then(|o| o.operation_id).map(|id| (m, id)));
            (path, ids.collect())
        });
        ids.collect()
    });
    KNOWN.get(path)?.get(method).map(String::as_str)
}

/// A document and the Swagger UI, both served from the binary.
pub fn docs(document: utoipa::openapi::OpenApi) -> Router {
    // one text for all answers, however slowly they are taken
    let text = axum::body::Bytes::from(text_of(&document, false));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(tag) = HeaderValue::from_str(&super::conditional::tag_of(&text)) {
        headers.insert(header::ETAG, tag);
    }
    let json = move || {
        let answer = (headers.clone(), text.clone());
        async move { answer }
    };
    Router::new()
        .route("/openapi.json", axum::routing::get(json))
        .merge(SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::new(["/openapi.json"])))
}

/// Names of the query parameters of an operation; none when there is no such operation.
pub fn query_parameters(method: &str, path: &str) -> Option<&'static [String]> {
    type Operations = HashMap<(String, String), Vec<String>>;
    static KNOWN: LazyLock<Operations> = LazyLock::new(|| {
        let document = super::routes().split_for_parts().1;
        let mut known = Operations::new();
        for (path, item) in document.paths.paths {
            let operations = [
                ("GET", item.get),
                ("PUT", item.put),
                ("POST", item.post),
                ("PATCH", item.patch),
                ("DELETE", item.delete),
            ];
            for (method, operation) in operations.into_iter().filter_map(|(m, o)| o.map(|o| (m, o))) {
                let parameters = operation.parameters.unwrap_or_default().into_iter().filter_map(|p| match p {
                    RefOr::T(p) if matches!(p.parameter_in, ParameterIn::Query) => Some(p.name),
                    _ => None,
                });
                known.insert((method.to_string(), path.clone()), parameters.collect());
            }
        }
        known
    });
    KNOWN.get(&(method.to_string(), path.to_string())).map(Vec::as_slice)
}

const DB: &[Code] = &[Code::DatabaseNotFound];
const COLLECTION: &[Code] = &[Code::DatabaseNotFound, Code::CollectionNotFound];
/// Of what changes a collection.
const CHANGED: &[Code] = &[
    Code::DatabaseNotFound,
    Code::CollectionNotFound,
    Code::CollectionBeingMaterialized,
];
const SNAPSHOT: &[Code] = &[
    Code::DatabaseNotFound,
    Code::CollectionNotFound,
    Code::SnapshotNotFound,
    Code::SnapshotNameAmbiguous,
];
const FILES: &[Code] = &[
    Code::InvalidPath,
    Code::FileMissing,
    Code::FileSizeMismatch,
    Code::UnsupportedStorageVersion,
    Code::IndexBuildAlreadyExists,
];
const STORAGE: &[Code] = &[Code::StorageAccessDenied, Code::InsufficientStorage, Code::StorageUnavailable];

/// The codes that an operation may answer beside those that every operation may.
fn own_codes(operation: &str) -> Vec<&'static [Code]> {
    use Code::*;
    match operation {
        "create_database" => vec![&[DatabaseAlreadyExists]],
        "get_database" | "list_collections" => vec![DB],
        "drop_database" => vec![DB, &[DatabaseNotEmpty]],
        "create_collection" => vec![DB, &[CollectionAlreadyExists, PartitionAlreadyExists]],
        "get_collection" | "list_partitions" | "list_channels" | "list_indexes" | "list_aliases" => vec![COLLECTION],
        "flush_collection" => vec![CHANGED],
        "materialize_collection" => vec![CHANGED, &[CollectionNotExternal, CollectionNotReady]],
        "change_collection" => vec![CHANGED, &[CollectionAlreadyExists]],
        "drop_collection" => {
            vec![
                CHANGED,
                &[SnapshotBeingRestored, SnapshotBeingExported, SnapshotHeld, SnapshotPinned],
            ]
        }
        "create_partition" => vec![CHANGED, &[PartitionAlreadyExists]],
        "get_partition" | "list_segments" => vec![COLLECTION, &[PartitionNotFound]],
        "drop_partition" => vec![CHANGED, &[PartitionNotFound, PartitionRequired]],
        "create_alias" | "move_alias" => vec![CHANGED, &[AliasAlreadyExists]],
        "get_alias" | "drop_alias" => vec![DB, &[AliasNotFound]],
        "report_channel" => vec![COLLECTION, &[ChannelNotFound]],
        "create_index" => vec![CHANGED, &[IndexAlreadyExists]],
        "get_index" => vec![COLLECTION, &[IndexNotFound]],
        "drop_index" => vec![CHANGED, &[IndexNotFound]],
        "register_segment" | "register_segments" => vec![CHANGED, FILES, STORAGE, &[SegmentAlreadyExists]],
        "get_segment" => vec![COLLECTION, &[SegmentNotFound]],
        "drop_segment" => vec![CHANGED, &[SegmentNotFound]],
        "change_segment" => vec![CHANGED, FILES, STORAGE, &[SegmentNotFound, SegmentState]],
        "register_index_build" => vec![CHANGED, FILES, STORAGE, &[SegmentNotFound]],
        "compact_segments" => vec![CHANGED, FILES, STORAGE, &[SegmentNotFound, SegmentAlreadyExists]],
        "list_snapshots" => vec![DB],
        "create_snapshot" => {
            vec![
                CHANGED,
                STORAGE,
                &[
                    ChannelWithoutPosition,
                    FlushTimeout,
                    SnapshotAlreadyExists,
                    SnapshotInterrupted,
                ],
            ]
        }
        "adopt_snapshots" => vec![
            DB,
            FILES,
            STORAGE,
            &[
                FileChanged,
                SnapshotNotFound,
                UnreadableSnapshot,
                CollectionAlreadyExists,
                PartitionAlreadyExists,
                SegmentAlreadyExists,
                SnapshotAlreadyExists,
            ],
        ],
        "get_snapshot"
        | "change_snapshot"
        | "list_snapshot_segments"
        | "list_pins"
        | "create_pin"
        | "get_snapshot_usage"
        | "simulate_drop" => vec![SNAPSHOT],
        "drop_snapshot" => {
            vec![
                SNAPSHOT,
                &[
                    SnapshotBeingRestored,
                    SnapshotBeingExported,
                    SnapshotHeld,
                    SnapshotPinned,
                    CollectionBeingMaterialized,
                ],
            ]
        }
        "undelete_snapshot" => vec![SNAPSHOT, &[SnapshotAlreadyExists, CollectionBeingMaterialized]],
        "delete_pin" => vec![SNAPSHOT, &[PinNotFound]],
        "get_usage" => vec![DB],
        "explain_object" => vec![STORAGE],
        "restore_snapshot" => vec![
            SNAPSHOT,
            &[
                CollectionAlreadyExists,
                PartitionNotFound,
                PartitionRequired,
                AliasAlreadyExists,
            ],
        ],
        "plan_restore" | "verify_snapshot" => vec![SNAPSHOT, STORAGE],
        "get_restore_receipt" => vec![STORAGE, &[RestoreJobNotFound, ReceiptNotFound]],
        "list_restore_jobs" => vec![DB],
        "get_restore_job" | "list_restore_tasks" => vec![&[RestoreJobNotFound]],
        "get_key" | "delete_key" => vec![&[KeyNotFound]],
        "create_key" => vec![&[KeyAlreadyExists]],
        "get_gc_run" | "list_gc_run_items" => vec![&[GcRunNotFound]],
        "stream_restore_events" => vec![&[RestoreJobNotFound, TooManyStreams]],
        "change_restore_job" | "pause_restore_job" | "resume_restore_job" | "cancel_restore_job" => {
            vec![&[RestoreJobNotFound, RestoreJobEnded]]
        }
        "export_snapshot" => vec![SNAPSHOT, &[StorageUnavailable]],
        "list_export_jobs" => vec![DB],
        "get_export_job" | "list_export_tasks" => vec![&[ExportJobNotFound]],
        "stream_export_events" => vec![&[ExportJobNotFound, TooManyStreams]],
        "change_export_job" | "pause_export_job" | "resume_export_job" | "cancel_export_job" => {
            vec![&[ExportJobNotFound, ExportJobEnded]]
        }
        "restore_external_snapshot" => vec![
            DB,
            STORAGE,
            &[
                ExternalSnapshotNotFound,
                InvalidExternalSnapshot,
                CollectionAlreadyExists,
                PartitionNotFound,
                PartitionRequired,
            ],
        ],
        "readyz" => vec![STORAGE],
        "create_webhook" => vec![&[WebhooksDisabled, TooManyWebhooks]],
        "get_webhook" | "delete_webhook" | "list_webhook_deliveries" => vec![&[WebhookNotFound]],
        "replay_webhook_delivery" => vec![&[WebhookNotFound, WebhookDeliveryNotFound]],
        "start_gc_run" => vec![STORAGE, &[GcRunInProgress]],
        _ => vec![],
    }
}

fn codes(operation: &Operation, changes: bool) -> Vec<Code> {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    let mut codes = own_codes(id).concat();
    if !matches!(id, "healthz" | "metrics") {
        codes.extend([Code::DatabaseUnavailable, Code::RequestTimeout]);
    }
    if !matches!(id, "healthz" | "readyz" | "metrics") {
        codes.extend([Code::RateLimited, Code::PreconditionFailed]);
    }
    codes.extend(openapi_http::codes(operation));
    // an unknown query parameter is refused everywhere
    codes.extend([Code::Internal, Code::InvalidRequest]);
    if needed(id).is_none_or(|access| access != Access::Open) {
        codes.extend([Code::Unauthenticated, Code::PermissionDenied, Code::HostNotAllowed]);
        codes.extend(changes.then_some(Code::CrossSiteRequest));
    }
    if operation.request_body.is_some() {
        codes.extend([
            Code::MalformedRequest,
            Code::InvalidRequest,
            Code::UnsupportedMediaType,
            Code::PayloadTooLarge,
            Code::BodyTimeout,
            Code::Overloaded,
        ]);
    }
    let in_head =
        |p: &RefOr<utoipa::openapi::path::Parameter>| matches!(p, RefOr::T(p) if matches!(p.parameter_in, ParameterIn::Header));
    if operation.parameters.iter().flatten().any(|p| !in_head(p)) {
        codes.extend([Code::MalformedRequest, Code::InvalidRequest]);
    }
    if operation
        .parameters
        .iter()
        .flatten()
        .any(|p| matches!(p, RefOr::T(p) if p.name == "page_token"))
    {
        codes.push(Code::InvalidPageToken);
    }
    codes.sort_by_key(|c| c.as_str());
    codes.dedup();
    codes
}

/// Operations whose body may be left out.
const OPTIONAL_BODIES: &[&str] = &["flush_collection", "materialize_collection", "start_gc_run"];

fn add_errors(operation: &mut Operation, changes: bool) {
    let id = operation.operation_id.as_deref().unwrap_or_default();
    if needed(id) == Some(Access::Open) {
        operation.security = Some(Vec::new());
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && operation
            .operation_id
            .as_deref()
            .is_some_and(|id| OPTIONAL_BODIES.contains(&id))
    {
        body.required = Some(Required::False);
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes(operation, changes) {
        by_status.entry(status(code).as_u16()).or_default().push(code);
    }
    for (number, codes) in by_status {
        let lines: Vec<String> = codes.iter().map(|c| format!("`{}`: {}", c.as_str(), c.title())).collect();
        let mut content = Content::new(Some(RefOr::Ref(Ref::from_schema_name(Problem::name()))));
        content.examples = codes
            .iter()
            .map(|c| (c.as_str().to_string(), RefOr::Ref(example_ref(*c))))
            .collect();
        let response = ResponseBuilder::new()
            .description(lines.join("; "))
            .content("application/problem+json", content)
            .build();
        operation.responses.responses.insert(number.to_string(), RefOr::T(response));
    }
}

fn example_ref(code: Code) -> Ref {
    Ref::new(format!("#/components/examples/{}", code.as_str()))
}

fn example(code: Code) -> Example {
    let mut example = Example::new();
    example.value = Some(serde_json::json!({
        "type": type_uri(code), "title": code.title(), "status": status(code).as_u16(), "detail": code.title(),
        "instance": "/v1/…", "code": code.as_str(), "request_id": "0193a1de-8c5b-7bb2-a7a4-1f0b6b1f3c11"
    }));
    example
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_an_id_a_summary_a_tag_and_examples() {
        let document = serde_json::to_value(document()).expect("serializes");
        let schemas = &document["components"]["schemas"];
        let mut seen = std::collections::HashSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let at = format!("{method} {path}");
                let id = operation["operationId"].as_str().unwrap_or_default();
                assert!(!id.is_empty() && seen.insert(id.to_string()), "{at}: operation id {id:?}");
                assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{at}: summary");
                assert!(operation["tags"][0].is_string(), "{at}: tag");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    assert!(
                        parameter["description"].is_string(),
                        "{at}: description of {}",
                        parameter["name"]
                    );
                }
                let bodies = std::iter::once(&operation["requestBody"])
                    .chain(operation["responses"].as_object().expect("responses").values());
                for content in bodies.filter_map(|b| b["content"].as_object()).flat_map(|c| c.values()) {
                    assert!(has_example(content, schemas), "{at}: no example in {content}");
                }
            }
        }
    }

    /// Of two types with one name the document would have one, for both.
    #[test]
    fn no_two_schemas_have_one_name() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api");
        let mut seen = HashMap::new();
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            for (at, _) in text.match_indices("ToSchema)]") {
                let mut words = text[at..].split_whitespace().skip_while(|w| !matches!(*w, "struct" | "enum"));
                let Some(name) = words.nth(1) else { continue };
                let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
                if let Some(other) = seen.insert(name.clone(), path.clone()) {
                    panic!("{name} is in {} and in {}", other.display(), path.display());
                }
            }
        }
        assert!(seen.len() > 60, "{}", seen.len());
    }

    fn has_example(content: &serde_json::Value, schemas: &serde_json::Value) -> bool {
        !content["example"].is_null() || !content["examples"].is_null() || schema_has_example(&content["schema"], schemas)
    }

    fn schema_has_example(schema: &serde_json::Value, schemas: &serde_json::Value) -> bool {
        if !schema["examples"].is_null() || !schema["example"].is_null() {
            return true;
        }
        if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
            return schema_has_example(&schemas[name], schemas);
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        parts
            .chain([&schema["properties"]["items"]["items"]])
            .any(|part| !part.is_null() && schema_has_example(part, schemas))
    }
}
