-- Waiting is not failing: outages counted apart from failures, room that tasks make for other jobs, recent progress,
-- and the totals of ended jobs.

alter table restore_tasks
    add column outages integer not null default 0,
    add column denials integer not null default 0,
    add column waiting_since timestamptz,
    add column last_ended integer not null default 0,
    add column claimed_at timestamptz,
    add column beat_at timestamptz,
    add column mark_at timestamptz,
    add column mark_files bigint not null default 0,
    add column mark_bytes bigint not null default 0,
    add column made_room integer not null default 0,
    add column room_until timestamptz;
comment on column restore_tasks.failures is 'attempts that ended in an error of another kind than outages and denials; hand-backs and lost leases are not failures';
comment on column restore_tasks.outages is 'attempts since the last progress that ended because the object storage or the database did not answer';
comment on column restore_tasks.denials is 'attempts since the last progress that ended because the object storage refused access';
comment on column restore_tasks.waiting_since is 'since when outages and denials have kept it from going on';
comment on column restore_tasks.last_ended is 'the last attempt whose end was recorded, whatever it was';
comment on column restore_tasks.claimed_at is 'when the last attempt began';
comment on column restore_tasks.beat_at is 'when its worker was heard last';
comment on column restore_tasks.mark_at is 'a moment of the last attempt, at most about half a minute back, from which recent progress is counted';
comment on column restore_tasks.mark_files is 'files copied by then';
comment on column restore_tasks.mark_bytes is 'bytes copied by then';
comment on column restore_tasks.made_room is 'claims since the last progress that ended to make room for another job';
comment on column restore_tasks.room_until is 'of a task that has just made room: until when its job stands behind all others';
update restore_tasks set last_ended = least(attempt, failures + hand_backs) where state in ('available', 'running');
create index restore_tasks_waiting_idx on restore_tasks (job_id, waiting_since) where waiting_since is not null;
create index restore_tasks_room_idx on restore_tasks (job_id, room_until) where room_until is not null;

alter table restore_jobs
    add column done_files bigint,
    add column done_bytes bigint,
    add column done_segments bigint,
    add column retries bigint,
    add column copy_ms bigint,
    add column work_ms bigint;
comment on column restore_jobs.done_files is 'of an ended job: the sum over its copy tasks, so that nobody has to add it up again; null before';
comment on column restore_jobs.done_bytes is 'of an ended job: as done_files';
comment on column restore_jobs.done_segments is 'of an ended job: copy tasks that succeeded';
comment on column restore_jobs.retries is 'of an ended job: copies of single files that were tried again';
comment on column restore_jobs.copy_ms is 'of an ended job: milliseconds in which a copy that ended well ran; pauses, outages and waiting for workers are left out';
comment on column restore_jobs.work_ms is 'of an ended job: the same of all its tasks but the clean-up';
