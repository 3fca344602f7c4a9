-- How copied files were proved, receipts of completed restores, warnings of jobs, verifications of snapshots.

alter table restore_jobs add column warnings jsonb not null default '[]';
comment on column restore_jobs.warnings is 'what the operator should know although it does not stop the job; an array of texts';

create table restore_proofs (
    task_id bigint not null,
    methods text not null,
    constraint restore_proofs_pkey primary key (task_id),
    constraint restore_proofs_task_fkey foreign key (task_id) references restore_tasks (task_id) on delete cascade
);
comment on table restore_proofs is 'how each file of a succeeded copy task was proved; goes into the receipt';
comment on column restore_proofs.task_id is 'the copy task';
comment on column restore_proofs.methods is 'one letter per file in the order of its manifest: s size, e ETag, c content';

-- receipts are written by captured segment id
create index restore_tasks_source_idx on restore_tasks (job_id, source_segment_id) where kind = 'copy';

-- no foreign key: a receipt outlives its job until the collector has deleted its object
create table restore_receipts (
    job_id bigint not null,
    key text not null,
    sha256 text,
    file_count bigint not null default 0,
    size_bytes bigint not null default 0,
    begun_at timestamptz not null default stillframe_now(),
    constraint restore_receipts_pkey primary key (job_id)
);
comment on table restore_receipts is 'receipt objects of restore jobs; the row is there before the object and goes after it';
comment on column restore_receipts.job_id is 'the job';
comment on column restore_receipts.key is 'key of the object, relative to the storage root';
comment on column restore_receipts.sha256 is 'over the list of files, lower-case hexadecimal; null until the job is completed';
comment on column restore_receipts.file_count is 'files in the list';
comment on column restore_receipts.size_bytes is 'bytes of the object';
comment on column restore_receipts.begun_at is 'when its writing began';

create table snapshot_verifications (
    snapshot_id bigint not null,
    level text not null,
    sample double precision not null,
    outcome text not null,
    report jsonb not null,
    started_at timestamptz not null,
    finished_at timestamptz not null default stillframe_now(),
    constraint snapshot_verifications_pkey primary key (snapshot_id, level),
    constraint snapshot_verifications_snapshot_fkey foreign key (snapshot_id) references snapshots (snapshot_id) on delete cascade,
    constraint snapshot_verifications_level_check check (level in ('exists', 'size', 'checksum')),
    constraint snapshot_verifications_outcome_check check (outcome in ('passed', 'failed')),
    constraint snapshot_verifications_sample_check check (sample > 0 and sample <= 1)
);
comment on table snapshot_verifications is 'the last verification of a snapshot at each level';
comment on column snapshot_verifications.snapshot_id is 'the snapshot';
comment on column snapshot_verifications.level is 'exists, size, checksum';
comment on column snapshot_verifications.sample is 'fraction of the data files that level checksum read';
comment on column snapshot_verifications.outcome is 'passed or failed';
comment on column snapshot_verifications.report is 'counts and problems, as domain::verification::Report';
comment on column snapshot_verifications.started_at is 'start';
comment on column snapshot_verifications.finished_at is 'end';
