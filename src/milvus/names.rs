//! Names in requests of Milvus' clients: Milvus' texts, our rule (design §5).

use super::status::Refusal;
use crate::domain::collection::DEFAULT_DATABASE;
use crate::domain::name::{self, MAX_NAME_LENGTH};

/// Characters that a name may have beside letters, digits and underscores.
const OTHERS: &str = "$.-";

/// The database of a request: what the message says, else what the call's metadata or header says,
/// else the default one.
pub fn database<'a>(in_message: &'a str, beside: Option<&'a str>) -> &'a str {
    [in_message, beside.unwrap_or_default()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or(DEFAULT_DATABASE)
}

/// Checks the name of a snapshot, blanks around it left out as in Milvus.
///
/// # Errors
/// Milvus' text for the first rule that it breaks.
pub fn snapshot(text: &str) -> Result<&str, Refusal> {
    checked("snapshot", text)
}

/// Checks the name of a collection.
///
/// # Errors
/// Milvus' text for the first rule that it breaks.
pub fn collection(text: &str) -> Result<&str, Refusal> {
    checked("collection", text)
}

/// Checks the name of a thing of a kind.
///
/// # Errors
/// Milvus' text for the first rule that it breaks.
pub fn checked<'a>(kind: &str, text: &'a str) -> Result<&'a str, Refusal> {
    let text = text.trim();
    let Some(first) = text.chars().next() else {
        return Err(Refusal::invalid(format!("{kind} name should be not empty")));
    };
    let refuse = |why: String| Refusal::invalid(format!("Invalid {kind} name: {text}. {why}"));
    if text.chars().count() > MAX_NAME_LENGTH {
        return Err(refuse(format!(
            "the length of {kind} name must be not greater than limit: {MAX_NAME_LENGTH}"
        )));
    }
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err(refuse(format!(
            "the first character of {kind} name must be an underscore or letter"
        )));
    }
    let odd = text
        .char_indices()
        .find(|(_, c)| !(c.is_ascii_alphanumeric() || *c == '_' || OTHERS.contains(*c)));
    if let Some((at, c)) = odd {
        return Err(refuse(format!(
            "{kind} name can only contain numbers, letters, underscores, and allowed characters ({OTHERS}), found {c} at {at}"
        )));
    }
    // the rule itself stands in the domain; the texts above only say it in Milvus' words
    name::check(text).map_err(refuse)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_name_is_refused_in_milvus_words() {
        let text = |name: &str| snapshot(name).expect_err("bad").reason().to_string();
        assert_eq!(text("  "), "snapshot name should be not empty");
        assert!(text(&"a".repeat(256)).contains("the length of snapshot name must be not greater than limit"));
        assert!(text("1a").contains("the first character of snapshot name must be an underscore or letter"));
        assert!(text("a b").contains(
            "snapshot name can only contain numbers, letters, underscores, and allowed characters ($.-), found   at 1"
        ));
        assert_eq!(
            snapshot(" v2.1_production_release ").expect("good"),
            "v2.1_production_release"
        );
    }
}
