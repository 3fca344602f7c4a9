//! The data directory and the files beside it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use super::{error::StartError, run_as::RunAs};

/// Symlinks resolved, so that two names of one directory have one lock.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    parent: PathBuf,
}

impl DataDir {
    /// Resolves `path` and creates its parents.
    pub(super) fn locate(path: &Path) -> Result<Self, StartError> {
        let absolute = std::path::absolute(path).map_err(StartError::io("resolve", path))?;
        if let Some(parent) = absolute.parent() {
            fs::create_dir_all(parent).map_err(StartError::io("create directory", parent))?;
        }
        let path = match fs::canonicalize(&absolute) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => fs::canonicalize(parent)
                    .map_err(StartError::io("resolve", parent))?
                    .join(name),
                _ => return Err(StartError::io("resolve", &absolute)(error)),
            },
            Err(error) => return Err(StartError::io("resolve", &absolute)(error)),
        };
        match path.parent().map(Path::to_owned) {
            Some(parent) => Ok(Self { path, parent }),
            None => Err(StartError::NotADataDirectory { path }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }

    /// The sibling whose name is the data directory's followed by `suffix`.
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        self.parent.join(self.sibling_name(suffix))
    }

    /// File name of that sibling.
    pub(super) fn sibling_name(&self, suffix: &str) -> OsString {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        name
    }

    /// Major version of the Postgres that made it; `None` when it is still to be made.
    pub(super) fn version(&self) -> Result<Option<u32>, StartError> {
        let path = self.path.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some(major)),
                Err(_) => Err(StartError::UnreadableVersion { path }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => self.check_empty().map(|()| None),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                Err(StartError::NotADataDirectory { path: self.path.clone() })
            }
            Err(error) => Err(StartError::io("read", &path)(error)),
        }
    }

    /// Nothing but a missing or an empty directory may be replaced by a new data directory.
    fn check_empty(&self) -> Result<(), StartError> {
        match fs::read_dir(&self.path).map(Iterator::count) {
            Ok(0) => Ok(()),
            Ok(_) => Err(StartError::NotADataDirectory { path: self.path.clone() }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StartError::io("list", &self.path)(error)),
        }
    }

    /// Opens a sibling to read and append, and leaves it to the user of Postgres too, so that the
    /// service may later run as that user.
    pub(super) fn open_beside(&self, suffix: &str, user: &RunAs) -> Result<File, StartError> {
        let path = self.beside(suffix);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // The parent may belong to somebody who'd have root write elsewhere.
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&path)
            .map_err(StartError::io("open", &path))?;
        if let Some((uid, gid)) = user.switch_to() {
            fchown(&file, Some(uid), Some(gid)).map_err(StartError::io("change the owner of", &path))?;
        }
        Ok(file)
    }
}
