//! What can go wrong with a private Postgres, told so that an operator can act on it.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Why a private Postgres couldn't be started or stopped.
///
/// The reason of [`StartError::Io`] is its source: print the whole chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No usable Postgres binaries on this machine.
    #[error(
        "no postgres binaries (version {oldest} or newer) found{skipped}; install them with \
         `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server` (Fedora, \
         RHEL) or `brew install postgresql` (macOS), or set DATABASE_URL to use a postgres that \
         already runs"
    )]
    NoBinaries {
        /// Oldest major version that will do.
        oldest: u32,
        /// Binaries that were found and why they won't do; empty or starting with a blank.
        skipped: String,
    },

    /// The data directory needs binaries of another major version than those found.
    #[error(
        "data directory {data_dir} was made by postgres {needed}, but the binaries found are \
         {found}; install postgres {needed}, or choose another --data-dir, or set DATABASE_URL"
    )]
    WrongVersion {
        /// The data directory.
        data_dir: PathBuf,
        /// Major version in its `PG_VERSION`.
        needed: u32,
        /// Versions found and where.
        found: String,
    },

    /// Another stillframe process uses the data directory.
    #[error(
        "data directory {data_dir} is in use by another stillframe (pid {pid}); stop that one or \
         choose another --data-dir"
    )]
    InUse {
        /// The data directory.
        data_dir: PathBuf,
        /// Process id the other one wrote into the lock file, or `unknown`.
        pid: String,
    },

    /// There is something at the data directory's path that `initdb` did not make.
    #[error(
        "{path} is neither empty nor a postgres data directory (it has no PG_VERSION); move it \
         away or choose another --data-dir"
    )]
    NotADataDirectory {
        /// The path.
        path: PathBuf,
    },

    /// `PG_VERSION` of the data directory makes no sense.
    #[error("{path} holds no postgres version; restore the data directory or choose another --data-dir")]
    UnreadableVersion {
        /// Path of the file `PG_VERSION`.
        path: PathBuf,
    },

    /// The data directory belongs to somebody else, and this process isn't root.
    #[error(
        "data directory {path} belongs to user {owner}, but this process runs as {user}; run it \
         as {owner} or choose another --data-dir"
    )]
    NotOwner {
        /// The data directory.
        path: PathBuf,
        /// Its owner, name or number.
        owner: String,
        /// User of this process, name or number.
        user: String,
    },

    /// Run as root on a system that has no user to run Postgres as.
    #[error(
        "postgres refuses to run as root, and there is neither a user postgres nor a user nobody \
         to run it as; create one (`useradd --system postgres`), run stillframe as another user, \
         or set DATABASE_URL"
    )]
    NoUser,

    /// Run as root, and the user that Postgres runs as can't get to its data directory.
    #[error(
        "postgres refuses to run as root and runs as user {user}, who cannot reach data directory \
         {data_dir} because {blocker} is closed to them; choose another --data-dir, or run \
         `chmod o+x {blocker}`, or set DATABASE_URL"
    )]
    Unreachable {
        /// The user Postgres would run as.
        user: String,
        /// The data directory.
        data_dir: PathBuf,
        /// The first directory on the way that the user can't enter.
        blocker: PathBuf,
    },

    /// No directory for the socket.
    #[error(
        "no directory for postgres' socket: {tried} must be short (a socket's path has at most \
         {limit} bytes), UTF-8 and open to user {user}; set TMPDIR to such a directory"
    )]
    NoSocketDir {
        /// The directories tried.
        tried: String,
        /// Most bytes of the socket's path.
        limit: usize,
        /// The user Postgres would run as.
        user: String,
    },

    /// `initdb`, or Postgres at its start, ended with an error.
    #[error("{program} for data directory {data_dir} failed ({status}); end of {log}:\n{tail}")]
    Failed {
        /// Which program.
        program: &'static str,
        /// The data directory.
        data_dir: PathBuf,
        /// How it ended.
        status: String,
        /// The log file.
        log: PathBuf,
        /// Last lines it wrote there.
        tail: String,
    },

    /// Postgres runs, but isn't ready and hasn't reported progress for a long time.
    #[error(
        "postgres on data directory {data_dir} was not ready and made no progress for {seconds} s; \
         end of {log}:\n{tail}"
    )]
    NotReady {
        /// The data directory.
        data_dir: PathBuf,
        /// Seconds without progress.
        seconds: u64,
        /// The log file.
        log: PathBuf,
        /// Last lines Postgres wrote there.
        tail: String,
    },

    /// Postgres didn't stop, neither when asked to stop fast nor at once.
    #[error("postgres (pid {pid}) does not stop; look why it hangs, then end it with `kill -QUIT {pid}`")]
    StillRunning {
        /// Process id of the server.
        pid: i32,
    },

    /// A file or directory couldn't be used.
    #[error("cannot {action} {path}{}", advice(source))]
    Io {
        /// What was tried, such as `create directory`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl StartError {
    /// For `map_err`: an [`StartError::Io`] that tells what was done to which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => " (check who owns it, or choose another --data-dir)",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => " (free some space)",
        ErrorKind::ResourceBusy => " (if it is a mount point, mount its parent directory instead)",
        _ => "",
    }
}
