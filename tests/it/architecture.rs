//! Who may know whom (design §3).

use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may name of this crate beside itself.
const RULE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("crash_point", &[]),
    ("telemetry", &[]),
    ("lifecycle", &[]),
    ("limits", &["domain"]),
    ("serving", &["domain", "limits"]),
    ("tls", &[]),
    ("private_postgres", &[]),
    ("store", &["domain"]),
    ("objects", &["domain", "telemetry"]),
    ("service", &["domain", "store", "objects", "crash_point", "telemetry"]),
    ("api", &["domain", "limits", "service", "telemetry"]),
    ("jobs", &["domain", "service", "telemetry"]),
    ("milvus", &["domain", "limits", "service", "telemetry"]),
    (
        "config",
        &[
            "domain",
            "limits",
            "objects",
            "service",
            "serving",
            "api",
            "milvus",
            "telemetry",
            "tls",
        ],
    ),
    (
        "app",
        &[
            "api",
            "config",
            "crash_point",
            "domain",
            "jobs",
            "lifecycle",
            "milvus",
            "objects",
            "private_postgres",
            "service",
            "serving",
            "store",
            "telemetry",
            "tls",
        ],
    ),
    ("doctor", &["app", "config", "domain", "objects", "private_postgres", "store"]),
    // objects: only for `bench`, whose plain loop of copies must use the service's own client
    (
        "cli",
        &[
            "api",
            "app",
            "config",
            "doctor",
            "domain",
            "lifecycle",
            "objects",
            "telemetry",
        ],
    ),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> (PathBuf, Vec<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 40, "the sources were not found");
    (root, found)
}

#[test]
fn a_module_knows_only_what_the_rule_allows() {
    let (root, files) = all_sources();
    let mut broken = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below");
        let module = relative
            .components()
            .next()
            .expect("a part")
            .as_os_str()
            .to_str()
            .expect("UTF-8")
            .trim_end_matches(".rs")
            .to_string();
        if module == "lib" || module == "main" {
            continue;
        }
        let (_, allowed) = RULE
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("no rule for module {module}"));
        for (number, line) in fs::read_to_string(&file).expect("readable").lines().enumerate() {
            for named in line.match_indices("crate::").map(|(at, _)| &line[at + 7..]) {
                let names: Vec<String> = match named.strip_prefix('{') {
                    Some(list) => list
                        .split('}')
                        .next()
                        .unwrap_or_default()
                        .split(',')
                        .map(|n| n.trim().to_string())
                        .collect(),
                    None => vec![named.to_string()],
                };
                for name in names {
                    let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                    if name != module && !allowed.contains(&name.as_str()) && !name.is_empty() {
                        broken.push(format!("{}:{}: {module} names {name}", relative.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "the dependency rule is broken:\n{}", broken.join("\n"));
}

#[test]
fn http_statuses_are_chosen_in_one_place() {
    let (root, files) = all_sources();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below").display().to_string();
        if !relative.starts_with("api/") && !relative.starts_with("cli") {
            let text = fs::read_to_string(&file).expect("readable");
            assert!(!text.contains("StatusCode"), "{relative} names StatusCode");
        }
    }
}

#[test]
fn only_the_database_tells_the_time_of_ages_and_leases() {
    let (root, files) = all_sources();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below").display().to_string();
        let text = fs::read_to_string(&file).expect("readable");
        let clocks = [
            "now_utc()",
            "now_local()",
            "SystemTime::now",
            "Utc::now",
            "Local::now",
            ".modified()",
            "clock_timestamp",
            "current_timestamp",
            "localtimestamp",
        ];
        // half-copied files have no row: they are swept by the age of the file, and one that was swept too
        // early is copied again
        let sweeps = relative == "objects/local.rs";
        // the doctor compares this machine's clock with the database's
        let allowed = ["cli", "private_postgres", "doctor"].iter().any(|m| relative.starts_with(m));
        // what the doctor compares this machine's clock with, also before there is a settable one
        let facts = relative == "store/facts.rs";
        let known = |clock: &&str| (sweeps && *clock == ".modified()") || (facts && *clock == "clock_timestamp");
        for clock in clocks.into_iter().filter(|c| !known(c)) {
            assert!(
                allowed || !text.contains(clock),
                "{relative} reads the host's clock by {clock}"
            );
        }
        // the settable clock of the catalog, never Postgres' own
        for (at, _) in text.match_indices("now()") {
            let before = &text[..at];
            let known = ["stillframe_", "Instant::", "yield_"];
            assert!(
                allowed || known.iter().any(|k| before.ends_with(k)),
                "{relative} reads another clock than the catalog's"
            );
        }
    }
}
