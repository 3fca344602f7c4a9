//! One error type for the whole product: a stable code, a text for the caller, and, kept apart,
//! the internal cause for the log.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;
type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What sort of failure it is; HTTP statuses and Milvus codes are chosen from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bytes could not be read as what was expected.
    Malformed,
    /// It was read, and its content breaks a rule.
    Invalid,
    /// Who calls is not known.
    Unauthenticated,
    /// Who calls may not do this.
    Denied,
    NotFound,
    Conflict,
    MethodNotAllowed,
    UnsupportedMediaType,
    TooLarge,
    /// A condition that the request made does not hold.
    Precondition,
    /// The client sends more requests than it may.
    TooMany,
    /// The client sends its request too slowly.
    Slow,
    Timeout,
    /// A store behind the service refused it.
    Refused,
    /// There is no room left.
    Full,
    Unavailable,
    Internal,
}

macro_rules! codes {
    ($($variant:ident $code:literal $kind:ident $title:literal),+ $(,)?) => {
        /// The stable codes of the API. They are a contract: never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $title] $variant),+ }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The code as it stands in problem documents.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code),+ }
            }

            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind),+ }
            }

            /// A fixed sentence for the code.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),+ }
            }
        }
    };
}

codes! {
    MalformedRequest "malformed_request" Malformed "The request could not be read",
    InvalidPageToken "invalid_page_token" Malformed "The page token does not belong to this list",
    InvalidRequest "invalid_request" Invalid "The request breaks a rule",
    InvalidPath "invalid_path" Invalid "A file path is not acceptable",
    FileMissing "file_missing" Invalid "A listed file is not in the object storage",
    FileSizeMismatch "file_size_mismatch" Invalid "A listed file has another size in the object storage",
    FileChanged "file_changed" Invalid "A listed file was changed in the object storage",
    UnreadableSnapshot "unreadable_snapshot" Invalid "A stored snapshot can't be taken as it is",
    InvalidExternalSnapshot "invalid_external_snapshot" Invalid "The snapshot at this place can't be restored",
    UnsupportedStorageVersion "unsupported_storage_version" Invalid "This storage version is not supported",
    Unauthenticated "unauthenticated" Unauthenticated "The call needs a valid credential",
    PermissionDenied "permission_denied" Denied "The caller lacks a permission",
    HostNotAllowed "host_not_allowed" Denied "The service is not known under this name",
    CrossSiteRequest "cross_site_request" Denied "A page of another origin may change nothing",
    RouteNotFound "route_not_found" NotFound "There is nothing at this path",
    DatabaseNotFound "database_not_found" NotFound "The database does not exist",
    CollectionNotFound "collection_not_found" NotFound "The collection does not exist",
    PartitionNotFound "partition_not_found" NotFound "The partition does not exist",
    AliasNotFound "alias_not_found" NotFound "The alias does not exist",
    ChannelNotFound "channel_not_found" NotFound "The channel does not exist",
    IndexNotFound "index_not_found" NotFound "The index does not exist",
    SegmentNotFound "segment_not_found" NotFound "The segment does not exist",
    SnapshotNotFound "snapshot_not_found" NotFound "The snapshot does not exist",
    RestoreJobNotFound "restore_job_not_found" NotFound "The restore job does not exist, or its history has expired",
    ExportJobNotFound "export_job_not_found" NotFound "The export job does not exist, or its history has expired",
    ExternalSnapshotNotFound "external_snapshot_not_found" NotFound "There is no snapshot at this place",
    PinNotFound "pin_not_found" NotFound "The snapshot has no such pin, or it has expired",
    ReceiptNotFound "receipt_not_found" NotFound "The restore job has no receipt",
    KeyNotFound "key_not_found" NotFound "The API key does not exist",
    GcRunNotFound "gc_run_not_found" NotFound "The collector run does not exist",
    WebhookNotFound "webhook_not_found" NotFound "The webhook does not exist",
    WebhookDeliveryNotFound "webhook_delivery_not_found" NotFound "The webhook has no such delivery, or its history has expired",
    MethodNotAllowed "method_not_allowed" MethodNotAllowed "This path has no such method",
    UnsupportedMediaType "unsupported_media_type" UnsupportedMediaType "The body must be application/json",
    PayloadTooLarge "payload_too_large" TooLarge "The request body is too large",
    BodyTimeout "body_timeout" Slow "The request body came too slowly",
    RateLimited "rate_limited" TooMany "The client sends more requests than it may",
    PreconditionFailed "precondition_failed" Precondition "The condition of the request does not hold",
    IdempotencyKeyReused "idempotency_key_reused" Invalid "The idempotency key belongs to another call",
    IdempotencyKeyInUse "idempotency_key_in_use" Conflict "The call with this idempotency key is still running",
    DatabaseAlreadyExists "database_already_exists" Conflict "The database exists already",
    DatabaseNotEmpty "database_not_empty" Conflict "The database is not empty",
    CollectionAlreadyExists "collection_already_exists" Conflict "The name or id of the collection is taken",
    PartitionAlreadyExists "partition_already_exists" Conflict "The partition exists already",
    PartitionRequired "partition_required" Conflict "This partition can't be dropped",
    AliasAlreadyExists "alias_already_exists" Conflict "The name of the alias is taken",
    IndexAlreadyExists "index_already_exists" Conflict "The index exists already",
    IndexBuildAlreadyExists "index_build_already_exists" Conflict "The index build exists already",
    SegmentAlreadyExists "segment_already_exists" Conflict "The segment exists already",
    SegmentState "segment_state" Conflict "The segment's state does not allow this",
    CollectionExternal "collection_external" Conflict "The collection is external and only read here",
    CollectionNotExternal "collection_not_external" Conflict "The collection's files are kept here already",
    CollectionNotReady "collection_not_ready" Conflict "The collection can't be materialized as it is now",
    CollectionBeingMaterialized "collection_being_materialized" Conflict "The collection is being materialized",
    ChannelWithoutPosition "channel_without_position" Conflict "A channel has never reported a seek position",
    FlushTimeout "flush_timeout" Conflict "The engine has not flushed every segment in time",
    SnapshotAlreadyExists "snapshot_already_exists" Conflict "The collection has a snapshot of this name",
    SnapshotNameAmbiguous "snapshot_name_ambiguous" Conflict "Several snapshots have this name",
    SnapshotBeingRestored "snapshot_being_restored" Conflict "The snapshot is being restored",
    SnapshotBeingExported "snapshot_being_exported" Conflict "The snapshot is being exported",
    SnapshotPinned "snapshot_pinned" Conflict "The snapshot is pinned",
    SnapshotHeld "snapshot_held" Conflict "The snapshot is on hold",
    SnapshotInterrupted "snapshot_interrupted" Conflict "Another call took the snapshot over while it was written",
    KeyAlreadyExists "key_already_exists" Conflict "The name of the API key is taken",
    GcRunInProgress "gc_run_in_progress" Conflict "Another run of the collector is under way",
    WebhooksDisabled "webhooks_disabled" Conflict "The service has no key for webhooks",
    TooManyWebhooks "too_many_webhooks" Conflict "There are as many webhooks as there may be",
    RestoreJobEnded "restore_job_ended" Conflict "The restore job has ended already",
    RestoreFailed "restore_failed" Conflict "The restore failed",
    ExportJobEnded "export_job_ended" Conflict "The export job has ended already",
    ExternalSnapshotChanged "external_snapshot_changed" Conflict "The snapshot was changed after the restore was asked for",
    CredentialsLost "credentials_lost" Conflict "The credentials of the request are gone",
    TooManyStreams "too_many_streams" Unavailable "This process serves as many event streams as it may",
    Overloaded "overloaded" Unavailable "The service holds as many large requests as it may",
    RequestTimeout "request_timeout" Timeout "The request took too long",
    StorageAccessDenied "storage_access_denied" Refused "The object storage refused access",
    PartCopyUnsupported "part_copy_unsupported" Refused "The object storage can't copy objects in parts",
    InsufficientStorage "insufficient_storage" Full "The object storage is full",
    StorageUnavailable "storage_unavailable" Unavailable "The object storage does not answer",
    DatabaseUnavailable "database_unavailable" Unavailable "The catalog database does not answer",
    CorruptSnapshot "corrupt_snapshot" Internal "A stored snapshot can't be read",
    Internal "internal" Internal "An internal error",
}

