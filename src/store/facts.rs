//! What Postgres says of itself, for `stillframe doctor`. Works before the first migration.

use sqlx::PgConnection;

use super::failed;
use crate::domain::Result;

/// Facts about the server, the database and the role.
#[derive(Debug, Clone)]
pub struct Facts {
    /// As `server_version_num` has it: 150018 is 15.18.
    pub version: i32,
    pub database: String,
    pub role: String,
    pub encoding: String,
    /// In recovery, or made read-only.
    pub read_only: bool,
    /// The role may create tables in the schema that is searched first.
    pub may_create: bool,
    pub max_connections: i64,
    /// Open ones of all clients.
    pub connections: i64,
    /// Seconds since 1970 by the server's clock.
    pub now_seconds: f64,
    /// By which tests have moved the catalog's clock; none before the first migration.
    pub offset_ms: Option<i64>,
}

/// Asks for them.
///
/// # Errors
/// Database errors.
pub async fn read(conn: &mut PgConnection) -> Result<Facts> {
    let row = sqlx::query!(
        r#"select current_setting('server_version_num')::int as "version!", current_database()::text as "database!",
                  current_user::text as "role!", current_setting('server_encoding') as "encoding!",
                  (pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on') as "read_only!",
                  coalesce(has_schema_privilege(current_schema(), 'create'), false) as "may_create!",
                  current_setting('max_connections')::bigint as "max_connections!",
                  (select count(*) from pg_stat_activity where backend_type = 'client backend') as "connections!",
                  extract(epoch from clock_timestamp())::float8 as "now!", to_regclass('clock') is not null as "has_clock!""#
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(failed)?;
    let offset_ms = if row.has_clock {
        sqlx::query_scalar!("select offset_ms from clock")
            .fetch_optional(conn)
            .await
            .map_err(failed)?
    } else {
        None
    };
    Ok(Facts {
        version: row.version,
        database: row.database,
        role: row.role,
        encoding: row.encoding,
        read_only: row.read_only,
        may_create: row.may_create,
        max_connections: row.max_connections,
        connections: row.connections,
        now_seconds: row.now,
        offset_ms,
    })
}
