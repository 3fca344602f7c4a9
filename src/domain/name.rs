//! The rule of names.
//!
//! As Milvus (letter or underscore first; letters, digits, `_`, `$`), plus `.` and `-`, which the
//! user guide's own examples use (`v2.1_production_release`). At most 255 characters.

/// Characters a name may have at most.
pub const MAX_NAME_LENGTH: usize = 255;

/// Checks a name of a database, collection, alias, partition, index or snapshot.
///
/// # Errors
/// One sentence that says which rule it breaks.
pub fn check(name: &str) -> Result<(), String> {
    let Some(first) = name.chars().next() else {
        return Err("must not be empty".into());
    };
    let length = name.chars().count();
    if length > MAX_NAME_LENGTH {
        return Err(format!("has {length} characters, at most {MAX_NAME_LENGTH} are allowed"));
    }
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err("must begin with a letter or an underscore".into());
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "_$.-".contains(*c))) {
        Some(c) => Err(format!("has {c:?}; letters, digits, '_', '$', '.' and '-' are allowed")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_own_names_are_accepted() {
        for name in [
            "daily_backup_20240101",
            "v2.1_production_release",
            "_x",
            "a$b-c",
            &"a".repeat(255),
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_against_the_rule_are_refused() {
        for name in ["", "1a", "-a", "a b", "a/b", "ä", "a\u{0}", "..", &"a".repeat(256)] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
