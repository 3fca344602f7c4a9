-- Restore jobs, their tasks, and the runs of the collector.

create table restore_jobs (
    job_id bigint not null,
    snapshot_id bigint,
    snapshot_name text not null,
    source_collection_name text not null,
    db_id bigint not null,
    collection_name text not null,
    collection_id bigint not null,
    options jsonb not null default '{}',
    state text not null,
    reason text not null default '',
    error_code text,
    total_files bigint not null default 0,
    total_bytes bigint not null default 0,
    total_segments bigint not null default 0,
    cleanup text not null default 'none',
    created_at timestamptz not null default stillframe_now(),
    finished_at timestamptz,
    constraint restore_jobs_pkey primary key (job_id),
    constraint restore_jobs_snapshot_fkey foreign key (snapshot_id) references snapshots (snapshot_id) on delete set null,
    constraint restore_jobs_state_check check (state in ('Pending', 'Validating', 'InProgress', 'Publishing', 'Completed', 'Failed', 'Cancelled')),
    constraint restore_jobs_finished_check check ((state in ('Completed', 'Failed', 'Cancelled')) = (finished_at is not null)),
    constraint restore_jobs_cleanup_check check (cleanup in ('none', 'pending', 'done'))
);
comment on table restore_jobs is 'restore jobs: each copies a snapshot into a new collection';
comment on column restore_jobs.job_id is 'id, allocated here';
comment on column restore_jobs.snapshot_id is 'the snapshot; a running job is a reference to it; null when the snapshot has been collected since';
comment on column restore_jobs.snapshot_name is 'name of the snapshot at the start';
comment on column restore_jobs.source_collection_name is 'name of the snapshot''s collection at the start';
comment on column restore_jobs.db_id is 'database of the target';
comment on column restore_jobs.collection_name is 'name of the target';
comment on column restore_jobs.collection_id is 'id of the target; no foreign key, the job outlives it';
comment on column restore_jobs.options is 'what the request asked for';
comment on column restore_jobs.state is 'Pending, Validating, InProgress, Publishing, Completed, Failed, Cancelled';
comment on column restore_jobs.reason is 'why it failed or was cancelled; names the file';
comment on column restore_jobs.error_code is 'stable code of the failure';
comment on column restore_jobs.total_files is 'files to copy';
comment on column restore_jobs.total_bytes is 'bytes to copy';
comment on column restore_jobs.total_segments is 'segments to copy';
comment on column restore_jobs.cleanup is 'of a failed or cancelled job: pending until its copied objects are gone';
comment on column restore_jobs.created_at is 'when it was asked for';
comment on column restore_jobs.finished_at is 'when it ended';
create index restore_jobs_list_idx on restore_jobs (created_at desc, job_id desc);
create index restore_jobs_by_name_idx on restore_jobs (db_id, collection_name, created_at desc, job_id desc);
create index restore_jobs_snapshot_idx on restore_jobs (snapshot_id);
create index restore_jobs_collection_idx on restore_jobs (collection_id);

