//! The catalog database.

use std::time::SystemTime;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Report;
use crate::config::Config;
use crate::private_postgres::{self, PrivatePostgres, StartError};
use crate::{app, store};

/// The oldest Postgres that the migrations work on.
const OLDEST: i32 = 14;
/// Seconds by which clocks may differ before it is worth a word.
const CLOCKS: f64 = 5.0;

/// What the storage should know of the catalog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Catalog {
    pub id: Uuid,
    /// It knows of segments or snapshots.
    pub in_use: bool,
}

/// Gives the catalog, where there is one.
pub(super) async fn examine(config: &Config, report: &mut Report) -> Option<Catalog> {
    match &config.database_url {
        Some(url) => at(url, config, report).await,
        None => private(config, report).await,
    }
}

async fn private(config: &Config, report: &mut Report) -> Option<Catalog> {
    const CHECK: &str = "private_postgres";
    let settings = private_postgres::Settings {
        data_dir: config.data_dir.join("postgres"),
        fsync: config.fsync,
        max_connections: config.max_connections + 10,
    };
    match private_postgres::examine(&settings.data_dir).await {
        Ok(major) => report.ok(CHECK, format!("binaries of Postgres {major} are there")),
        Err(error) => {
            let advice = "do what it says, or set DATABASE_URL to use a Postgres that runs already";
            report.failed(CHECK, chain(&error), advice);
            return None;
        }
    }
    if !settings.data_dir.exists() {
        let dir = settings.data_dir.display();
        report.skipped("database", format!("{dir} does not exist; the first start makes it"));
        return None;
    }
    match PrivatePostgres::start(&settings).await {
        Ok(postgres) => {
            let catalog = at(postgres.database_url(), config, report).await;
            if let Err(error) = postgres.stop().await {
                let advice = "look at postgres.log in the data directory";
                report.failed(CHECK, format!("it did not stop: {}", chain(&error)), advice);
            }
            catalog
        }
        Err(StartError::InUse { pid, .. }) => {
            let why = format!("a Stillframe (pid {pid}) runs on this data directory; its /readyz says how its database is");
            report.skipped("database", why);
            None
        }
        Err(error) => {
            let advice = "look at postgres.log in the data directory; a data directory of another Postgres needs its binaries";
            report.failed("database", chain(&error), advice);
            None
        }
    }
}

async fn at(url: &str, config: &Config, report: &mut Report) -> Option<Catalog> {
    let pool = match app::connect(url, 2).await {
        Ok(pool) => pool,
        Err(error) => {
            report.failed("database", format!("{error:#}"), why_not(&error));
            return None;
        }
    };
    let catalog = match pool.acquire().await {
        Ok(mut conn) => look(&pool, &mut conn, config, report).await,
        Err(error) => Err(store::failed(error)),
    };
    pool.close().await;
    catalog.unwrap_or_else(|error| {
        let cause = error.cause_chain();
        report.failed("database", format!("{error} ({cause})"), "see the log of Postgres");
        None
    })
}

/// What to do about a connection that was refused.
fn why_not(error: &anyhow::Error) -> &'static str {
    let code = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<sqlx::Error>())
        .and_then(|e| e.as_database_error())
        .and_then(|e| e.code());
    match code.as_deref() {
        Some("28P01" | "28000") => "the role or its password is wrong, or pg_hba.conf refuses it: correct DATABASE_URL",
        Some("3D000") => "make the database: `createdb`, owned by the role of DATABASE_URL",
        Some("53300") => "Postgres has no connection left: raise its max_connections, or lower --max-connections of the replicas",
        Some("57P03") => "Postgres is starting or stopping: try again in a moment",
        _ => "is Postgres up, and do the host, the port and the TLS settings of DATABASE_URL fit it?",
    }
}

