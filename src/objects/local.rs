//! Writing and copying on a local directory.
//!
//! OpenDAL's fs service syncs every file it writes and copies straight into the target. We need
//! the choice of syncing, and a copy that appears whole or not at all: a worker that lost its
//! lease must never truncate a file that its successor has verified.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::keys;

/// A storage root on this machine.
#[derive(Debug, Clone)]
pub struct LocalRoot {
    pub path: PathBuf,
    /// Whether writes and copies are synced to the disk before they count.
    pub fsync: bool,
}

impl LocalRoot {
    fn target(&self, key: &str) -> PathBuf {
        self.path.join(key)
    }

    /// Writes files, replacing those that are there; gives the key of the first that failed. Each
    /// directory is synced once, after its files. Blocking.
    pub fn put_many<'a>(&self, files: &'a [(String, Vec<u8>)]) -> Result<(), (&'a str, io::Error)> {
        let mut parents = BTreeSet::new();
        for (key, bytes) in files {
            let target = self.target(key);
            self.put(&target, bytes).map_err(|e| (key.as_str(), e))?;
            parents.insert(target.parent().map(Path::to_path_buf));
        }
        let last = files.last().map_or("", |(key, _)| key.as_str());
        if self.fsync {
            for parent in parents.into_iter().flatten() {
                sync(&parent).map_err(|e| (last, e))?;
            }
        }
        Ok(())
    }

    fn put(&self, target: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = with_parent(target, || File::create(target))?;
        file.write_all(bytes)?;
        if self.fsync { file.sync_all() } else { Ok(()) }
    }

    /// Writes a file through a temporary name, so that it appears whole or not at all. Blocking.
    pub fn put_whole(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{}/{}", keys::TEMPORARY_DIRECTORY, uuid::Uuid::new_v4());
        let target = self.target(key);
        let written = self
            .put(&self.target(&temporary), bytes)
            .and_then(|()| with_parent(&target, || fs::rename(self.target(&temporary), &target)));
        if written.is_err() {
            let _ = fs::remove_file(self.target(&temporary));
        } else if self.fsync {
            sync_parent(&target)?;
        }
        written
    }

    /// Begins a file under a temporary name. Blocking.
    pub fn begin_temporary(&self) -> io::Result<(PathBuf, File)> {
        let directory = self.path.join(keys::TEMPORARY_DIRECTORY);
        let temporary = directory.join(uuid::Uuid::new_v4().to_string());
        let file = with_parent(&temporary, || {
            OpenOptions::new().write(true).create_new(true).open(&temporary)
        })?;
        Ok((temporary, file))
    }

    /// Makes a file that was written under a temporary name appear. Blocking.
    pub fn finish_temporary(&self, file: &File, temporary: &Path, key: &str) -> io::Result<()> {
        if self.fsync {
            file.sync_all()?;
        }
        let target = self.target(key);
        with_parent(&target, || fs::rename(temporary, &target))?;
        if self.fsync { sync_parent(&target) } else { Ok(()) }
    }

    /// Syncs the directories that hold these keys, and those above them, each once. Blocking.
    pub fn sync_parents(&self, keys: &[String]) -> io::Result<()> {
        let mut directories = BTreeSet::new();
        for key in keys {
            let mut directory = Path::new(key).parent();
            // what is above a directory that is known is known
            while let Some(relative) = directory.filter(|d| directories.insert(d.to_path_buf())) {
                directory = relative.parent();
            }
        }
        directories.iter().try_for_each(|relative| sync(&self.path.join(relative)))
    }

    /// The size of every file below a directory, by key; nothing where there is no such directory.
    /// One walk, which takes a fraction of asking for each entry by itself. Blocking.
    pub fn list(&self, directory: &str) -> io::Result<HashMap<String, u64>> {
        let mut found = HashMap::new();
        let mut waiting = vec![directory.trim_end_matches('/').to_string()];
        while let Some(relative) = waiting.pop() {
            let entries = match fs::read_dir(self.target(&relative)) {
                Ok(entries) => entries,
                // removed while this walks
                Err(e) if is_gone(&e) => continue,
                Err(e) => return Err(e),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                // a name that is not UTF-8 is nobody's key
                let Some(name) = name.to_str() else { continue };
                let key = if relative.is_empty() {
                    name.to_string()
                } else {
                    format!("{relative}/{name}")
                };
                // follows links, as reading the object does; others are looked at from the open directory
                let metadata = match entry.file_type() {
                    Err(e) => Err(e),
                    Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()),
                    Ok(kind) if kind.is_dir() => {
                        waiting.push(key);
                        continue;
                    }
                    Ok(_) => entry.metadata(),
                };
                match metadata {
                    Ok(metadata) if metadata.is_dir() => waiting.push(key),
                    Ok(metadata) => {
                        found.insert(key, metadata.len());
                    }
                    Err(e) if is_gone(&e) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(found)
    }

    /// Removes directories that the deletion of these keys left empty.
    pub fn prune(&self, deleted: &[String]) {
        for key in deleted {
            let mut directory = Path::new(key).parent();
            while let Some(relative) = directory.filter(|d| !d.as_os_str().is_empty()) {
                // not empty, or gone already: nothing above it can be empty either
                if fs::remove_dir(self.path.join(relative)).is_err() {
                    break;
                }
                directory = relative.parent();
            }
        }
    }

    /// Removes temporary files of copies that a crash left: nothing was written to them for ten
    /// minutes, by the clock that the filesystem gives files their times by; this host's may be wrong.
    pub fn sweep_temporary(&self) -> io::Result<usize> {
        let directory = self.path.join(keys::TEMPORARY_DIRECTORY);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e),
        };
        let (mut removed, mut now) = (0, None);
        for entry in entries {
            let entry = entry?;
            // a copy that ends at this moment takes its temporary name away
            let modified = match entry.metadata() {
                Ok(metadata) => metadata.modified()?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let now = match now {
                Some(now) => now,
                None => *now.insert(time_of_a_new_file(&directory)?),
            };
            if now.duration_since(modified).unwrap_or_default().as_secs() > 600 {
                match fs::remove_file(entry.path()) {
                    Ok(()) => removed += 1,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(removed)
    }
}

/// Now, as the filesystem of a directory has it.
fn time_of_a_new_file(directory: &Path) -> io::Result<SystemTime> {
    let path = directory.join(uuid::Uuid::new_v4().to_string());
    let made = File::create_new(&path)?;
    let time = made.metadata().and_then(|m| m.modified());
    fs::remove_file(&path)?;
    time
}

/// Runs `create`, making the parent directory first where it is missing. Tried again when the
/// collector removes the empty directory in between.
pub(super) fn with_parent<T>(path: &Path, create: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match create() {
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 8 => {
                tries += 1;
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
            }
            other => return other,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
