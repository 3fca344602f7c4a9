//! The server that a killed service left behind.
//!
//! Called with the data directory's lock held: no living service owns what is found here.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::error::StartError;

/// How long a shutdown may take, per signal to try.
const STOPS: [(Signal, Duration); 2] = [
    (Signal::SIGINT, Duration::from_secs(30)),
    (Signal::SIGQUIT, Duration::from_secs(10)),
];

/// What the process with the pid in `postmaster.pid` is.
#[derive(Debug, PartialEq)]
enum Holder {
    /// The server of this data directory.
    Server,
    /// Gone, or something unknown that is left alone.
    NoneOrUnknown,
    /// A zombie, or another program that got the pid after a restart of machine or container.
    NoPostgres,
}

/// Stops the server of `data_dir` that outlived its service, if there is one.
pub(super) async fn stop(data_dir: &Path) -> Result<(), StartError> {
    let pid_file = data_dir.join("postmaster.pid");
    let Ok(content) = fs::read_to_string(&pid_file) else {
        return Ok(());
    };
    let (first, rest) = content.split_once('\n').unwrap_or((&content, ""));
    let Some(pid) = first.trim().parse().ok().filter(|pid| *pid > 1) else {
        return Ok(());
    };
    match holder(pid, data_dir) {
        Holder::NoneOrUnknown => Ok(()),
        Holder::NoPostgres => {
            // Postgres would refuse to start. It trusts that its own parent isn't a Postgres, so
            // it is told that pid; removing the file would also lose its check (in the other
            // lines) for processes of the old server that still use the data.
            tracing::warn!(pid, path = %pid_file.display(), "the file is stale, no postgres has its pid");
            OpenOptions::new()
                .write(true)
                .truncate(true)
                // The user of Postgres must not make root write elsewhere.
                .custom_flags(nix::libc::O_NOFOLLOW)
                .open(&pid_file)
                .and_then(|mut file| write!(file, "{}\n{rest}", std::process::id()))
                .map_err(StartError::io("write", &pid_file))
        }
        Holder::Server => stop_server(pid, data_dir).await,
    }
}

async fn stop_server(pid: i32, data_dir: &Path) -> Result<(), StartError> {
    tracing::warn!(pid, data_dir = %data_dir.display(), "stopping the postgres of a service that was killed");
    for (signal, timeout) in STOPS {
        // Gone between the look and the signal is fine too.
        let _ = kill(Pid::from_raw(pid), signal);
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if holder(pid, data_dir) != Holder::Server {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Err(StartError::StillRunning { pid })
}

/// Judges by the command line, which everybody may read.
fn holder(pid: i32, data_dir: &Path) -> Holder {
    let Some(args) = command_line(pid) else {
        return Holder::NoneOrUnknown;
    };
    let data_dir = data_dir.as_os_str().as_encoded_bytes();
    let program = args.first().map_or(&[][..], Vec::as_slice);
    let is_postgres = program
        .rsplit(|byte| *byte == b'/')
        .next()
        .is_some_and(|name| name.starts_with(b"postgres") || name == b"postmaster");
    if !is_postgres {
        Holder::NoPostgres
    } else if args.windows(2).any(|pair| pair[0] == b"-D" && pair[1] == data_dir) {
        Holder::Server
    } else {
        Holder::NoneOrUnknown
    }
}

/// `None` without a process; without arguments for a zombie.
#[cfg(target_os = "linux")]
fn command_line(pid: i32) -> Option<Vec<Vec<u8>>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

/// Blanks separate the arguments here, so a data directory with a blank in its path isn't
/// recognized, and its orphan is left alone.
#[cfg(not(target_os = "linux"))]
fn command_line(pid: i32) -> Option<Vec<Vec<u8>>> {
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output()
        .ok()
        .filter(|output| !output.stdout.trim_ascii().is_empty())?;
    let words = output.stdout.trim_ascii().split(u8::is_ascii_whitespace);
    Some(words.map(<[u8]>::to_vec).collect())
}
