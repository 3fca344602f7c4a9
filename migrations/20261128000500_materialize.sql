-- Materializing: a job that copies an external collection, with all its snapshots, into an owned one which then takes
-- its name. Replicas of a version before this one don't know the kind of such a job: ask for one when all are new.

alter table restore_jobs drop constraint restore_jobs_kind_check;
alter table restore_jobs add constraint restore_jobs_kind_check check (kind in ('restore', 'export', 'external', 'materialize'));

alter table collections add column materialize_job_id bigint;
comment on column collections.materialize_job_id is 'the running job that copies it to take its place; nothing of it may change meanwhile';

create table materializations (
    job_id bigint not null,
    source_collection_id bigint not null,
    partitions jsonb not null,
    constraint materializations_pkey primary key (job_id),
    constraint materializations_job_fkey foreign key (job_id) references restore_jobs (job_id) on delete cascade
);
comment on table materializations is 'what a job that materializes a collection knows beyond other jobs';
comment on column materializations.job_id is 'the job';
comment on column materializations.source_collection_id is 'the external collection';
comment on column materializations.partitions is 'list of pairs: the id of a partition, dropped ones too, and the one that it gets';

create table materialized_snapshots (
    job_id bigint not null,
    source_snapshot_id bigint not null,
    target_snapshot_id bigint not null,
    channels jsonb,
    description jsonb,
    metadata_bytes bigint,
    s3_location text,
    constraint materialized_snapshots_pkey primary key (job_id, source_snapshot_id),
    constraint materialized_snapshots_target_key unique (target_snapshot_id),
    constraint materialized_snapshots_job_fkey foreign key (job_id) references restore_jobs (job_id) on delete cascade,
    constraint materialized_snapshots_written_check check ((channels is null) = (s3_location is null)
        and (description is null) = (s3_location is null) and (metadata_bytes is null) = (s3_location is null))
);
comment on table materialized_snapshots is 'snapshots that a job writes anew; they become visible with its collection';
comment on column materialized_snapshots.job_id is 'the job';
comment on column materialized_snapshots.source_snapshot_id is 'the snapshot of the external collection';
comment on column materialized_snapshots.target_snapshot_id is 'the id under which it is written anew';
comment on column materialized_snapshots.channels is 'its channels, by the names that the target has';
comment on column materialized_snapshots.description is 'the captured collection, by the ids that the target has';
comment on column materialized_snapshots.metadata_bytes is 'bytes of the metadata file and the manifests written for it';
comment on column materialized_snapshots.s3_location is 'whole URI of its metadata file; null: it is not written yet';
