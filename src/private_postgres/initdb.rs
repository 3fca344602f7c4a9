//! Makes the data directory with the database `stillframe` in it, all or nothing.

use std::{
    fs::{self, File, Permissions},
    io::{Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{binaries::Binaries, data_dir::DataDir, error::StartError, log::Log, process::Process, run_as::RunAs};

/// What goes between the data directory's name and random letters while it is made.
const DRAFT: &str = ".initdb-";

/// What a data directory is made with.
pub(super) struct Initdb<'a> {
    pub(super) data_dir: &'a DataDir,
    pub(super) binaries: &'a Binaries,
    pub(super) user: &'a RunAs,
    pub(super) fsync: bool,
}

impl Initdb<'_> {
    /// Makes the data directory unless it is there, and leaves it to the user of Postgres.
    pub(super) async fn prepare(&self) -> Result<(), StartError> {
        let (data_dir, user) = (self.data_dir, self.user);
        remove_leftovers(data_dir).await?;
        if data_dir.version()?.is_some() {
            return user.give_tree(data_dir.path());
        }
        tracing::info!(
            data_dir = %data_dir.path().display(),
            user = user.name(),
            "creating the data directory of the private postgres"
        );
        // A new name each time: the initdb of a killed service may still write to an old one.
        let parent = data_dir.parent();
        let draft = tempfile::Builder::new()
            .prefix(&data_dir.sibling_name(DRAFT))
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(StartError::io("create a directory in", parent))?;
        user.give(draft.path())?;
        self.run_initdb(draft.path()).await?;
        self.create_database(draft.path()).await?;
        fs::rename(draft.path(), data_dir.path()).map_err(StartError::io("create", data_dir.path()))?;
        let _renamed = draft.keep();
        if self.fsync {
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(StartError::io("sync", parent))?;
        }
        Ok(())
    }

    /// Not every system has the locale C.UTF-8; to plain C only ASCII has letters.
    async fn run_initdb(&self, draft: &Path) -> Result<(), StartError> {
        let mut result = Ok(());
        for locale in ["C.UTF-8", "C"] {
            let log = Log::open(self.data_dir, self.user)?;
            let mut initdb = self.user.command(&self.binaries.initdb());
            initdb
                .args(["--username=stillframe", "--encoding=UTF8", "--data-checksums"])
                .args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"])
                .arg(format!("--locale={locale}"))
                .arg("-D")
                .arg(draft)
                .stdout(log.stdio()?);
            if !self.fsync {
                initdb.arg("--no-sync");
            }
            result = self.run("initdb", initdb, &log).await;
            let is_locale_missing = matches!(&result, Err(StartError::Failed { tail, .. })
                if tail.contains("invalid locale"));
            if !is_locale_missing {
                break;
            }
        }
        result
    }

    /// Creates the database in single-user mode, so that the data directory is complete when it
    /// gets its name, and no client program is needed.
    async fn create_database(&self, draft: &Path) -> Result<(), StartError> {
        let parent = self.data_dir.parent();
        let sql = tempfile::tempfile_in(parent).and_then(|mut sql| {
            sql.write_all(b"CREATE DATABASE stillframe\n")?;
            sql.rewind()?;
            Ok(sql)
        });
        let sql = sql.map_err(StartError::io("create a file in", parent))?;
        let mut postgres = self.user.command(&self.binaries.postgres());
        postgres.arg("--single").arg("-D").arg(draft).args(["-c", "exit_on_error=on"]);
        if !self.fsync {
            postgres.args(["-c", "fsync=off"]);
        }
        // Its output is prompts; errors go to the log.
        postgres.arg("template1").stdin(sql).stdout(Stdio::null());
        self.run("create database", postgres, &Log::open(self.data_dir, self.user)?)
            .await
    }

    async fn run(&self, program: &'static str, mut command: Command, log: &Log) -> Result<(), StartError> {
        command.stderr(log.stdio()?);
        let path = PathBuf::from(command.get_program());
        let process = Process::spawn(command).map_err(StartError::io("run", &path))?;
        let exit = process.exited().await;
        if exit.success {
            Ok(())
        } else {
            Err(log.failed(program, self.data_dir, exit))
        }
    }
}

/// Removes what an initdb that didn't finish has left. A failure is no obstacle.
async fn remove_leftovers(data_dir: &DataDir) -> Result<(), StartError> {
    let prefix = data_dir.sibling_name(DRAFT);
    let parent = data_dir.parent();
    for entry in fs::read_dir(parent).map_err(StartError::io("list", parent))?.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
            && let Err(error) = tokio::fs::remove_dir_all(entry.path()).await
        {
            tracing::warn!(
                path = %entry.path().display(),
                %error,
                "cannot remove an unfinished data directory"
            );
        }
    }
    Ok(())
}
