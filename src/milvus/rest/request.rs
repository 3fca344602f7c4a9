//! Requests: a JSON body, and two headers.

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::answer::{Failed, Int64};
use super::nulls;
use super::passage::Guarded;
use crate::domain::access::{Named, Touched};
use crate::milvus::names;
use crate::milvus::status::{Refusal, code};

/// Names the database where the body does not.
const DB_NAME: HeaderName = HeaderName::from_static("db-name");
/// Asks for 64-bit integers as numbers.
const ALLOW_INT64: HeaderName = HeaderName::from_static("accept-type-allow-int64");
/// What Go's `strconv.ParseBool`, by which Milvus goes, takes for true.
const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];

/// A body of a call.
pub trait Fields: DeserializeOwned {
    /// Fields that must not be missing or empty: their names and what they hold.
    fn required(&self) -> Vec<(&'static str, &str)>;
}

/// A call with its body.
#[derive(Debug)]
pub struct Call<T> {
    pub body: T,
    db_name: Option<String>,
    as_numbers: bool,
}

impl<T> Call<T> {
    /// The database of the call; `in_body` is what its body says.
    pub fn db<'a>(&'a self, in_body: &'a str) -> &'a str {
        names::database(in_body, self.db_name.as_deref())
    }

    /// The same, and none when the call names no database at all.
    pub fn db_if_named<'a>(&'a self, in_body: &'a str) -> Option<&'a str> {
        [in_body, self.db_name.as_deref().unwrap_or_default()]
            .into_iter()
            .find(|name| !name.is_empty())
    }

    /// A 64-bit integer in the form that the request wants.
    pub fn int64(&self, value: i64) -> Int64 {
        Int64 {
            value,
            as_number: self.as_numbers,
        }
    }
}

impl<T: Fields> FromRequest<Guarded> for Call<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, Guarded(facade): &Guarded) -> Result<Self, Failed> {
        let db_name = text(request.headers(), &DB_NAME);
        let as_numbers = text(request.headers(), &ALLOW_INT64).is_some_and(|text| TRUE.contains(&text.as_str()));
        is_json(request.headers())?;
        let limit = facade.settings.message_bytes();
        let bytes = to_bytes(request.into_body(), limit).await.map_err(|_| {
            let why = format!("the request body could not be read, or has more than {limit} bytes");
            Refusal::new(code::PARAMETER_TOO_LARGE, why)
        })?;
        let body = parse::<T>(&bytes)?;
        if let Some((name, _)) = body.required().into_iter().find(|(_, text)| text.is_empty()) {
            let why = format!("missing required parameters, error: field {name} is required");
            return Err(Refusal::new(code::MISSING_BODY_FIELD, why).into());
        }
        Ok(Self {
            body,
            db_name,
            as_numbers,
        })
    }
}

/// Refuses a body of which the request says that it is no JSON, or that a browser sends without saying what it is: such
/// requests need no permission, so any page may send them. Programs that leave the header out are taken.
fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let said = headers.get(header::CONTENT_TYPE);
    let of_a_browser = ["origin", "sec-fetch-site"]
        .into_iter()
        .any(|name| headers.contains_key(name));
    let fit = match said.map(|v| v.to_str().unwrap_or_default()) {
        None => !of_a_browser,
        Some(text) => {
            let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
        }
    };
    let why = "can only accept json format request, error: the Content-Type must be application/json";
    fit.then_some(()).ok_or_else(|| Refusal::new(code::BAD_JSON, why))
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_string)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let not_json = |why: String| Refusal::new(code::BAD_JSON, format!("can only accept json format request, error: {why}"));
    nulls::from_slice(bytes).map_err(|e| not_json(e.to_string()))
}

/// What a call names that is not let in.
pub fn named(operation: &str, headers: &HeaderMap, bytes: &[u8]) -> Touched {
    let in_header = text(headers, &DB_NAME);
    let db_name = names::database("", in_header.as_deref());
    let mut named = Named::of(operation);
    named.add_json(bytes, db_name);
    named.in_database(db_name);
    named.touched()
}

/// An id as a decimal string; a number is accepted all the same.
pub fn id_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(i64),
        Text(String),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::Number(number) => number.to_string(),
        Form::Text(text) => text,
    })
}

/// Reads an id.
///
/// # Errors
/// Milvus' text for one that is no positive number.
pub fn positive(name: &str, text: &str) -> Result<i64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id > 0)
        .ok_or_else(|| Refusal::invalid(format!("{name} must be a positive decimal int64, got {text:?}")))
}
