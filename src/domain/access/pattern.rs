//! Patterns of names: a name in which `*` stands for any characters, also none.

use serde::{Deserialize, Serialize};

use crate::domain::name::MAX_NAME_LENGTH;

/// A pattern of names of databases or collections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Every name.
    pub fn any() -> Self {
        Self("*".into())
    }

    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_NAME_LENGTH {
            return Err(format!("a pattern has 1 to {MAX_NAME_LENGTH} characters"));
        }
        // each costs the matcher another way to try
        if text.matches('*').count() > 8 {
            return Err("a pattern has at most 8 stars".into());
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_$.-*".contains(*c))) {
            Some(c) => Err(format!(
                "a pattern can't hold {c:?}; it is a name in which * stands for anything"
            )),
            None => Ok(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|b| b == b'*')
    }

    /// Whether a name is of this pattern.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.len() >= part.len() && rest.ends_with(part);
            }
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }

    /// The same as a pattern of SQL's `like`.
    pub fn like(&self) -> String {
        let mut like = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            match c {
                '*' => like.push('%'),
                '_' => like.push_str("\\_"),
                c => like.push(c),
            }
        }
        like
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let fits = |pattern: &str, name: &str| Pattern::parse(pattern).expect("a pattern").matches(name);
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*b*c", "a_b_b_c"),
            ("ab", "ab"),
            ("a*a", "aa"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a*", "b"),
            ("a", "ab"),
            ("*c", "cb"),
            ("a*b*c", "a_c"),
            ("a*a", "a"),
            ("team_a*", "teamXa1"),
            ("ab", "a"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_name_is_no_pattern() {
        for text in ["", "a b", "a%", "a/b", "a\\", "*********", &"a".repeat(256)] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Pattern::parse("a_*").expect("a pattern").like(), "a\\_%");
    }
}
