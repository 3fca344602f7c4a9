//! What the bodies of all jobs, and of the requests for them, have in common.

/// Makes the body of a request for a job: fields of its own first, then the share and the limits that any
/// job can be given. (As a struct flattened into the bodies they would refuse no unknown field, and change the
/// OpenAPI document.)
macro_rules! job_request {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$own:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$own])* pub $field: $type,)*
            /// -10 to 10: a point more doubles the job's share of the workers.
            #[serde(default)]
            #[schema(minimum = -10, maximum = 10, default = 0)]
            pub priority: i32,
            /// Segments of this job that are copied at the same time, over all replicas; `null`: no limit,
            /// but two of a job with `max_bytes_per_second`.
            #[serde(default)]
            #[schema(minimum = 1)]
            pub max_concurrency: Option<i32>,
            /// Bytes that this job copies in a second, over all replicas; `null`: no limit.
            #[serde(default)]
            #[schema(value_type = Option<i64>, minimum = 1)]
            pub max_bytes_per_second: Option<$crate::api::types::Count>,
        }

        impl $name {
            /// The share and the limits that are asked for.
            fn control(&self) -> $crate::domain::schedule::Control {
                $crate::domain::schedule::Control {
                    priority: self.priority,
                    max_concurrency: self.max_concurrency,
                    max_bytes_per_second: self.max_bytes_per_second.map(|n| n.0),
                }
            }
        }
    };
}

/// Makes the body of a job, and how it is made of one: fields of its own first, then those that jobs of
/// every kind show. (A struct flattened into the bodies would change the OpenAPI document.)
macro_rules! job_response {
    (
        $(#[$meta:meta])*
        pub struct $name:ident of $job:ident {
            $($(#[$own:meta])* $field:ident: $type:ty = $value:expr,)*
        }
        cleanup { $(#[$cleanup:meta])* }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$own])* pub $field: $type,)*
            /// Why it failed or was cancelled; names the files, of many the first 100.
            pub reason: String,
            /// Stable code of a failure.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub error_code: Option<String>,
            /// Milliseconds from the request to the end, or to now.
            pub time_cost: Count,
            pub total_segments: Count,
            pub done_segments: Count,
            pub total_files: Count,
            pub done_files: Count,
            pub total_bytes: Count,
            pub done_bytes: Count,
            /// Of a running job what was copied in the last half minute, `null` when that is nothing; of an ended one what was copied over
            /// the time in which it copied.
            pub bytes_per_second: Option<i64>,
            /// As `bytes_per_second`.
            pub files_per_second: Option<f64>,
            /// Seconds that the rest of the copying takes at this rate; `null` unless files are being copied.
            pub eta_seconds: Option<i64>,
            /// Since when something of it has been waiting for the object storage or the database to answer, or to allow access again.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub waiting_since: Option<String>,
            /// The last error of what waits; it is tried again until `--outage-hours` are over.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub waiting_for: Option<String>,
            pub priority: i32,
            pub max_concurrency: Option<i32>,
            pub max_bytes_per_second: Option<i64>,
            /// Copies of single files that were tried again.
            pub retries: Count,
            /// What the operator should know although it does not stop the job.
            pub warnings: Vec<String>,
            $(#[$cleanup])*
            pub cleanup: String,
            pub created_at: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub finished_at: Option<String>,
        }

        impl From<RestoreJob> for $name {
            fn from($job: RestoreJob) -> Self {
                let (rates, eta_seconds) = ($job.rates(), $job.eta_seconds());
                Self {
                    $($field: $value,)*
                    reason: $job.reason,
                    error_code: $job.error_code,
                    time_cost: Count($job.time_cost_ms),
                    total_segments: Count($job.total_segments),
                    done_segments: Count($job.done_segments),
                    total_files: Count($job.total_files),
                    done_files: Count($job.done_files),
                    total_bytes: Count($job.total_bytes),
                    done_bytes: Count($job.done_bytes),
                    bytes_per_second: rates.map(|(bytes, _)| bytes as i64),
                    files_per_second: rates.map(|(_, files)| (files * 10.0).round() / 10.0),
                    eta_seconds,
                    waiting_since: $job.waiting.as_ref().map(|w| rfc3339(w.since)),
                    waiting_for: $job.waiting.map(|w| w.error),
                    priority: $job.control.priority,
                    max_concurrency: $job.control.max_concurrency,
                    max_bytes_per_second: $job.control.max_bytes_per_second,
                    retries: Count($job.retries),
                    warnings: $job.warnings,
                    cleanup: $job.cleanup,
                    created_at: rfc3339($job.created_at),
                    finished_at: $job.finished_at.map(rfc3339),
                }
            }
        }
    };
}

pub(super) use {job_request, job_response};