create table restore_tasks (
    task_id bigint not null,
    job_id bigint not null,
    kind text not null,
    state text not null default 'available',
    source_segment_id bigint,
    source_version integer,
    target_segment_id bigint,
    attempt integer not null default 0,
    failures integer not null default 0,
    turn integer not null default 0,
    worker_id uuid,
    lease_expires_at timestamptz,
    run_at timestamptz not null default stillframe_now(),
    total_files bigint not null default 0,
    total_bytes bigint not null default 0,
    done_files bigint not null default 0,
    done_bytes bigint not null default 0,
    retries bigint not null default 0,
    last_error text not null default '',
    finished_at timestamptz,
    constraint restore_tasks_pkey primary key (task_id),
    constraint restore_tasks_job_fkey foreign key (job_id) references restore_jobs (job_id) on delete cascade,
    constraint restore_tasks_kind_check check (kind in ('validate', 'copy', 'publish', 'cleanup')),
    constraint restore_tasks_state_check check (state in ('available', 'running', 'succeeded', 'failed', 'cancelled')),
    constraint restore_tasks_running_check check ((state = 'running') = (lease_expires_at is not null)),
    constraint restore_tasks_finished_check check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
    constraint restore_tasks_copy_check check ((kind = 'copy') = (source_segment_id is not null)
        and (kind = 'copy') = (target_segment_id is not null) and (kind = 'copy') = (source_version is not null))
);
comment on table restore_tasks is 'the work of restore jobs, claimed by workers under leases; every write of a worker is fenced by attempt';
comment on column restore_tasks.task_id is 'id, allocated here';
comment on column restore_tasks.job_id is 'the job';
comment on column restore_tasks.kind is 'validate, copy (one segment), publish, cleanup';
comment on column restore_tasks.state is 'available, running, succeeded, failed, cancelled';
comment on column restore_tasks.source_segment_id is 'of a copy: the captured segment';
comment on column restore_tasks.source_version is 'of a copy: its captured version';
comment on column restore_tasks.target_segment_id is 'of a copy: the new segment';
comment on column restore_tasks.attempt is 'claims so far; a worker''s writes name the attempt they belong to';
comment on column restore_tasks.failures is 'attempts that ended in an error; hand-backs and lost leases are not failures';
comment on column restore_tasks.turn is 'place among the copies of its job; workers take low turns first, so that jobs share them';
comment on column restore_tasks.worker_id is 'the process that holds or held the lease';
comment on column restore_tasks.lease_expires_at is 'when another worker may take it';
comment on column restore_tasks.run_at is 'not before this time (back-off, cleanup after leases)';
comment on column restore_tasks.total_files is 'files to copy';
comment on column restore_tasks.total_bytes is 'bytes to copy';
comment on column restore_tasks.done_files is 'files copied so far';
comment on column restore_tasks.done_bytes is 'bytes copied so far';
comment on column restore_tasks.retries is 'copies of single files that were tried again';
comment on column restore_tasks.last_error is 'the last error, with the file it is about';
comment on column restore_tasks.finished_at is 'when it ended';
create index restore_tasks_claim_idx on restore_tasks (turn, task_id) where state = 'available';
create index restore_tasks_lease_idx on restore_tasks (lease_expires_at) where state = 'running';
create index restore_tasks_open_idx on restore_tasks (job_id) where kind = 'copy' and state <> 'succeeded';
create index restore_tasks_job_idx on restore_tasks (job_id, kind, state);

create table restore_builds (
    job_id bigint not null,
    source_build_id bigint not null,
    target_build_id bigint not null,
    target_segment_id bigint not null,
    constraint restore_builds_pkey primary key (job_id, target_segment_id, source_build_id),
    constraint restore_builds_job_fkey foreign key (job_id) references restore_jobs (job_id) on delete cascade
);
comment on table restore_builds is 'which new build id a restore gave to each captured build id';
comment on column restore_builds.job_id is 'the job';
comment on column restore_builds.source_build_id is 'build id in the snapshot';
comment on column restore_builds.target_build_id is 'build id in the target';
comment on column restore_builds.target_segment_id is 'the new segment it belongs to';

create table gc_runs (
    run_id bigint not null,
    dry_run boolean not null,
    grace_seconds bigint not null,
    state text not null default 'running',
    report jsonb not null default '{}',
    started_at timestamptz not null default stillframe_now(),
    finished_at timestamptz,
    constraint gc_runs_pkey primary key (run_id),
    constraint gc_runs_state_check check (state in ('running', 'completed', 'failed')),
    constraint gc_runs_finished_check check ((state = 'running') = (finished_at is null))
);
comment on table gc_runs is 'runs of the collector and what they found';
comment on column gc_runs.run_id is 'id, allocated here';
comment on column gc_runs.dry_run is 'nothing was changed';
comment on column gc_runs.grace_seconds is 'how long dropped things were left alone';
comment on column gc_runs.state is 'running, completed, failed';
comment on column gc_runs.report is 'counts and failures, as domain::gc::Report';
comment on column gc_runs.started_at is 'start';
comment on column gc_runs.finished_at is 'end';
create index gc_runs_list_idx on gc_runs (run_id desc);
