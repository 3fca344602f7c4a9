//! Copies between files of a local root. Each appears whole or not at all, through a temporary
//! name; several small ones in a row cost one blocking task and, synced, few commits of the
//! filesystem's journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::keys;
use super::local::{LocalRoot, with_parent};

/// Bytes between two looks at whether to stop.
const PIECE: u64 = 16 * 1024 * 1024;

/// A copy that is written and does not have its name yet.
struct Written {
    temporary: PathBuf,
    /// Still open where it is to be synced.
    file: Option<File>,
}

impl LocalRoot {
    /// Copies files from a key to a key, in order, and tells `done` the position of each that has
    /// appeared. Blocking; `stop` ends it within a piece, and keeps what has not appeared from doing
    /// so. The names are not synced: see [`LocalRoot::sync_parents`].
    ///
    /// # Errors
    /// The position of the first file that could not be copied, and why; those before it have
    /// appeared, those after it have not.
    pub fn copy_many(
        &self,
        files: &[(String, String)],
        stop: &AtomicBool,
        mut done: impl FnMut(usize),
    ) -> Result<(), (usize, io::Error)> {
        let batch = uuid::Uuid::new_v4();
        let mut written = Vec::with_capacity(files.len());
        let mut outcome = Ok(());
        for (at, (source, _)) in files.iter().enumerate() {
            let name = format!("{batch}-{at}");
            let temporary = self.path.join(keys::TEMPORARY_DIRECTORY).join(name);
            match self.write_copy(&self.path.join(source), &temporary, stop) {
                Ok(file) => written.push(Written { temporary, file }),
                Err(error) => {
                    remove(&temporary);
                    outcome = Err((at, error));
                    break;
                }
            }
        }
        // one after the other, when all are written: the first sync commits the names of all
        let mut copies = written.into_iter().zip(files).enumerate();
        for (at, (copy, (_, target))) in copies.by_ref() {
            if let Err(error) = appear(&copy, &self.path.join(target), stop) {
                remove(&copy.temporary);
                outcome = Err((at, error));
                break;
            }
            done(at);
        }
        copies.for_each(|(_, (copy, _))| remove(&copy.temporary));
        outcome
    }

    /// `io::copy` between files is copy_file_range(2): the bytes stay in the kernel, and where the
    /// filesystem can (Btrfs, XFS, bcachefs, NFS 4.2) it shares the blocks as a reflink does.
    fn write_copy(&self, source: &Path, temporary: &Path, stop: &AtomicBool) -> io::Result<Option<File>> {
        let from = File::open(source)?;
        let created = with_parent(temporary, || OpenOptions::new().write(true).create_new(true).open(temporary));
        let mut to = created.map_err(not_missing)?;
        loop {
            refuse_stopped(stop)?;
            if io::copy(&mut (&from).take(PIECE), &mut to)? < PIECE {
                return Ok(self.fsync.then_some(to));
            }
        }
    }
}

fn appear(copy: &Written, target: &Path, stop: &AtomicBool) -> io::Result<()> {
    if let Some(file) = &copy.file {
        refuse_stopped(stop)?;
        file.sync_all()?;
    }
    refuse_stopped(stop)?;
    with_parent(target, || fs::rename(&copy.temporary, target)).map_err(not_missing)
}

/// Only the source of a copy may be said to be missing.
fn not_missing(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        io::Error::other(error)
    } else {
        error
    }
}

fn refuse_stopped(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::SeqCst) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "the copy was stopped"));
    }
    Ok(())
}

/// The error that counts came before; a leftover is swept at a later start.
fn remove(temporary: &Path) {
    let _ = fs::remove_file(temporary);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(fsync: bool) -> (tempfile::TempDir, LocalRoot) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_path_buf();
        (dir, LocalRoot { path, fsync })
    }

    fn pairs(count: usize) -> Vec<(String, String)> {
        (0..count).map(|n| (format!("from/{n}"), format!("to/{n}/copy"))).collect()
    }

    fn make(root: &LocalRoot, count: usize) {
        fs::create_dir_all(root.path.join("from")).expect("made");
        for n in 0..count {
            fs::write(root.path.join(format!("from/{n}")), format!("content {n}")).expect("written");
        }
    }

    fn leftovers(root: &LocalRoot) -> usize {
        fs::read_dir(root.path.join(keys::TEMPORARY_DIRECTORY)).map_or(0, Iterator::count)
    }

    #[test]
    fn copies_appear_in_order_with_the_bytes_of_their_sources() {
        for fsync in [false, true] {
            let (_dir, root) = root(fsync);
            make(&root, 3);
            let mut done = Vec::new();
            root.copy_many(&pairs(3), &AtomicBool::new(false), |at| done.push(at))
                .expect("copied");
            assert_eq!(done, [0, 1, 2]);
            for n in 0..3 {
                let copy = fs::read_to_string(root.path.join(format!("to/{n}/copy"))).expect("is there");
                assert_eq!(copy, format!("content {n}"));
            }
            assert_eq!(leftovers(&root), 0);
        }
    }

    #[test]
    fn what_comes_before_a_missing_source_appears_and_nothing_after_it_does() {
        let (_dir, root) = root(true);
        make(&root, 3);
        fs::remove_file(root.path.join("from/1")).expect("removed");
        let mut done = Vec::new();
        let failed = root.copy_many(&pairs(3), &AtomicBool::new(false), |at| done.push(at));
        let (at, error) = failed.expect_err("a source is missing");
        assert_eq!((at, error.kind()), (1, io::ErrorKind::NotFound));
        assert_eq!(done, [0]);
        assert!(!root.path.join("to/2/copy").exists());
        assert_eq!(leftovers(&root), 0);
    }

    #[test]
    fn once_told_to_stop_no_more_copies_appear_and_nothing_is_left() {
        let (_dir, root) = root(false);
        make(&root, 3);
        let stop = AtomicBool::new(false);
        let mut done = Vec::new();
        let stopped = root.copy_many(&pairs(3), &stop, |at| {
            done.push(at);
            stop.store(true, Ordering::SeqCst);
        });
        assert_eq!(stopped.expect_err("stopped").0, 1);
        assert_eq!(done, [0]);
        assert!(!root.path.join("to/1/copy").exists());
        assert_eq!(leftovers(&root), 0);
    }

    #[test]
    fn a_file_of_several_pieces_is_copied_whole() {
        let (_dir, root) = root(false);
        fs::create_dir_all(root.path.join("from")).expect("made");
        for (n, size) in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5].into_iter().enumerate() {
            let file = File::create(root.path.join(format!("from/{n}"))).expect("made");
            file.set_len(size).expect("as long");
        }
        root.copy_many(&pairs(4), &AtomicBool::new(false), |_| {}).expect("copied");
        for (n, size) in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5].into_iter().enumerate() {
            let copy = fs::metadata(root.path.join(format!("to/{n}/copy"))).expect("is there");
            assert_eq!(copy.len(), size);
        }
    }
}
