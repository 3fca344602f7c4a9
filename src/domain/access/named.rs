//! What a request names, for the audit log: of a call that is refused before anybody looks at its names, this is all that
//! is known of what it was on. Nothing is looked up for it.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Touched;

/// Names of parameters and fields that are noted, and of what kind the thing is. What is not here may be a secret.
const KINDS: &[(&str, &str)] = &[
    ("snapshot_name", "snapshot"),
    ("snapshot_id", "snapshot"),
    ("partition_name", "partition"),
    ("partition_id", "partition"),
    ("index_name", "index"),
    ("alias", "alias"),
    ("channel", "channel"),
    ("channel_name", "channel"),
    ("segment_id", "segment"),
    ("build_id", "index build"),
    ("job_id", "job"),
    ("pin_id", "pin"),
    ("key_id", "key"),
    ("webhook_id", "webhook"),
    ("delivery_id", "delivery"),
    ("run_id", "collector run"),
    ("new_name", "new name"),
    ("prefix", "prefix"),
];
const DATABASES: &[&str] = &["db_name", "target_db_name", "new_db_name"];
const COLLECTIONS: &[&str] = &[
    "collection_name",
    "target_collection_name",
    "source_collection_name",
    "old_name",
];
/// Restores whose target is in the default database when they name none, wherever the snapshot is.
const INTO_THE_DEFAULT: &[&str] = &["plan_restore", "restore_snapshot", "milvus_restore_snapshot"];

/// What one request names.
#[derive(Debug)]
pub struct Named<'a> {
    operation: &'a str,
    /// Whether something was named that is in a database.
    in_a_database: bool,
    touched: Touched,
}

impl<'a> Named<'a> {
    /// Of a call of an operation.
    pub fn of(operation: &'a str) -> Self {
        Self {
            operation,
            in_a_database: false,
            touched: Touched::default(),
        }
    }

    /// A value, under the name that the path, the query or the message gives it. Of databases and collections the first
    /// one counts, others are things that it was on too. Empty values name nothing.
    pub fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        // what `name` is of
        let key = match (key, self.operation) {
            ("name", "create_database") => "db_name",
            ("name", "create_collection") => "collection_name",
            ("name", "change_collection") => "new_name",
            ("name", "create_partition") => "partition_name",
            ("name", "create_key") => return self.touched.note(format!("key {value:?}")),
            (key, _) => key,
        };
        if DATABASES.contains(&key) {
            self.touched.note_database(value);
        } else if COLLECTIONS.contains(&key) {
            self.in_a_database = true;
            self.touched.note_collection(value);
        } else if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == key) {
            let is_id = key.ends_with("_id");
            self.in_a_database |= !is_id && key != "prefix";
            let is_number = is_id && value.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            self.touched.note(match is_number {
                true => format!("{kind} {value}"),
                false => format!("{kind} {value:?}"),
            });
        }
    }

    /// What a query names: maybe which things of all databases to list, so that these are in none by that.
    pub fn add_query(&mut self, pairs: impl Iterator<Item = (impl AsRef<str>, impl AsRef<str>)>) {
        let was = self.in_a_database;
        pairs.for_each(|(key, value)| self.add(key.as_ref(), value.as_ref()));
        self.in_a_database = was;
    }

    /// The fields of a JSON object, in snake_case or as Milvus writes them. What is no object names nothing. `default`: the
    /// database of a target where none is named.
    pub fn add_json(&mut self, body: &[u8], default: &str) {
        // values are read only where they are wanted, so that nesting costs nothing
        let Ok(fields) = serde_json::from_slice::<HashMap<String, &RawValue>>(body) else {
            return;
        };
        let fields: HashMap<String, &str> = fields.into_iter().map(|(key, value)| (snake(&key), value.get())).collect();
        for key in ["target_db_name", "target_collection_name"] {
            self.add_field(&fields, key);
        }
        if self.operation != "milvus_restore_snapshot" {
            for key in ["db_name", "name", "collection_name"] {
                self.add_field(&fields, key);
            }
        }
        if INTO_THE_DEFAULT.contains(&self.operation) {
            self.in_database(default);
        }
        for key in ["db_name", "collection_name", "source_collection_name"] {
            self.add_field(&fields, key);
        }
        for (key, _) in KINDS {
            self.add_field(&fields, key);
        }
    }

    fn add_field(&mut self, fields: &HashMap<String, &str>, key: &str) {
        if let Some(text) = fields.get(key).and_then(|value| scalar(value)) {
            self.add(key, &text);
        }
    }

    /// The database of what was named so far, unless one was.
    pub fn in_database(&mut self, db_name: &str) {
        if self.in_a_database && self.touched.db_name.is_none() {
            self.touched.note_database(db_name);
        }
    }

    /// Whether what the body names comes first: it is the target, what the query names is the source.
    pub fn is_for_a_target(&self) -> bool {
        INTO_THE_DEFAULT.contains(&self.operation)
    }

    /// All of it.
    pub fn touched(self) -> Touched {
        self.touched
    }
}

