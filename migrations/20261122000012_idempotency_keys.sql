-- Idempotency keys: what a call with a key was answered, so that the same call again gets the same answer.

create table idempotency_keys (
    principal text not null,
    key text not null,
    fingerprint bytea not null,
    owner uuid not null,
    lease_until timestamptz,
    status smallint,
    headers jsonb,
    body bytea,
    created_at timestamptz not null,
    constraint idempotency_keys_pkey primary key (principal, key),
    constraint idempotency_keys_key_check check (length(key) between 1 and 255),
    constraint idempotency_keys_fingerprint_check check (octet_length(fingerprint) = 32),
    constraint idempotency_keys_status_check check (status between 200 and 299),
    constraint idempotency_keys_answer_check check ((status is null) = (body is null) and (status is null) = (headers is null)),
    constraint idempotency_keys_lease_check check ((status is null) = (lease_until is not null))
);
comment on table idempotency_keys is 'calls with an Idempotency-Key, kept for 24 hours: running ones under a lease, and the answers of those that succeeded';
comment on column idempotency_keys.principal is 'whose key it is; empty: nobody in particular';
comment on column idempotency_keys.key is 'the header''s value';
comment on column idempotency_keys.fingerprint is 'SHA-256 of method, path, query and body';
comment on column idempotency_keys.owner is 'the call that runs or ran; a later one that took over has another';
comment on column idempotency_keys.lease_until is 'of a running call: when another one may take over; null once it is answered';
comment on column idempotency_keys.status is 'HTTP status of the answer; null while the call runs';
comment on column idempotency_keys.headers is 'headers of the answer that are given again, by name';
comment on column idempotency_keys.body is 'body of the answer';
comment on column idempotency_keys.created_at is 'when the call began';
create index idempotency_keys_created_at_idx on idempotency_keys (created_at);
