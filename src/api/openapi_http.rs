//! What the document says of conditions, entity tags and idempotency keys: the same for every
//! operation of a kind, so it is said here.

use std::collections::BTreeMap;

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, ResponseBuilder};

use super::idempotency::takes_key;
use crate::domain::Code;

const KEY: &str = "idempotency-key";
const IF_MATCH: &str = "if-match";
const IF_NONE_MATCH: &str = "if-none-match";
const REQUEST_ID: &str = "x-request-id";
const RETRY_AFTER: &str = "retry-after";
const REPLAYED: &str = "idempotent-replayed";

/// Adds the headers of an operation, and the answers that they lead to.
pub fn describe(path: &str, item: &mut PathItem) {
    let tagged = item.get.as_ref().is_some_and(|get| path.starts_with("/v1/") && has_tag(get));
    if let Some(get) = item.get.as_mut().filter(|_| tagged) {
        add(
            get,
            header(
                IF_NONE_MATCH,
                "Entity tags that the client has: 304 when one of them is still right.",
                None,
            ),
        );
        if let Some(RefOr::T(ok)) = get.responses.responses.get_mut("200") {
            let tag = HeaderBuilder::new()
                .schema(Some(text(None)))
                .description(Some("Entity tag of the answer, for If-None-Match and If-Match."))
                .build();
            ok.headers.insert("etag".into(), tag.into());
        }
        let unchanged = ResponseBuilder::new()
            .description("Unchanged: one of the tags is still right")
            .build();
        get.responses.responses.insert("304".into(), RefOr::T(unchanged));
    }
    if tagged {
        let changes = [&mut item.put, &mut item.patch, &mut item.delete];
        for operation in changes.into_iter().flatten() {
            let text = "Entity tags of GET with the same query: 412 when the resource has another one by now.";
            add(operation, header(IF_MATCH, text, None));
        }
        if let Some(put) = &mut item.put {
            let text = "`*`: 412 when the resource is there, so that nothing is replaced; entity tags: when it has one of them.";
            add(put, header(IF_NONE_MATCH, text, None));
        }
    }
    if let Some(post) = item.post.as_mut().filter(|_| takes_key("POST", path)) {
        let text = "A name of this call that the client makes up: the same call with the same key is answered as before, for 24 hours, and has no effect of its own.";
        add(post, header(KEY, text, Some("^[!-~]{1,255}$")));
    }
}

/// Headers of answers that are the same wherever they occur, by name: what the document refers to.
pub fn answer_headers() -> BTreeMap<String, RefOr<Header>> {
    let of = |schema: ObjectBuilder, description: &str| {
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(description));
        RefOr::T(header.build())
    };
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let replayed = text(None).enum_values(Some(["true"]));
    BTreeMap::from([
        (
            REQUEST_ID.to_string(),
            of(
                text(None),
                "The request's id: what the client sent, where that is fit for one, else a new one.",
            ),
        ),
        (
            RETRY_AFTER.to_string(),
            of(seconds, "Seconds after which it is worth trying again."),
        ),
        (
            REPLAYED.to_string(),
            of(
                replayed,
                "There when this is the answer of an earlier call with the same idempotency-key.",
            ),
        ),
    ])
}

/// Says which headers the answers of an operation have.
pub fn describe_answers(operation: &mut Operation) {
    let keyed = operation.parameters.iter().flatten();
    let keyed = keyed.into_iter().any(|p| matches!(p, RefOr::T(p) if p.name == KEY));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let mut has = |name: &str| {
            let reference = Ref::new(format!("#/components/headers/{name}"));
            response.headers.insert(name.into(), RefOr::Ref(reference));
        };
        has(REQUEST_ID);
        match status.as_str() {
            "429" | "503" => has(RETRY_AFTER),
            // the call that has the key may have ended by then
            "409" if keyed => has(RETRY_AFTER),
            success if keyed && success.starts_with('2') => has(REPLAYED),
            _ => {}
        }
    }
}

/// Whether the answer is one JSON document, made as a whole.
fn has_tag(get: &Operation) -> bool {
    !matches!(
        get.operation_id.as_deref(),
        Some("stream_restore_events" | "stream_export_events" | "get_restore_receipt")
    )
}

/// The codes that an operation may answer because of its headers.
pub fn codes(operation: &Operation) -> Vec<Code> {
    let mut codes = Vec::new();
    for parameter in operation.parameters.iter().flatten() {
        match parameter {
            RefOr::T(p) if p.name == KEY => codes.extend([Code::IdempotencyKeyReused, Code::IdempotencyKeyInUse]),
            _ => {}
        }
    }
    codes
}

fn text(pattern: Option<&str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(pattern)
}

fn header(name: &str, description: &str, pattern: Option<&str>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text(pattern)))
        .build()
}

fn add(operation: &mut Operation, parameter: Parameter) {
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
}
