//! From a database error to ours.

use crate::domain::{Code, Error};

/// An error of the database that no rule of ours explains: it is down, or we are wrong.
pub fn failed(error: sqlx::Error) -> Error {
    // 22021 and 22P05: a NUL character, the one that no text in Postgres can hold
    let nul = |e: &dyn sqlx::error::DatabaseError| e.code().is_some_and(|c| matches!(c.as_ref(), "22021" | "22P05"));
    if error.as_database_error().is_some_and(nul) {
        return Code::InvalidRequest
            .error("a text in the request holds a NUL character")
            .because(error);
    }
    if error
        .as_database_error()
        .is_some_and(|e| e.code().is_some_and(|c| c == "22003"))
    {
        return Code::InvalidRequest
            .error("sizes or counts add up to more than 9223372036854775807")
            .because(error);
    }
    let unavailable = match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Protocol(_) => true,
        // 28000, 28P01, 3D000: it refuses us, which is for its operator to mend;
        // 57P01 shutdown, 57P02 crash, 57P03 starting, 08 connection, 53300 too many connections,
        // 40001 and 40P01: another transaction won, the caller may try again
        sqlx::Error::Database(e) => e.code().is_some_and(|c| {
            matches!(
                c.as_ref(),
                "28000"
                    | "28P01"
                    | "3D000"
                    | "57P01"
                    | "57P02"
                    | "57P03"
                    | "53300"
                    | "40001"
                    | "40P01"
                    | "55P03"
                    | "57014"
                    | "25P03"
            ) || c.starts_with("08")
        }),
        _ => false,
    };
    if unavailable {
        Code::DatabaseUnavailable
            .error("the catalog database does not answer; try again")
            .because(error)
    } else {
        Error::internal(error)
    }
}

/// Whether a statement failed because of this named constraint.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(|e| e.constraint()) == Some(constraint)
}

/// Turns the violation of a named constraint into an error of ours.
pub fn on_constraint<T>(result: Result<T, sqlx::Error>, constraint: &str, error: impl FnOnce() -> Error) -> Result<T, Error> {
    result.map_err(|e| {
        if violates(&e, constraint) {
            error().because(e)
        } else {
            failed(e)
        }
    })
}
