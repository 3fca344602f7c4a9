//! One service per data directory: a lock the kernel frees when the service dies.

use std::{
    fs::{File, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use super::{data_dir::DataDir, error::StartError, run_as::RunAs, socket_dir};

/// Holds the lock until dropped. Children don't inherit it: std opens files close-on-exec.
///
/// The file has two lines, the service's pid and its socket directory, and is never removed:
/// removing a lock file lets two processes lock two files of the same name.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    /// What the last holder recorded.
    stale_socket_dir: Option<PathBuf>,
}

impl Lock {
    pub(super) fn acquire(data_dir: &DataDir, user: &RunAs) -> Result<Self, StartError> {
        let path = data_dir.beside(".lock");
        let mut file = data_dir.open_beside(".lock", user)?;
        let mut content = String::new();
        let locked = file.try_lock();
        file.read_to_string(&mut content).map_err(StartError::io("read", &path))?;
        let mut lines = content.lines();
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::InUse {
                    data_dir: data_dir.path().to_owned(),
                    pid: lines.next().unwrap_or("unknown").to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(StartError::io("lock", &path)(error)),
        }
        let stale_socket_dir = lines.nth(1).map(PathBuf::from);
        let mut lock = Self {
            file,
            path,
            stale_socket_dir,
        };
        // The old directory stays on record until it is removed, should this process die before.
        lock.write(lock.stale_socket_dir.clone().as_deref())?;
        Ok(lock)
    }

    /// Removes the socket directory of the last holder; its server must be gone.
    pub(super) fn remove_stale_socket_dir(&mut self) {
        if let Some(dir) = self.stale_socket_dir.take() {
            socket_dir::remove_stale(&dir);
        }
    }

    /// Notes the socket directory for whoever holds the lock next.
    pub(super) fn record_socket_dir(&mut self, dir: &Path) -> Result<(), StartError> {
        self.write(Some(dir))
    }

    fn write(&mut self, socket_dir: Option<&Path>) -> Result<(), StartError> {
        let socket_dir = socket_dir.unwrap_or(Path::new("")).display();
        let content = format!("{}\n{socket_dir}\n", std::process::id());
        // Open to append, so this writes from the start.
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all(content.as_bytes()))
            .map_err(StartError::io("write", &self.path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close the file isn't enough: a child of this process may have a copy until its exec.
        let _ = self.file.unlock();
    }
}
