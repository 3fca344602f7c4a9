//! Rules of requests that the Rust types don't carry, so that generated clients and testers know
//! them before they send.

use utoipa::openapi::path::{ParameterIn, PathItem};
use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// The rule of names, see `domain::name`.
pub const NAME: &str = "^[A-Za-z_][A-Za-z0-9_$.-]{0,254}$";
const CONSISTENCY_LEVEL: &str = "^(Strong|Session|Bounded|Eventually|Customized)$";
const ID: &str = "^[0-9]{1,19}$";
const TEN_YEARS: i64 = 315_360_000;
const HOUR_MS: i64 = 3_600_000;

enum Rule {
    Name,
    Pattern(&'static str),
    /// Characters, from one.
    Text(usize),
    /// Not negative; from, to, and whether `null` is taken.
    Number(i64, i64, bool),
}

const RULES: &[(&str, &str, Rule)] = &[
    ("ChangeCollectionRequest", "name", Rule::Name),
    ("CreateAliasRequest", "alias", Rule::Name),
    (
        "CreateCollectionRequest",
        "consistency_level",
        Rule::Pattern(CONSISTENCY_LEVEL),
    ),
    ("CreateCollectionRequest", "name", Rule::Name),
    ("CreateDatabaseRequest", "name", Rule::Name),
    ("CreateKeyRequest", "name", Rule::Name),
    ("CreateKeyRequest", "ttl_seconds", Rule::Number(1, TEN_YEARS, true)),
    ("CreatePinRequest", "owner", Rule::Text(255)),
    ("CreatePinRequest", "ttl_seconds", Rule::Number(1, TEN_YEARS, true)),
    ("CreateSnapshotRequest", "flush_timeout_ms", Rule::Number(0, HOUR_MS, false)),
    ("CreateSnapshotRequest", "snapshot_name", Rule::Name),
    ("FlushRequest", "timeout_ms", Rule::Number(0, HOUR_MS, false)),
    ("HoldRequest", "owner", Rule::Text(255)),
    ("IndexBody", "index_name", Rule::Name),
    ("PartitionBody", "name", Rule::Name),
    ("RestoreSnapshotRequest", "collection_name", Rule::Name),
    ("StartGcRunRequest", "grace_seconds", Rule::Number(0, TEN_YEARS, true)),
    (
        "StartGcRunRequest",
        "orphan_tolerance_seconds",
        Rule::Number(0, TEN_YEARS, true),
    ),
];

/// Adds the rules to the document.
///
/// # Panics
/// When a rule names what the document does not have; a test makes the document.
pub fn add(document: &mut OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (name, property, rule) in RULES {
        let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(*name) else {
            panic!("the document has no object {name}");
        };
        let property = schema.properties.get_mut(*property);
        apply(rule, property.unwrap_or_else(|| panic!("{name} has no such property")));
    }
    for item in document.paths.paths.values_mut() {
        parameters(item);
    }
}

fn apply(rule: &Rule, property: &mut RefOr<Schema>) {
    if let Rule::Number(from, to, nullable) = rule {
        let mut types = vec![Type::Integer];
        types.extend(nullable.then_some(Type::Null));
        let (description, default) = said(property);
        let number = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter(types))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(*from))
            .maximum(Some(*to))
            .description(description)
            .default(default);
        *property = RefOr::T(number.build().into());
    } else if let Some(text) = object(property) {
        match rule {
            Rule::Name => text.pattern = Some(NAME.into()),
            Rule::Pattern(pattern) => text.pattern = Some((*pattern).into()),
            Rule::Text(most) => (text.min_length, text.max_length) = (Some(1), Some(*most)),
            Rule::Number(..) => {}
        }
    }
}

fn object(schema: &mut RefOr<Schema>) -> Option<&mut Object> {
    match schema {
        RefOr::T(Schema::Object(object)) => Some(object),
        _ => None,
    }
}

/// What a schema already says of itself.
fn said(schema: &RefOr<Schema>) -> (Option<String>, Option<serde_json::Value>) {
    match schema {
        RefOr::Ref(of) => (Some(of.description.clone()).filter(|d| !d.is_empty()), None),
        RefOr::T(Schema::Object(object)) => (object.description.clone(), object.default.clone()),
        RefOr::T(Schema::OneOf(one)) => {
            let inner = one.items.iter().find_map(|i| said(i).0);
            (one.description.clone().or(inner), one.default.clone())
        }
        RefOr::T(_) => (None, None),
    }
}

/// Ids in the query are written as in bodies.
fn parameters(item: &mut PathItem) {
    let operations = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.patch,
        &mut item.delete,
    ];
    for parameter in operations
        .into_iter()
        .flatten()
        .flat_map(|o| o.parameters.iter_mut().flatten())
    {
        if let RefOr::T(parameter) = parameter
            && matches!(parameter.parameter_in, ParameterIn::Query)
            && parameter.name.ends_with("_id")
            // whatever text the caller sent
            && parameter.name != "request_id"
            && let Some(schema) = parameter.schema.as_mut().and_then(object)
        {
            schema.pattern = Some(ID.into());
        }
    }
}
