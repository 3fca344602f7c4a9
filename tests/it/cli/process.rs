//! Processes of the binary: with an environment of their own, and gone when the test ends.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory that the user of Postgres can reach when the tests run as root.
pub fn directory() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
    dir
}

/// The binary, without any setting of the machine that runs the tests.
pub fn stillframe(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stillframe"));
    command.args(args).env_remove("DATABASE_URL").stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STILLFRAME_")) {
        command.env_remove(name);
    }
    command
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    /// Its JSON, of a command that succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Runs a command to its end.
pub fn run(args: &[&str]) -> Ran {
    stillframe(args).output().expect("runs").into()
}

/// Lines of a stream as they come, read by a thread so that the writer never waits.
struct Lines {
    coming: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (send, coming) = channel();
        let lines = BufReader::new(stream).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self {
            coming,
            seen: Vec::new(),
        }
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.coming.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}), but: {:#?}", self.seen),
            }
        }
    }

    fn all(&mut self) -> String {
        self.seen.extend(self.coming.iter());
        self.seen.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// A running process; ends with its value.
pub struct Running {
    child: Child,
    out: Lines,
    err: Lines,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = Lines::of(child.stderr.take().expect("piped"));
        Self { child, out, err }
    }

    /// Waits for a line of standard error that holds this text.
    #[track_caller]
    pub fn err_line(&mut self, text: &str) -> String {
        self.err.wait_for(text)
    }

    /// Waits for a line of standard output that holds this text; gives all lines until then.
    #[track_caller]
    pub fn out_until(&mut self, text: &str) -> Vec<String> {
        self.out.wait_for(text);
        self.out.seen.clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("is ours and was not waited for");
    }

    /// Waits until a signal ends it; another end, or none, fails the test.
    #[track_caller]
    pub fn ended_by(mut self, signal: Signal) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("is ours") {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it still runs: {:#?}", self.err.seen),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        assert_eq!(status.signal(), Some(signal as i32), "{status}: {}", self.err.all());
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ran {
        let code = self.child.wait().expect("waited").code();
        Ran {
            code,
            out: self.out.all(),
            err: self.err.all(),
        }
    }
}

impl Drop for Running {
    /// A service gets the time to stop its Postgres.
    fn drop(&mut self) {
        let gone = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if gone(&mut self.child) {
            return;
        }
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !gone(&mut self.child) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
