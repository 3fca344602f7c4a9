//! Where a benchmark runs: a directory of the storage, and a schema of the database, of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use clap::{Args as _, FromArgMatches as _};
use tempfile::TempDir;
use url::Url;

use super::BenchArgs;
use crate::app;
use crate::config::{Config, ServeArgs};
use crate::objects::{Objects, StorageOptions, StorageUrl};

/// Removed by [`Place::leave`].
pub struct Place {
    /// Of the private Postgres, and of the storage where none was named.
    directory: TempDir,
    storage: StorageUrl,
    /// The database that was named and the schema made in it.
    schema: Option<(String, String)>,
}

impl Place {
    /// # Errors
    /// A storage that can't be read, a directory or schema that can't be made.
    pub async fn prepare(args: &BenchArgs) -> anyhow::Result<Self> {
        let mut directory = tempfile::Builder::new();
        directory.prefix("stillframe-bench-");
        // as root, Postgres runs as another user, who must get through
        directory.permissions(Permissions::from_mode(0o755));
        let directory = directory
            .tempdir_in(&args.scratch)
            .with_context(|| format!("can't make a directory in {}", args.scratch.display()))?;
        let name = format!("stillframe_bench_{}", uuid::Uuid::new_v4().simple());
        let given = args.storage.as_deref().map(StorageUrl::parse).transpose();
        let storage = match given.map_err(anyhow::Error::msg)? {
            None => StorageUrl::Local {
                path: directory.path().join("objects"),
            },
            Some(StorageUrl::Local { path }) => StorageUrl::Local { path: path.join(&name) },
            Some(StorageUrl::S3 {
                bucket,
                prefix,
                endpoint,
                region,
                virtual_host_style,
            }) => StorageUrl::S3 {
                bucket,
                prefix: format!("{prefix}/{name}").trim_matches('/').to_string(),
                endpoint,
                region,
                virtual_host_style,
            },
            Some(StorageUrl::Memory) => StorageUrl::Memory,
        };
        let schema = match &args.database_url {
            None => None,
            Some(url) => {
                let pool = app::connect(url, 1).await?;
                let made = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create schema {name}")));
                made.execute(&pool).await.context("can't make a schema")?;
                pool.close().await;
                Some((url.clone(), name))
            }
        };
        Ok(Self {
            directory,
            storage,
            schema,
        })
    }

    /// The settings of `serve`, whatever the environment says beside the storage and the database.
    ///
    /// # Errors
    /// A database URL that can't be read.
    pub fn config(&self, args: &BenchArgs) -> anyhow::Result<Config> {
        let defaults = ServeArgs::augment_args(clap::Command::new("bench")).mut_args(|arg| arg.env(None::<&str>));
        let mut matches = defaults.try_get_matches_from(["bench", "--listen", "127.0.0.1:0", "--gc-interval-seconds", "0"])?;
        let mut settings = ServeArgs::from_arg_matches_mut(&mut matches)?;
        settings.data_dir = self.directory.path().to_path_buf();
        settings.copy_concurrency = usize::from(args.concurrency);
        let mut config = Config::new(settings)?;
        config.storage = self.storage.clone();
        config.fsync = !args.no_fsync;
        config.storage_options.fsync = !args.no_fsync;
        if let Some((url, schema)) = &self.schema {
            let mut url = Url::parse(url).context("the database URL can't be read")?;
            url.query_pairs_mut()
                .append_pair("options", &format!("-csearch_path={schema}"));
            config.database_url = Some(url.into());
        }
        Ok(config)
    }

    /// Removes everything that was made.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn leave(self) -> anyhow::Result<()> {
        match &self.storage {
            StorageUrl::Local { path } if path.exists() => {
                std::fs::remove_dir_all(path).with_context(|| format!("can't remove {}", path.display()))?;
            }
            StorageUrl::S3 { .. } => {
                let objects = Objects::open(self.storage.clone(), StorageOptions::default())?;
                let keys = objects.list("/").await?.into_keys().collect();
                let left = objects.delete(keys).await;
                anyhow::ensure!(
                    left.is_empty(),
                    "{} objects could not be deleted below {}",
                    left.len(),
                    self.storage
                );
            }
            _ => {}
        }
        if let Some((url, schema)) = &self.schema {
            let pool = app::connect(url, 1).await?;
            let dropped = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop schema {schema} cascade")));
            dropped
                .execute(&pool)
                .await
                .with_context(|| format!("can't drop the schema {schema}"))?;
            pool.close().await;
        }
        let path = self.directory.path().to_path_buf();
        self.directory
            .close()
            .with_context(|| format!("can't remove {}", path.display()))
    }
}
