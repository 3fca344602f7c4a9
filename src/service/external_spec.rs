//! `external_spec`: how a request reaches another store (facts §6.6), the section `extfs` of a JSON
//! object. Only what can be held to is accepted; everything else is refused by its name, and no value
//! is ever repeated.

use serde_json::{Map, Value};

use crate::domain::{Error, Result};
use crate::objects::Credentials;

/// What a request says about another store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalSpec {
    /// A static key; none: the request relies on a store of the configuration.
    pub credentials: Option<Credentials>,
    pub region: Option<String>,
    pub use_ssl: Option<bool>,
    pub virtual_host_style: Option<bool>,
}

/// Milvus' keys that are refused, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "iam_endpoint",
        "the service asks no host for credentials that a request names",
    ),
    ("ssl_ca_cert", "certificates are a matter of the service's own machine"),
    ("credential_json", "only S3 stores with an access key are supported"),
    ("role_arn", "roles are not assumed; name the store in the configuration"),
    ("session_token", "temporary credentials would end before the job"),
];

const AT: &str = "/external_spec";
/// Characters of a key at most.
const MAX_SECRET: usize = 1024;

impl ExternalSpec {
    /// Reads the JSON text that Milvus' clients send; an empty one says nothing.
    ///
    /// # Errors
    /// As [`ExternalSpec::from_json`].
    pub fn from_text(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // the parser's own error may quote what stands there
        let value = serde_json::from_str(text).map_err(|_| Error::invalid(AT, "is no JSON"))?;
        Self::from_json(value)
    }

    /// Reads the JSON object, with or without the section `extfs` around.
    ///
    /// # Errors
    /// `invalid_request`, naming the key.
    pub fn from_json(value: Value) -> Result<Self> {
        let Value::Object(mut keys) = value else {
            return match value {
                Value::Null => Ok(Self::default()),
                Value::String(text) => Self::from_text(&text),
                _ => Err(Error::invalid(AT, "must be a JSON object")),
            };
        };
        match keys.remove("extfs") {
            None => Self::from_keys(keys, AT),
            Some(Value::Object(section)) if keys.is_empty() => Self::from_keys(section, "/external_spec/extfs"),
            Some(_) => Err(Error::invalid(AT, "must have the object \"extfs\" and nothing else")),
        }
    }

    fn from_keys(keys: Map<String, Value>, at: &str) -> Result<Self> {
        let mut spec = Self::default();
        let (mut id, mut secret, mut use_iam) = (None, None, false);
        for (key, value) in keys {
            let shown: String = key.chars().take(64).collect();
            let here = format!("{at}/{}", shown.replace('~', "~0").replace('/', "~1"));
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
                return Err(Error::invalid(here, format!("is not supported: {why}")));
            }
            match key.as_str() {
                "access_key_id" => id = text(&here, value)?,
                "access_key_value" => secret = text(&here, value)?,
                "use_iam" => use_iam = flag(&here, value)?,
                "use_ssl" => spec.use_ssl = Some(flag(&here, value)?),
                "use_virtual_host" => spec.virtual_host_style = Some(flag(&here, value)?),
                "region" => spec.region = text(&here, value)?.map(|r| region(&here, r)).transpose()?,
                "cloud_provider" => one_of(&here, value, &["", "aws", "minio", "s3"])?,
                "storage_type" => one_of(&here, value, &["", "remote", "minio", "s3"])?,
                _ => return Err(Error::invalid(here, "is no known key")),
            }
        }
        spec.credentials = match (id, secret) {
            (Some(access_key_id), Some(secret_access_key)) if !use_iam => Some(Credentials {
                access_key_id,
                secret_access_key,
            }),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(Error::invalid(at, "use_iam and an access key exclude each other")),
            _ => {
                return Err(Error::invalid(
                    at,
                    "access_key_id and access_key_value are given together or not at all",
                ));
            }
        };
        Ok(spec)
    }
}

/// A text; an empty one says nothing.
fn text(at: &str, value: Value) -> Result<Option<String>> {
    match value {
        Value::String(text) if text.len() <= MAX_SECRET && !text.chars().any(char::is_control) => {
            Ok(Some(text).filter(|t| !t.is_empty()))
        }
        Value::Null => Ok(None),
        _ => Err(Error::invalid(
            at,
            format!("must be a text of at most {MAX_SECRET} characters"),
        )),
    }
}

/// Milvus sends texts.
fn flag(at: &str, value: Value) -> Result<bool> {
    match value {
        Value::Bool(flag) => Ok(flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" || text.is_empty() => Ok(false),
        _ => Err(Error::invalid(at, "must be true or false")),
    }
}

fn one_of(at: &str, value: Value, known: &[&str]) -> Result<()> {
    match value.as_str() {
        Some(text) if known.contains(&text) => Ok(()),
        _ => Err(Error::invalid(at, "is not supported: only S3 stores are")),
    }
}

/// It becomes part of a host name where there is no endpoint.
fn region(at: &str, region: String) -> Result<String> {
    let is_plain = region.len() <= 64
        && region
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if is_plain {
        Ok(region)
    } else {
        Err(Error::invalid(at, "must have small letters, digits and hyphens only"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_milvus_clients_send_is_read() {
        let text = r#"{"extfs": {"access_key_id": "i", "access_key_value": "v", "region": "us-east-1", "use_ssl": "false",
                       "cloud_provider": "minio", "storage_type": "remote", "use_iam": "false", "use_virtual_host": "false"}}"#;
        let spec = ExternalSpec::from_text(text).expect("accepted");
        assert_eq!(spec.region.as_deref(), Some("us-east-1"));
        assert_eq!((spec.use_ssl, spec.virtual_host_style), (Some(false), Some(false)));
        assert!(spec.credentials.is_some_and(|c| c.secret_access_key == "v"));
        for nothing in [json!(null), json!(""), json!({}), json!({"extfs": {"use_iam": "true"}})] {
            assert_eq!(ExternalSpec::from_json(nothing).expect("accepted"), ExternalSpec::default());
        }
    }

    #[test]
    fn what_is_refused_is_named_and_no_value_is_repeated() {
        for refused in [
            json!({"extfs": {"role_arn": "planted"}}),
            json!({"extfs": {"iam_endpoint": "planted"}}),
            json!({"extfs": {"sas_token": "planted"}}),
            json!({"extfs": {"access_key_id": "planted"}}),
            json!({"extfs": {"access_key_id": "planted", "access_key_value": "planted", "use_iam": true}}),
            json!({"extfs": {"region": "planted.example.com/"}}),
            json!({"extfs": {"use_ssl": "planted"}}),
            json!({"extfs": {"cloud_provider": "planted"}}),
            json!({"extfs": {}, "other": "planted"}),
            json!({"extfs": "planted"}),
            json!(["planted"]),
            json!("{planted"),
        ] {
            let error = ExternalSpec::from_json(refused.clone()).expect_err("refused");
            let shown = format!("{error:?} {error} {}", error.cause_chain());
            assert!(!shown.contains("planted"), "{refused}: {shown}");
        }
    }
}
