//! The user Postgres runs as: oneself, or an unprivileged one when the service is root.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{MetadataExt, chown, lchown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{Uid, User};

use super::error::StartError;

/// Users a root service runs Postgres as, the first that exists.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// The user Postgres runs as.
#[derive(Clone, Debug)]
pub(super) struct RunAs {
    name: String,
    /// Uid and gid to switch to; `None` when the service isn't root.
    switch_to: Option<(u32, u32)>,
}

impl RunAs {
    /// Chooses by the data directory's owner. A process that isn't root can only be itself.
    pub(super) fn choose(data_dir: &Path) -> Result<Self, StartError> {
        let owner = match fs::metadata(data_dir) {
            Ok(metadata) => Some((metadata.uid(), metadata.gid())),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(StartError::io("look at", data_dir)(error)),
        };
        let me = Uid::effective();
        match owner {
            Some((uid, _)) if !me.is_root() && uid != me.as_raw() => Err(StartError::NotOwner {
                path: data_dir.to_owned(),
                owner: user_name(uid),
                user: user_name(me.as_raw()),
            }),
            _ if !me.is_root() => Ok(Self {
                name: user_name(me.as_raw()),
                switch_to: None,
            }),
            Some((uid, gid)) if uid != 0 => {
                // An owner unknown to this system, as in containers, has no primary group.
                let gid = user_by_id(uid).map_or(gid, |user| user.gid.as_raw());
                Ok(Self {
                    name: user_name(uid),
                    switch_to: Some((uid, gid)),
                })
            }
            _ => UNPRIVILEGED
                .iter()
                .find_map(|name| User::from_name(name).ok().flatten())
                .filter(|user| !user.uid.is_root())
                .map(|user| Self {
                    name: user.name,
                    switch_to: Some((user.uid.as_raw(), user.gid.as_raw())),
                })
                .ok_or(StartError::NoUser),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Uid and gid to change to; `None` when the service isn't root.
    pub(super) fn switch_to(&self) -> Option<(u32, u32)> {
        self.switch_to
    }

    /// A command that runs `program` as this user, in `/` (the service's own directory may be
    /// closed to the user) and in a process group of its own, so that the terminal's Ctrl-C
    /// reaches only the service, which then stops Postgres when it no longer needs it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").process_group(0).stdin(Stdio::null());
        // Postgres takes settings from some PG variables. Its messages are searched, so English.
        for (key, _) in std::env::vars_os().filter(|(key, _)| is_postgres_variable(key)) {
            command.env_remove(key);
        }
        command.env("LC_ALL", "C");
        if let Some((uid, gid)) = self.switch_to {
            // std drops root's supplementary groups along with the uid.
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives one file or directory to this user.
    pub(super) fn give(&self, path: &Path) -> Result<(), StartError> {
        match self.switch_to {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(StartError::io("change the owner of", path)),
            None => Ok(()),
        }
    }

    /// Gives a whole directory to this user when root owns it, as after a copy made by root.
    pub(super) fn give_tree(&self, root: &Path) -> Result<(), StartError> {
        let metadata = fs::metadata(root).map_err(StartError::io("look at", root))?;
        let (Some((uid, gid)), 0) = (self.switch_to, metadata.uid()) else {
            return Ok(());
        };
        tracing::info!(
            path = %root.display(),
            user = self.name,
            "giving the data directory to the user of postgres"
        );
        chown_tree(root, uid, gid)
    }
}

/// Children first: the root of the tree tells whether this is still to be done.
fn chown_tree(path: &Path, uid: u32, gid: u32) -> Result<(), StartError> {
    let metadata = fs::symlink_metadata(path).map_err(StartError::io("look at", path))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(StartError::io("list", path))? {
            chown_tree(&entry.map_err(StartError::io("list", path))?.path(), uid, gid)?;
        }
    }
    lchown(path, Some(uid), Some(gid)).map_err(StartError::io("change the owner of", path))
}

fn is_postgres_variable(key: &std::ffi::OsStr) -> bool {
    key.as_encoded_bytes().starts_with(b"PG")
}

fn user_by_id(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

fn user_name(uid: u32) -> String {
    user_by_id(uid).map_or_else(|| uid.to_string(), |user| user.name)
}
