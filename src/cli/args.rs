//! What commands have in common on the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;

/// Which service to talk to, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct ClientArgs {
    /// Base URL of the service
    #[arg(
        long,
        global = true,
        env = "STILLFRAME_SERVER",
        default_value = "http://127.0.0.1:19530",
        value_name = "URL",
        help_heading = "Client options"
    )]
    pub server: String,

    /// API key, or token of the OpenID provider. Other users of the machine may see it on the command line: the variable is better
    #[arg(
        long,
        global = true,
        env = "STILLFRAME_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        value_parser = secret,
        help_heading = "Client options"
    )]
    pub api_key: Option<Secret>,

    /// File with certificates of authorities (PEM) that are trusted beside the system's
    #[arg(
        long,
        global = true,
        env = "STILLFRAME_CA_FILE",
        value_name = "FILE",
        help_heading = "Client options"
    )]
    pub ca_file: Option<PathBuf>,

    /// Print the service's JSON, for programs. Errors are problem documents on standard error
    #[arg(long, global = true, help_heading = "Client options")]
    pub json: bool,

    /// Database; `default` when absent
    #[arg(long, global = true, value_name = "NAME", help_heading = "Client options")]
    pub db: Option<String>,
}

/// A key that `--help` and errors never show.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be printable ASCII without blanks".into());
    }
    Ok(Secret(text.into()))
}

/// How much of a list to show.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Entries at most; all when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// Reads `KEY=VALUE`; the value may be empty and may hold further `=`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("expected KEY=VALUE".into()),
    }
}

/// Pairs as a map; a key given twice is an error, not a silent choice.
pub fn map(option: &str, pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.contains_key(&key) {
            return Err(Failure::Usage(format!("{option} names {key:?} twice")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
        let twice = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
        assert!(map("--label", twice).is_err());
    }
}