async fn look(
    pool: &PgPool,
    conn: &mut PgConnection,
    config: &Config,
    report: &mut Report,
) -> crate::domain::Result<Option<Catalog>> {
    let facts = store::facts::read(conn).await?;
    let major = facts.version / 10_000;
    if major < OLDEST {
        let advice = "use Postgres 14 or newer";
        report.failed("database", format!("it is Postgres {major}"), advice);
        return Ok(None);
    }
    report.ok(
        "database",
        format!("Postgres {major}, database {:?}, role {:?}", facts.database, facts.role),
    );
    if facts.encoding != "UTF8" {
        let advice = "make the database anew with encoding UTF8: names may hold any character";
        report.failed("database_encoding", format!("its encoding is {}", facts.encoding), advice);
    }
    if facts.read_only {
        let advice = "point DATABASE_URL at the primary, not at a replica of Postgres";
        report.failed("database_writable", "it is in recovery or read-only", advice);
    }
    clocks(facts.now_seconds, facts.offset_ms, report);
    let wanted = i64::from(config.max_connections) + 3;
    let left = facts.max_connections - facts.connections;
    if left < wanted {
        let detail = format!("{left} of {} are free, this replica may open {wanted}", facts.max_connections);
        report.warning(
            "database_connections",
            detail,
            "raise max_connections of Postgres, or lower --max-connections",
        );
    } else {
        report.ok(
            "database_connections",
            format!("{left} of {} are free", facts.max_connections),
        );
    }
    let complete = migrations(pool, facts.may_create, config, report).await?;
    if !complete {
        return Ok(None);
    }
    let catalog = Catalog {
        id: store::catalog::id(conn).await?,
        in_use: store::catalog::is_in_use(conn).await?,
    };
    Ok(Some(catalog))
}

fn clocks(now_seconds: f64, offset_ms: Option<i64>, report: &mut Report) {
    let here = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64());
    let difference = here - now_seconds;
    if offset_ms.is_some_and(|ms| ms != 0) {
        let advice = "only tests move it: `update clock set offset_ms = 0`, unless this is one";
        report.warning(
            "clock",
            format!("the catalog's clock is moved by {} ms", offset_ms.unwrap_or(0)),
            advice,
        );
    } else if difference.abs() > CLOCKS {
        let advice = "synchronise both by NTP. Stillframe goes by the database's clock alone, but logs will mislead, and S3 refuses \
                      requests that are 15 minutes off";
        report.warning(
            "clock",
            format!("this machine's clock is {difference:.1} s ahead of the database's"),
            advice,
        );
    } else {
        report.ok(
            "clock",
            format!(
                "this machine's clock differs from the database's by {:.1} s",
                difference.abs()
            ),
        );
    }
}

/// Gives whether the catalog is there, whole.
async fn migrations(pool: &PgPool, may_create: bool, config: &Config, report: &mut Report) -> crate::domain::Result<bool> {
    const CHECK: &str = "migrations";
    let applied = store::catalog::applied_migrations(pool).await?;
    let known: Vec<i64> = store::MIGRATOR.iter().map(|m| m.version).collect();
    let missing = known.iter().filter(|v| !applied.contains(v)).count();
    let unknown = applied.iter().filter(|v| !known.contains(v)).count();
    if unknown > 0 {
        let advice = "a newer version has migrated this catalog: run that one";
        report.failed(
            CHECK,
            format!("{unknown} of the applied migrations are not known here"),
            advice,
        );
    } else if missing == 0 {
        report.ok(CHECK, format!("all {} are applied", known.len()));
    } else if !config.migrate {
        let advice = "run `stillframe migrate` with this DATABASE_URL first, or leave --no-migrate out";
        report.failed(CHECK, format!("{missing} of {} are missing", known.len()), advice);
    } else if !may_create {
        let advice = "`grant create on schema public to` the role, or run `stillframe migrate` as one that may";
        report.failed(
            CHECK,
            format!("{missing} of {} are missing, and the role may not create tables", known.len()),
            advice,
        );
    } else {
        report.ok(
            CHECK,
            format!("{missing} of {} are missing; the next start applies them", known.len()),
        );
    }
    Ok(missing == 0 && unknown == 0)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