impl Code {
    /// An error with this code and a text for the caller.
    pub fn error(self, detail: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code: self,
            detail: detail.into(),
            fields: Vec::new(),
            source: None,
        }))
    }
}

/// One thing that is wrong in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a JSON pointer into the body (RFC 6901), or `?name` for a query parameter.
    pub pointer: String,
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: String,
    fields: Vec<FieldError>,
    source: Option<Source>,
}

/// An error of the product. `Display` is the text for the caller; the source is for the log only.
#[derive(Debug)]
pub struct Error(Box<Inner>);

impl Error {
    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn kind(&self) -> Kind {
        self.0.code.kind()
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn fields(&self) -> &[FieldError] {
        &self.0.fields
    }

    /// Adds the internal cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what is wrong in the request.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<FieldError>) -> Self {
        self.0.fields = fields;
        self
    }

    /// An `invalid_request` about one place.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = FieldError::new(pointer, detail);
        let at = if field.pointer.is_empty() {
            "the request"
        } else {
            field.pointer.as_str()
        };
        Code::InvalidRequest
            .error(format!("{at}: {}", field.detail))
            .with_fields(vec![field])
    }

    /// An `internal` error; the text for the caller stays fixed.
    pub fn internal(source: impl Into<Source>) -> Self {
        Code::Internal.error("internal error").because(source)
    }

    /// The internal causes, outermost first, as one line for the log.
    pub fn cause_chain(&self) -> String {
        let mut text = String::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}
