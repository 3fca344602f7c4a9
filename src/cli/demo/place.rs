//! Where the demo runs: its directory and its address.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// The default address of `serve`.
const DEFAULT_ADDRESS: &str = "127.0.0.1:19530";

/// The directory of the demo.
#[derive(Debug)]
pub enum Place {
    /// Stays.
    Kept(PathBuf),
    /// Goes at the end.
    Temporary(TempDir),
}

impl Place {
    /// Takes a directory, which must be absent or empty, or makes a temporary one.
    ///
    /// # Errors
    /// A directory that holds something, or that can't be made.
    pub fn prepare(data_dir: Option<PathBuf>, keep: bool) -> anyhow::Result<Self> {
        if let Some(dir) = data_dir {
            let dir = std::path::absolute(&dir).with_context(|| format!("data directory {}", dir.display()))?;
            fs::create_dir_all(&dir).with_context(|| format!("can't make the data directory {}", dir.display()))?;
            let mut inside = fs::read_dir(&dir).with_context(|| format!("can't look into {}", dir.display()))?;
            let why = "the demo begins with nothing: give it a directory that is absent or empty";
            ensure!(inside.next().is_none(), "{} is not empty; {why}", dir.display());
            return Ok(Self::Kept(dir));
        }
        let dir = tempfile::Builder::new()
            .prefix("stillframe-demo-")
            .tempdir()
            .context("can't make a temporary directory")?;
        // as root, Postgres runs as another user, who must get through
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).context("can't open the temporary directory")?;
        Ok(if keep { Self::Kept(dir.keep()) } else { Self::Temporary(dir) })
    }

    /// The data directory of the service.
    pub fn data_dir(&self) -> &Path {
        match self {
            Self::Kept(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// Where an object lies.
    pub fn object(&self, key: &str) -> PathBuf {
        self.data_dir().join("objects").join(key)
    }

    /// Removes what is temporary.
    ///
    /// # Errors
    /// When that does not work.
    pub fn leave(self) -> anyhow::Result<()> {
        match self {
            Self::Kept(_) => Ok(()),
            Self::Temporary(dir) => {
                let path = dir.path().to_path_buf();
                dir.close().with_context(|| format!("can't remove {}", path.display()))
            }
        }
    }
}

/// The default address, or any free port when another process has it.
pub fn free_default_address() -> String {
    match TcpListener::bind(DEFAULT_ADDRESS) {
        Ok(_) => DEFAULT_ADDRESS.into(),
        Err(_) => "127.0.0.1:0".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_something_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let inside = dir.path().join("a/b");
        let place = Place::prepare(Some(inside.clone()), false).expect("absent is fine");
        place.leave().expect("nothing to remove");
        assert!(inside.exists());
        let refused = Place::prepare(Some(dir.path().into()), true).expect_err("not empty");
        assert!(refused.to_string().contains("is not empty"), "{refused}");
    }

    #[test]
    fn a_temporary_directory_is_open_to_others_and_goes() {
        let place = Place::prepare(None, false).expect("a directory");
        let path = place.data_dir().to_path_buf();
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o755);
        place.leave().expect("removed");
        assert!(!path.exists());
    }
}
