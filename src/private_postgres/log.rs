//! The log that initdb and Postgres write beside the data directory.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{data_dir::DataDir, error::StartError, process::Exit, run_as::RunAs};

/// A log larger than this is set aside at the next start; one old log is kept.
const LOG_LIMIT_BYTES: u64 = 8 << 20;

const TAIL_LIMIT_BYTES: u64 = 4096;
const TAIL_LIMIT_LINES: usize = 20;

/// The log file, from where one process started to write to it.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    start: u64,
}

impl Log {
    pub(super) fn open(data_dir: &DataDir, user: &RunAs) -> Result<Self, StartError> {
        let path = data_dir.beside(".log");
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES) {
            let old = data_dir.beside(".log.old");
            fs::rename(&path, &old).map_err(StartError::io("rename", &path))?;
        }
        let file = data_dir.open_beside(".log", user)?;
        let start = file.metadata().map_err(StartError::io("look at", &path))?.len();
        Ok(Self { path, file, start })
    }

    /// The file as a child's output.
    pub(super) fn stdio(&self) -> Result<Stdio, StartError> {
        self.file
            .try_clone()
            .map(Stdio::from)
            .map_err(StartError::io("open", &self.path))
    }

    /// Bytes in the file: it grows when the process makes progress.
    pub(super) fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last lines the process wrote.
    pub(super) fn tail(&self) -> String {
        let mut bytes = Vec::new();
        let from = self.start.max(self.len().saturating_sub(TAIL_LIMIT_BYTES));
        let mut file = &self.file;
        if file
            .seek(SeekFrom::Start(from))
            .and_then(|_| file.read_to_end(&mut bytes))
            .is_err()
        {
            return "(unreadable)".to_owned();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL_LIMIT_LINES);
        let tail = lines.get(skipped..).unwrap_or_default().join("\n");
        if tail.is_empty() { "(empty)".to_owned() } else { tail }
    }

    pub(super) fn failed(&self, program: &'static str, data_dir: &DataDir, exit: Exit) -> StartError {
        StartError::Failed {
            program,
            data_dir: data_dir.path().to_owned(),
            status: exit.status,
            log: self.path.clone(),
            tail: self.tail(),
        }
    }
}
