//! A private Postgres for `stillframe serve` without `DATABASE_URL`.
//!
//! It runs the Postgres binaries of this machine on a data directory of its own and listens on
//! one Unix socket in a directory only its user may enter. There is no TCP and no password.
//!
//! Life cycle of [`PrivatePostgres::start`]:
//!
//! 1. lock the data directory for this process (`postgres.lock` beside it);
//! 2. find the binaries, of the data directory's own major version if there is one;
//! 3. stop the server that a killed service may have left behind, remove its socket directory;
//! 4. `initdb` in a sibling directory, renamed when complete, so a half-made one is never used;
//! 5. run `postgres`, in a process group of its own, and wait until it says it is ready.
//!
//! It ends with [`PrivatePostgres::stop`], with a drop, or with the service: the kernel is asked
//! to signal Postgres when the service dies, and step 3 covers the rest.
//!
//! Files beside a data directory `postgres`: `postgres.lock` (pid of the service, socket
//! directory), `postgres.log` (output of initdb and Postgres), `postgres.initdb-*` (while initdb
//! runs).

mod binaries;
mod data_dir;
mod error;
mod initdb;
mod lock;
mod log;
mod orphan;
mod process;
mod reach;
mod run_as;
mod server;
mod socket_dir;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use self::error::StartError;
use self::{data_dir::DataDir, initdb::Initdb, lock::Lock, process::Process, run_as::RunAs};

/// What a [`PrivatePostgres`] is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Postgres' data directory, such as `./stillframe-data/postgres`. It and its parents are
    /// created when missing; an existing one must be empty or made by `initdb`. Lock and log
    /// file lie beside it.
    pub data_dir: PathBuf,
    /// Whether commits wait for the disk. `false` is for tests only: a crash of the machine (not
    /// one of the service or of Postgres) then ruins the data.
    pub fsync: bool,
    /// Upper bound of simultaneous connections, at least 1; give the pool's size and some spare.
    pub max_connections: u32,
}

/// Whether a Postgres could be started on a data directory: gives the major version of the
/// binaries that would run it. Makes nothing.
///
/// # Errors
///
/// As [`PrivatePostgres::start`].
pub async fn examine(data_dir: &Path) -> Result<u32, StartError> {
    // finding it must not make its parents: look from where there is something
    let there = data_dir.ancestors().skip(1).find(|dir| dir.exists());
    let data_dir = match there {
        Some(parent) if data_dir.parent() != Some(parent) => &parent.join("postgres-that-is-not-there"),
        _ => data_dir,
    };
    let data_dir = DataDir::locate(data_dir)?;
    let user = RunAs::choose(data_dir.path())?;
    let binaries = binaries::find(&binaries::search_path(), &data_dir, &user).await?;
    reach::check(&data_dir, &user, &binaries).await?;
    Ok(binaries.major)
}

/// A running Postgres that belongs to this process.
///
/// Dropping it asks Postgres for a fast shutdown and blocks for at most three seconds, so prefer
/// [`PrivatePostgres::stop`]. Close connection pools before either.
#[derive(Debug)]
#[must_use = "dropping it stops Postgres"]
pub struct PrivatePostgres {
    // Dropped in this order: the socket directory and the lock must outlive the server.
    server: Process,
    socket_dir: TempDir,
    _lock: Lock,
    database_url: String,
}

impl PrivatePostgres {
    /// Starts Postgres on `settings.data_dir`, creating the data directory and the database
    /// `stillframe` at the first start, and returns when it accepts connections.
    ///
    /// A root service runs Postgres as the owner of the data directory if that is not root, else
    /// as `postgres`, else as `nobody`, and gives the data directory to that user.
    /// Dropping the future stops what it has started.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. There is no limit on the time a start may take as long as Postgres
    /// reports progress (crash recovery); 60 seconds without any are an error.
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        Self::start_with_binaries(settings, &binaries::search_path()).await
    }

    /// [`PrivatePostgres::start`] with other directories to look for the binaries in; for tests.
    ///
    /// # Errors
    ///
    /// As [`PrivatePostgres::start`].
    #[doc(hidden)]
    pub async fn start_with_binaries(settings: &Settings, search_path: &[PathBuf]) -> Result<Self, StartError> {
        let data_dir = DataDir::locate(&settings.data_dir)?;
        let user = RunAs::choose(data_dir.path())?;
        let mut lock = Lock::acquire(&data_dir, &user)?;
        let binaries = binaries::find(search_path, &data_dir, &user).await?;
        reach::check(&data_dir, &user, &binaries).await?;
        orphan::stop(data_dir.path()).await?;
        lock.remove_stale_socket_dir();
        let initdb = Initdb {
            data_dir: &data_dir,
            binaries: &binaries,
            user: &user,
            fsync: settings.fsync,
        };
        initdb.prepare().await?;

        let socket_dir = socket_dir::create(&user, &binaries).await?;
        lock.record_socket_dir(socket_dir.path())?;
        let server = server::start(&data_dir, &binaries, &user, socket_dir.path(), settings).await?;
        tracing::info!(
            pid = server.pid(),
            version = binaries.major,
            data_dir = %data_dir.path().display(),
            socket_dir = %socket_dir.path().display(),
            "private postgres is ready"
        );
        let database_url = socket_dir::database_url(socket_dir.path());
        Ok(Self {
            server,
            socket_dir,
            _lock: lock,
            database_url,
        })
    }

    /// The URL to connect with: superuser `stillframe`, database `stillframe`, over the socket.
    /// It needs no password, and `PG*` variables in the environment don't change what it means.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The directory of the socket: absolute, for the user of Postgres only, gone after the stop.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.socket_dir.path()
    }

    /// Waits until the server has ended, by itself or by somebody else's hand.
    pub async fn ended(&self) {
        self.server.exited().await;
    }

    /// Stops Postgres (fast shutdown: open transactions are rolled back, then a checkpoint) and
    /// waits until it is gone. After 60 seconds it is stopped without a checkpoint, and
    /// the next start recovers.
    ///
    /// # Errors
    ///
    /// [`StartError::StillRunning`] when even that doesn't end it within 10 seconds.
    pub async fn stop(self) -> Result<(), StartError> {
        server::stop(&self.server).await
    }
}
