//! The directory of the socket: short, private, under the system's temporary directory.

use std::{
    env,
    fmt::Write as _,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{binaries::Binaries, error::StartError, reach, run_as::RunAs};

const PREFIX: &str = "stillframe-pg-";

/// Appended to the prefix by `tempfile`.
const RANDOM_LEN: usize = 6;

/// Only names the socket: there is no TCP.
pub(super) const PORT: u16 = 5432;

/// Size of `sun_path` in bytes on the system that has least, without the final zero.
const SOCKET_PATH_LIMIT: usize = 103;

/// Makes the directory, open to the user of Postgres only (and to root).
pub(super) async fn create(user: &RunAs, binaries: &Binaries) -> Result<TempDir, StartError> {
    let bases = [env::temp_dir(), PathBuf::from("/tmp")];
    for base in &bases {
        // Absolute and without `..`, as Postgres writes it to postmaster.pid.
        let Ok(base) = &fs::canonicalize(base) else { continue };
        let name_len = "/".len() + PREFIX.len() + RANDOM_LEN + socket_name().len() + "/".len();
        let fits = base.to_str().is_some_and(|base| base.len() + name_len <= SOCKET_PATH_LIMIT);
        if !fits || !reach::can_enter(base, user, binaries).await? {
            continue;
        }
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(RANDOM_LEN)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(base)
            .map_err(StartError::io("create a directory in", base))?;
        user.give(dir.path())?;
        return Ok(dir);
    }
    Err(StartError::NoSocketDir {
        tried: bases.map(|base| base.display().to_string()).join(" and "),
        limit: SOCKET_PATH_LIMIT,
        user: user.name().to_owned(),
    })
}

/// The URL of the database on the socket in `dir`.
///
/// Host and port stand in it although the socket decides, and so does `sslmode`, because drivers
/// fill gaps from `PGHOST`, `PGPORT` and `PGSSLMODE`.
pub(super) fn database_url(dir: &Path) -> String {
    let mut host = String::new();
    for byte in dir.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            host.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(host, "%{byte:02X}");
        }
    }
    format!("postgres://stillframe@localhost:{PORT}/stillframe?host={host}&sslmode=disable")
}

/// Removes a directory made by [`create`] whose server is gone. It is not trusted to be ours, so
/// nothing but a socket directory's own files is removed.
pub(super) fn remove_stale(dir: &Path) {
    let is_ours = dir.is_absolute()
        && dir
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        && fs::symlink_metadata(dir).is_ok_and(|metadata| metadata.is_dir());
    if !is_ours {
        return;
    }
    let socket = dir.join(socket_name());
    // Postgres removes them itself unless it was killed.
    let _ = fs::remove_file(&socket);
    let _ = fs::remove_file(socket.with_added_extension("lock"));
    match fs::remove_dir(dir) {
        Ok(()) => tracing::debug!(dir = %dir.display(), "removed a stale socket directory"),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove a stale socket directory");
        }
    }
}

fn socket_name() -> String {
    format!(".s.PGSQL.{PORT}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_directories_are_encoded() {
        assert_eq!(
            database_url(Path::new("/tmp/a b&c%/stillframe-pg-x")),
            "postgres://stillframe@localhost:5432/stillframe\
             ?host=%2Ftmp%2Fa%20b%26c%25%2Fstillframe-pg-x&sslmode=disable"
        );
    }

    #[test]
    fn only_own_directories_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let foreign = base.path().join("foreign");
        let full = base.path().join("stillframe-pg-full");
        let ours = base.path().join("stillframe-pg-ours");
        for dir in [&foreign, &full, &ours] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(full.join("precious"), "").unwrap();
        fs::write(ours.join(".s.PGSQL.5432"), "").unwrap();
        fs::write(ours.join(".s.PGSQL.5432.lock"), "").unwrap();
        for dir in [&foreign, &full, &ours] {
            remove_stale(dir);
        }
        assert!(foreign.exists() && full.join("precious").exists() && !ours.exists());
    }
}
