-- Webhooks, and the outbox of what is still to be told to them. The trace that a job belongs to.

create table webhooks (
    webhook_id bigint not null,
    url text not null,
    events text[] not null,
    description text not null default '',
    salt bytea not null,
    key_check bytea not null,
    created_at timestamptz not null default stillframe_now(),
    constraint webhooks_pkey primary key (webhook_id),
    constraint webhooks_events_check check (events <@ array['snapshot.created', 'snapshot.dropped', 'snapshot.undeleted',
        'snapshot.verify_failed', 'restore_job.ended'] and cardinality(events) > 0)
);
comment on table webhooks is 'receivers of state changes';
comment on column webhooks.webhook_id is 'id, allocated here';
comment on column webhooks.url is 'where deliveries are posted';
comment on column webhooks.events is 'the events it wants to hear of';
comment on column webhooks.description is 'free text';
comment on column webhooks.salt is 'its signing secret is derived from this and the key of the service, which is in no table';
comment on column webhooks.key_check is 'tells whether a service has the key that the secret was derived from';
comment on column webhooks.created_at is 'when it was made';

create table webhook_deliveries (
    delivery_id uuid not null default gen_random_uuid(),
    webhook_id bigint not null,
    event text not null,
    body text not null,
    state text not null default 'pending',
    attempt integer not null default 0,
    failures integer not null default 0,
    due_at timestamptz not null default stillframe_now(),
    give_up_at timestamptz not null default stillframe_now() + interval '3 days',
    created_at timestamptz not null default stillframe_now(),
    last_tried_at timestamptz,
    finished_at timestamptz,
    last_status integer,
    last_error text not null default '',
    constraint webhook_deliveries_pkey primary key (delivery_id),
    constraint webhook_deliveries_webhook_fkey foreign key (webhook_id) references webhooks (webhook_id) on delete cascade,
    constraint webhook_deliveries_state_check check (state in ('pending', 'delivered', 'gave_up')),
    constraint webhook_deliveries_finished_check check ((state = 'pending') = (finished_at is null))
);
comment on table webhook_deliveries is 'what webhooks are to be told, written in the transaction of the change itself; and what became of it';
comment on column webhook_deliveries.delivery_id is 'id, the same at every try';
comment on column webhook_deliveries.webhook_id is 'the receiver';
comment on column webhook_deliveries.event is 'what happened';
comment on column webhook_deliveries.body is 'the bytes that are signed and posted';
comment on column webhook_deliveries.state is 'pending, delivered, gave_up';
comment on column webhook_deliveries.attempt is 'claims so far; what a replica writes names the claim that it belongs to';
comment on column webhook_deliveries.failures is 'tries that failed since it was made or replayed';
comment on column webhook_deliveries.due_at is 'not before this time: back-off, or the lease of the replica that is delivering it';
comment on column webhook_deliveries.give_up_at is 'no try after this time';
comment on column webhook_deliveries.created_at is 'when the change happened';
comment on column webhook_deliveries.last_tried_at is 'when it was last claimed';
comment on column webhook_deliveries.finished_at is 'when it was delivered or given up';
comment on column webhook_deliveries.last_status is 'HTTP status of the last answer';
comment on column webhook_deliveries.last_error is 'why the last try failed';
create index webhook_deliveries_due_idx on webhook_deliveries (webhook_id, due_at) where state = 'pending';
create index webhook_deliveries_list_idx on webhook_deliveries (webhook_id, created_at desc, delivery_id desc);
create index webhook_deliveries_ended_idx on webhook_deliveries (finished_at) where state <> 'pending';
create index webhook_deliveries_gave_up_idx on webhook_deliveries (finished_at) where state = 'gave_up';

create function announce(event text, data jsonb) returns void
language sql volatile as $$
    insert into webhook_deliveries (webhook_id, event, body)
    select w.webhook_id, $1, jsonb_build_object('type', $1, 'data', $2,
             'timestamp', to_char(stillframe_now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))::text
      from webhooks w where $1 = any (w.events)
       -- one that is being deleted is waited for, and then left out
       for key share of w
$$;
comment on function announce(text, jsonb) is 'writes a delivery for every webhook that wants to hear of this event';

-- Triggers, so that no way to change a state can forget to announce it.
create function announce_snapshot() returns trigger
language plpgsql as $$
begin
    if exists (select from webhooks where tg_argv[0] = any (events)) then
        perform announce(tg_argv[0], (
            select jsonb_build_object('db_name', d.name, 'collection_name', c.name, 'collection_id', c.collection_id::text,
                                      'snapshot_name', new.name, 'snapshot_id', new.snapshot_id::text,
                                      'file_count', new.file_count, 'size_bytes', new.size_bytes)
              from collections c join databases d on d.db_id = new.db_id where c.collection_id = new.collection_id));
    end if;
    return null;
end
$$;
comment on function announce_snapshot() is 'announces a change of a snapshot; the argument is the event';
create trigger snapshots_announce_created after update of state on snapshots for each row
    when (old.state = 'pending' and new.state = 'committed') execute function announce_snapshot('snapshot.created');
create trigger snapshots_announce_dropped after update of state on snapshots for each row
    when (old.state = 'committed' and new.state = 'deleting') execute function announce_snapshot('snapshot.dropped');
create trigger snapshots_announce_undeleted after update of state on snapshots for each row
    when (old.state = 'deleting' and new.state = 'committed') execute function announce_snapshot('snapshot.undeleted');

create function announce_verification() returns trigger
language plpgsql as $$
begin
    if exists (select from webhooks where 'snapshot.verify_failed' = any (events)) then
        perform announce('snapshot.verify_failed', (
            select jsonb_build_object('db_name', d.name, 'collection_name', c.name, 'collection_id', c.collection_id::text,
                                      'snapshot_name', s.name, 'snapshot_id', s.snapshot_id::text,
                                      'level', new.level, 'problems', new.report -> 'problems' -> 'total')
              from snapshots s join collections c using (collection_id) join databases d on d.db_id = s.db_id
             where s.snapshot_id = new.snapshot_id));
    end if;
    return null;
end
$$;
comment on function announce_verification() is 'announces a verification that found something wrong';
create trigger snapshot_verifications_announce after insert or update on snapshot_verifications for each row
    when (new.outcome = 'failed') execute function announce_verification();

create function announce_job() returns trigger
language plpgsql as $$
begin
    if exists (select from webhooks where 'restore_job.ended' = any (events)) then
        perform announce('restore_job.ended', (
            select jsonb_build_object('job_id', new.job_id::text, 'state', new.state, 'db_name', d.name,
                                      'collection_name', new.collection_name, 'collection_id', new.collection_id::text,
                                      'snapshot_name', new.snapshot_name, 'snapshot_id', new.snapshot_id::text,
                                      'reason', new.reason, 'error_code', new.error_code)
              from databases d where d.db_id = new.db_id));
    end if;
    return null;
end
$$;
comment on function announce_job() is 'announces the end of a restore job';
create trigger restore_jobs_announce after update of state on restore_jobs for each row
    when (old.finished_at is null and new.finished_at is not null) execute function announce_job();

alter table restore_jobs add column traceparent text;
comment on column restore_jobs.traceparent is 'W3C trace context of the request that it came from; null: that was not traced';
