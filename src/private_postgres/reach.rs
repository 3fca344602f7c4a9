//! Whether the user of Postgres can get to a directory, asked of the kernel, so ACLs count too.

use std::{io::ErrorKind, path::Path, process::Stdio};

use super::{binaries::Binaries, data_dir::DataDir, error::StartError, run_as::RunAs};

/// Whether `user` can enter `dir`.
///
/// `binaries` are known to run as this user elsewhere, so only `dir` can be the obstacle.
pub(super) async fn can_enter(dir: &Path, user: &RunAs, binaries: &Binaries) -> Result<bool, StartError> {
    let mut command = user.command(&binaries.postgres());
    command
        .arg("--version")
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match tokio::process::Command::from(command).kill_on_drop(true).status().await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(StartError::io("enter", dir)(error)),
    }
}

/// Checks that `user` can get to the data directory, and else finds what blocks.
pub(super) async fn check(data_dir: &DataDir, user: &RunAs, binaries: &Binaries) -> Result<(), StartError> {
    // Only root's service has another user, who may see less than itself.
    if user.switch_to().is_none() || can_enter(data_dir.parent(), user, binaries).await? {
        return Ok(());
    }
    let mut blocker = data_dir.parent();
    // From below: the last one that can't be entered is the topmost.
    for dir in data_dir.parent().ancestors() {
        if !can_enter(dir, user, binaries).await? {
            blocker = dir;
        }
    }
    Err(StartError::Unreachable {
        user: user.name().to_owned(),
        data_dir: data_dir.path().to_owned(),
        blocker: blocker.to_owned(),
    })
}