/// `collectionName` as `collection_name`.
fn snake(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// A text or a number of JSON.
fn scalar(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Number(i64),
        Text(String),
    }
    // whatever is longer is no name, and would be cut
    if json.len() > 8 * super::caller::MAX_SUBJECT || json.starts_with(['[', '{']) {
        return None;
    }
    Some(match serde_json::from_str(json).ok()? {
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(touched: Touched) -> String {
        let name = |name: Option<String>| name.unwrap_or_else(|| "-".into());
        let (db, collection) = (name(touched.db_name), name(touched.collection_name));
        format!("{db}/{collection}: {}", touched.subjects.join(", "))
    }

    fn of_json(operation: &str, body: &str) -> String {
        let mut named = Named::of(operation);
        named.add_json(body.as_bytes(), "default");
        named.in_database("default");
        said(named.touched())
    }

    #[test]
    fn a_body_names_what_it_is_about() {
        for (operation, body, on) in [
            ("create_database", r#"{"name": "d"}"#, "d/-: "),
            ("create_collection", r#"{"db_name": "d", "name": "c", "fields": []}"#, "d/c: "),
            (
                "create_snapshot",
                r#"{"collection_name": "c", "snapshot_name": "s"}"#,
                "default/c: snapshot \"s\"",
            ),
            ("restore_snapshot", r#"{"collection_name": "t"}"#, "default/t: "),
            (
                "milvus_restore_snapshot",
                r#"{"dbName": "d", "snapshotName": "s", "sourceCollectionName": "c", "targetCollectionName": "t"}"#,
                "default/t: database \"d\", collection \"c\", snapshot \"s\"",
            ),
            (
                "milvus_restore_external_snapshot",
                r#"{"dbName": "d", "targetCollectionName": "t", "externalSpec": {"extfs": {"access_key_id": "x"}}}"#,
                "d/t: ",
            ),
            ("milvus_unpin_snapshot", r#"{"pinId": 7}"#, "-/-: pin 7"),
            (
                "create_key",
                r#"{"name": "ci", "grants": [{"db_name": "d"}]}"#,
                "-/-: key \"ci\"",
            ),
            ("create_webhook", r#"{"url": "https://user:secret@host/"}"#, "-/-: "),
            ("adopt_snapshots", r#"{"prefix": "a/b"}"#, "-/-: prefix \"a/b\""),
            (
                "register_segment",
                r#"{"segment_id": "51", "db_name": null, "channel_name": ["x"]}"#,
                "-/-: segment 51",
            ),
            ("create_snapshot", "[1]", "-/-: "),
            ("create_snapshot", r#"{"collection_name": "c""#, "-/-: "),
        ] {
            assert_eq!(of_json(operation, body), on, "{operation} {body}");
        }
    }

    #[test]
    fn long_and_odd_names_are_cut_and_nesting_costs_nothing() {
        let mut named = Named::of("drop_collection");
        named.add("collection_name", &"x".repeat(1000));
        named.add("segment_id", "1, job 7");
        let touched = named.touched();
        assert_eq!(touched.collection_name.expect("named").len(), 300);
        assert_eq!(touched.subjects, ["segment \"1, job 7\""]);
        let deep = format!(
            r#"{{"more": {}1{}, "collection_name": "c"}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(of_json("create_snapshot", &deep), "default/c: ");
    }
}
