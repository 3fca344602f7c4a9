//! Starts the server, waits until it is ready, stops it.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    Settings, binaries::Binaries, data_dir::DataDir, error::StartError, log::Log, process::Process, run_as::RunAs,
    socket_dir::PORT,
};

/// Longest start without a word from Postgres. It reports a long recovery every 10 seconds, and
/// to give up on one would only make the next start begin it again.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How long to wait for the server processes of a main process that was killed.
const REMAINS_TIMEOUT: Duration = Duration::from_secs(30);

const FAST_STOP_TIMEOUT: Duration = Duration::from_mins(1);
const IMMEDIATE_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines of `postmaster.pid`, from zero.
const SOCKET_DIR_LINE: usize = 4;
const STATUS_LINE: usize = 7;

/// Runs Postgres and returns when it is ready.
pub(super) async fn start(
    data_dir: &DataDir,
    binaries: &Binaries,
    user: &RunAs,
    socket_dir: &Path,
    settings: &Settings,
) -> Result<Process, StartError> {
    let deadline = Instant::now() + REMAINS_TIMEOUT;
    loop {
        let result = try_start(data_dir, binaries, user, socket_dir, settings).await;
        // When Postgres' main process is killed, its other processes notice a little later.
        let has_remains = matches!(&result, Err(StartError::Failed { tail, .. })
            if tail.contains("shared memory block") && tail.contains("still in use"));
        if !has_remains || Instant::now() > deadline {
            return result;
        }
        tracing::warn!(data_dir = %data_dir.path().display(), "waiting for processes of a killed postgres");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn try_start(
    data_dir: &DataDir,
    binaries: &Binaries,
    user: &RunAs,
    socket_dir: &Path,
    settings: &Settings,
) -> Result<Process, StartError> {
    let postgres = binaries.postgres();
    let log = Log::open(data_dir, user)?;
    let mut command = user.command(&postgres);
    // The orphan's check relies on "-D" followed by this path.
    command
        .arg("-D")
        .arg(data_dir.path())
        .stdout(log.stdio()?)
        .stderr(log.stdio()?);
    // The setting is a list of directories: the quotes keep commas and blanks.
    let quoted = format!("\"{}\"", socket_dir.display().to_string().replace('"', "\"\""));
    let mut set = |key: &str, value: &str| {
        command.arg("-c").arg(format!("{key}={value}"));
    };
    set("listen_addresses", "");
    set("unix_socket_directories", &quoted);
    set("unix_socket_permissions", "0700");
    set("port", &PORT.to_string());
    set("max_connections", &settings.max_connections.to_string());
    set("logging_collector", "off");
    set("log_destination", "stderr");
    set("cluster_name", "stillframe");
    // Without fsync, too, commits are handed to the kernel at once and survive a kill of Postgres.
    set("synchronous_commit", "on");
    for key in ["fsync", "full_page_writes"] {
        set(key, if settings.fsync { "on" } else { "off" });
    }
    let process = Process::spawn(command).map_err(StartError::io("run", &postgres))?;
    wait_until_ready(&process, data_dir, socket_dir, &log).await?;
    Ok(process)
}

/// Watches `postmaster.pid`, as `pg_ctl -w` does: no client program or connection is needed.
async fn wait_until_ready(process: &Process, data_dir: &DataDir, socket_dir: &Path, log: &Log) -> Result<(), StartError> {
    let pid_file = data_dir.path().join("postmaster.pid");
    let mut log_len = log.len();
    let mut deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some(exit) = process.exit() {
            return Err(log.failed("postgres", data_dir, exit));
        }
        let content = fs::read_to_string(&pid_file).unwrap_or_default();
        let lines: Vec<&str> = content.lines().collect();
        // Not the pid tells whose file it is: a stale one may have the same.
        let is_ours = lines.get(SOCKET_DIR_LINE).is_some_and(|dir| Path::new(dir) == socket_dir);
        if is_ours && lines.get(STATUS_LINE).is_some_and(|status| status.trim_end() == "ready") {
            return Ok(());
        }
        if log.len() != log_len {
            log_len = log.len();
            deadline = Instant::now() + START_TIMEOUT;
        }
        if Instant::now() > deadline {
            return Err(StartError::NotReady {
                data_dir: data_dir.path().to_owned(),
                seconds: START_TIMEOUT.as_secs(),
                log: log.path().to_owned(),
                tail: log.tail(),
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fast shutdown, then an immediate one.
pub(super) async fn stop(process: &Process) -> Result<(), StartError> {
    process.signal(Signal::SIGINT);
    if tokio::time::timeout(FAST_STOP_TIMEOUT, process.exited()).await.is_ok() {
        return Ok(());
    }
    tracing::warn!(
        pid = process.pid(),
        "private postgres does not stop fast, stopping it at once"
    );
    process.signal(Signal::SIGQUIT);
    match tokio::time::timeout(IMMEDIATE_STOP_TIMEOUT, process.exited()).await {
        Ok(_) => Ok(()),
        Err(_) => Err(StartError::StillRunning { pid: process.pid() }),
    }
}
