//! A child process that ends with the service.

use std::{
    io,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::sync::watch;

/// How long a drop may block.
const DROP_TIMEOUT: Duration = Duration::from_secs(3);

/// How a process ended.
#[derive(Clone, Debug)]
pub(super) struct Exit {
    pub(super) success: bool,
    pub(super) status: String,
}

/// A child process; a drop interrupts it (Postgres: fast shutdown).
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Spawns `command` from a thread that stays until the child is gone: the kernel's signal at
    /// the parent's death is in truth one at the death of the *thread* that spawned, and threads
    /// of a runtime come and go.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        end_with_service(&mut command);
        let (exit_sender, exit) = watch::channel(None);
        let (pid_sender, pid) = mpsc::sync_channel(1);
        let body = move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    let _ = pid_sender.send(Err(error));
                    return;
                }
            };
            let _ = pid_sender.send(Ok(Pid::from_raw(child.id().cast_signed())));
            let exit = match child.wait() {
                Ok(status) => Exit {
                    success: status.success(),
                    status: status.to_string(),
                },
                Err(error) => Exit {
                    success: false,
                    status: error.to_string(),
                },
            };
            exit_sender.send_replace(Some(exit));
        };
        thread::Builder::new().name("private-pg".to_owned()).spawn(body)?;
        let pid = pid.recv().map_err(|_| io::Error::other("its thread died"))??;
        Ok(Self { pid, exit })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// How it ended, if it has.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits until it has ended.
    pub(super) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        ended.unwrap_or_else(|| Exit {
            success: false,
            status: "unknown status".to_owned(),
        })
    }

    /// Sends a signal, unless the process is gone and its pid may be another's.
    pub(super) fn signal(&self, signal: Signal) {
        if self.exit.borrow().is_none() {
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGINT);
        let deadline = Instant::now() + DROP_TIMEOUT;
        while self.exit.borrow().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        // Postgres: ends at once, the next start recovers. Does nothing when it's gone already.
        self.signal(Signal::SIGQUIT);
    }
}

/// Asks the kernel to interrupt the child when the service dies, even by `kill -9`. Only Linux
/// can; elsewhere, and where it fails, the next start stops what was left.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "neither std nor nix has a safe way")]
fn end_with_service(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use nix::libc;

    let service = std::process::id().cast_signed();
    let in_child = move || {
        // SAFETY: system calls without pointers, allowed between fork and exec.
        let parent = unsafe {
            // A change of the user clears this; std has changed it before it calls us.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT);
            libc::getppid()
        };
        // The service may have died before the request.
        if parent == service {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
    };
    // SAFETY: the closure allocates nothing, takes no lock and only makes those system calls.
    unsafe { command.pre_exec(in_child) };
}

#[cfg(not(target_os = "linux"))]
fn end_with_service(_: &mut Command) {}
