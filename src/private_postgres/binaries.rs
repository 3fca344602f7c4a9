//! Finds the Postgres binaries of this machine.

use std::{
    collections::HashSet,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{data_dir::DataDir, error::StartError, run_as::RunAs};

/// The first version whose initdb knows `--no-instructions`.
const OLDEST: u32 = 14;

const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Where packages put what they don't put into `PATH`: parent, start of the name (a version
/// follows), directory below it.
const PLACES: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"), // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),          // packages of postgresql.org for Fedora, RHEL
    ("/usr/lib", "postgresql", "bin"),  // openSUSE
    ("/usr/libexec", "postgresql", ""), // Alpine
    ("/usr/local", "pgsql", "bin"),     // `make install`
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// A directory with `postgres` and `initdb`, both runnable by the user of Postgres.
#[derive(Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    /// Major version.
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}

/// Directories that may hold the binaries: `PATH`, then the usual places, newest version first.
pub(super) fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A relative entry would mean another directory to the child, which runs in `/`.
    let mut dirs: Vec<_> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    let mut usual = Vec::new();
    for (parent, prefix, below) in PLACES {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(version) = name.to_str().and_then(|name| name.strip_prefix(prefix)) {
                let number = version.trim_start_matches(['-', '@']).split('.').next();
                let major: u32 = number.and_then(|number| number.parse().ok()).unwrap_or(0);
                usual.push((major, entry.path().join(below)));
            }
        }
    }
    usual.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    dirs.extend(usual.into_iter().map(|(_, dir)| dir));
    dirs
}

/// The first binaries of `search_path` that `user` can run and that fit the data directory.
pub(super) async fn find(search_path: &[PathBuf], data_dir: &DataDir, user: &RunAs) -> Result<Binaries, StartError> {
    let needed = data_dir.version()?;
    let mut seen = HashSet::new();
    let mut others = Vec::new();
    for dir in search_path {
        let is_complete = ["postgres", "initdb"].iter().all(|name| dir.join(name).is_file());
        if !is_complete || !seen.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.clone())) {
            continue;
        }
        match version(&dir.join("postgres"), user).await {
            Ok(major) if needed.map_or(major >= OLDEST, |needed| major == needed) => {
                return Ok(Binaries { dir: dir.clone(), major });
            }
            Ok(major) => others.push(format!("version {major} in {}", dir.display())),
            Err(reason) => others.push(format!("{} ({reason})", dir.display())),
        }
    }
    let others = others.join(", ");
    match needed {
        Some(needed) if !others.is_empty() => Err(StartError::WrongVersion {
            data_dir: data_dir.path().to_owned(),
            needed,
            found: others,
        }),
        _ if others.is_empty() => Err(StartError::NoBinaries {
            oldest: OLDEST,
            skipped: others,
        }),
        _ => Err(StartError::NoBinaries {
            oldest: OLDEST,
            skipped: format!(", only {others}"),
        }),
    }
}

/// Major version of a `postgres` binary, run as the user who is to run it later, because the
/// directory may be closed to them.
async fn version(postgres: &Path, user: &RunAs) -> Result<u32, String> {
    let mut command = tokio::process::Command::from(user.command(postgres));
    let output = command.arg("--version").kill_on_drop(true).output();
    let output = match tokio::time::timeout(VERSION_TIMEOUT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("user {} cannot run it: {error}", user.name())),
        Err(_) => return Err("it hangs".to_owned()),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| format!("it tells no version, {}", output.status))
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, or `18beta1` for the number.
fn parse_version(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(parse_version("postgres (PostgreSQL) \n"), None);
        assert_eq!(parse_version("PostgreSQL 9"), None);
    }
}
