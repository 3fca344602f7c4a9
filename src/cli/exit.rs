//! Exit codes. They are a contract with scripts: never renumbered.

/// Anything without a code of its own; of `demo`, `snapshot verify` and `snapshot plan`: something is wrong.
pub const FAILURE: u8 = 1;
/// The command line is wrong, or the service refused the request as invalid.
pub const USAGE: u8 = 2;
/// What was named does not exist.
pub const NOT_FOUND: u8 = 3;
/// The state of things does not allow it: a name is taken or ambiguous, a job has ended, ...
pub const CONFLICT: u8 = 4;
/// No answer from the service, or it says that it, its database or its storage is unavailable.
pub const UNAVAILABLE: u8 = 5;
/// The job that was waited for failed.
pub const RESTORE_FAILED: u8 = 6;
/// The job that was waited for was cancelled.
pub const RESTORE_CANCELLED: u8 = 7;
/// The service does not know who calls, or a permission is missing.
pub const DENIED: u8 = 8;
/// Ctrl-C, as shells say it.
pub const INTERRUPTED: u8 = 130;

/// The list for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    any other failure; a verification or a plan that found something wrong
  2    wrong command line, or the service refused the request as invalid
  3    what was named does not exist
  4    conflict: a name is taken or ambiguous, a job has ended already, ...
  5    the service can't be reached or is unavailable; trying again may help
  6    the job that was waited for failed
  7    the job that was waited for was cancelled
  8    not authenticated, or a permission is missing
  130  interrupted";

/// The exit code for an error that the service answered.
pub fn of_problem(status: u16, code: &str) -> u8 {
    match (status, code) {
        // not a thing that is missing: the server has no such call
        (_, "route_not_found" | "method_not_allowed") => FAILURE,
        (400 | 413 | 415 | 422, _) => USAGE,
        (401 | 403, _) => DENIED,
        (404, _) => NOT_FOUND,
        (409, _) => CONFLICT,
        (503 | 504, _) => UNAVAILABLE,
        _ => FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_api_has_a_sensible_exit_code() {
        for (status, code, exit) in [
            (422, "invalid_request", USAGE),
            (404, "snapshot_not_found", NOT_FOUND),
            (401, "unauthenticated", DENIED),
            (403, "permission_denied", DENIED),
            (404, "route_not_found", FAILURE),
            (409, "collection_already_exists", CONFLICT),
            (503, "database_unavailable", UNAVAILABLE),
            (504, "request_timeout", UNAVAILABLE),
            (507, "insufficient_storage", FAILURE),
            (500, "internal", FAILURE),
        ] {
            assert_eq!(of_problem(status, code), exit, "{status} {code}");
        }
    }

    #[test]
    fn the_help_lists_every_code() {
        let codes = [
            FAILURE,
            USAGE,
            NOT_FOUND,
            CONFLICT,
            UNAVAILABLE,
            RESTORE_FAILED,
            RESTORE_CANCELLED,
            DENIED,
            INTERRUPTED,
        ];
        for code in codes {
            assert!(HELP.contains(&format!("\n  {code:<5}")), "{code}");
        }
    }
}
