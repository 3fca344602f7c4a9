-- Who may do what, and who did what.

create table api_keys (
    key_id bigint not null,
    name text not null,
    key_sha256 bytea not null,
    grants jsonb not null,
    created_by text not null,
    created_at timestamptz not null default stillframe_now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    constraint api_keys_pkey primary key (key_id),
    constraint api_keys_name_key unique (name),
    constraint api_keys_key_sha256_key unique (key_sha256),
    constraint api_keys_key_sha256_check check (length(key_sha256) = 32)
);
comment on table api_keys is 'keys that callers show; a row goes when its key is deleted';
comment on column api_keys.key_id is 'allocated';
comment on column api_keys.name is 'who uses it, for people and for the audit log';
comment on column api_keys.key_sha256 is 'SHA-256 of the whole key; a key is 256 random bits, so a plain hash can''t be guessed backwards';
comment on column api_keys.grants is 'list of roles with patterns of names, as domain::access::Grant';
comment on column api_keys.created_by is 'who made it';
comment on column api_keys.created_at is 'when it was made';
comment on column api_keys.expires_at is 'from when on it is refused; null: never';
comment on column api_keys.last_used_at is 'when it was last accepted, written once a minute at most; null: never';

create table audit_events (
    event_id bigint generated always as identity,
    at timestamptz not null default stillframe_now(),
    principal_kind text not null,
    principal text not null,
    key_id bigint,
    operation text not null,
    permission text,
    db_name text,
    collection_name text,
    subject text,
    method text not null,
    path text not null,
    peer text,
    outcome text not null,
    status integer,
    code text,
    request_id text not null,
    constraint audit_events_pkey primary key (event_id),
    constraint audit_events_principal_kind_check check (principal_kind in ('nobody', 'anybody', 'key', 'token', 'service')),
    constraint audit_events_outcome_check check (outcome in ('ok', 'denied', 'failed', 'unknown'))
);
comment on table audit_events is 'who did what, on what, when, from where, and how it ended; rows are only added, and trimmed by age';
comment on column audit_events.event_id is 'in the order of arrival';
comment on column audit_events.at is 'when the answer was known';
comment on column audit_events.principal_kind is 'nobody (not authenticated), anybody (authentication is off), key, token, service';
comment on column audit_events.principal is 'name of the key, subject of the token; empty for the others';
comment on column audit_events.key_id is 'of a key; it may be deleted by now';
comment on column audit_events.operation is 'operation id of the OpenAPI document, or name of the call of another API';
comment on column audit_events.permission is 'the permission that the operation needs';
comment on column audit_events.db_name is 'the first database that the call was about';
comment on column audit_events.collection_name is 'the first collection that the call was about';
comment on column audit_events.subject is 'names of snapshots, ids of jobs and keys, as far as the call named or made any';
comment on column audit_events.method is 'HTTP method';
comment on column audit_events.path is 'path of the request, without its query';
comment on column audit_events.peer is 'address of the caller; behind a trusted proxy the one that the proxy names';
comment on column audit_events.outcome is 'ok, denied (401 and 403), failed, unknown (the caller hung up or the time was over before the end)';
comment on column audit_events.status is 'HTTP status; null when the outcome is unknown';
comment on column audit_events.code is 'code of the problem document, where there was one';
comment on column audit_events.request_id is 'as in the answer and in the log';
create index audit_events_at_idx on audit_events (at);
