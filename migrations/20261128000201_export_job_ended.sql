-- The end of an export is an event of its own: its id is that of no restore job.

alter table webhooks drop constraint webhooks_events_check;
alter table webhooks add constraint webhooks_events_check check (events <@ array['snapshot.created', 'snapshot.dropped',
    'snapshot.undeleted', 'snapshot.verify_failed', 'restore_job.ended', 'export_job.ended'] and cardinality(events) > 0);

create or replace function announce_job() returns trigger
language plpgsql as $$
declare
    event constant text := case new.kind when 'export' then 'export_job.ended' else 'restore_job.ended' end;
begin
    if exists (select from webhooks where event = any (events)) then
        perform announce(event, (
            select jsonb_build_object('job_id', new.job_id::text, 'state', new.state, 'db_name', d.name,
                                      'collection_name', new.collection_name, 'collection_id', new.collection_id::text,
                                      'snapshot_name', new.snapshot_name, 'snapshot_id', new.snapshot_id::text,
                                      'reason', new.reason, 'error_code', new.error_code)
              from databases d where d.db_id = new.db_id));
    end if;
    return null;
end
$$;
comment on function announce_job() is 'announces the end of a restore, also of a bundle, or of an export';
