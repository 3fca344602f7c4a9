-- Exports of snapshots as self-contained bundles, and restores from bundles: both are jobs like restores, with the
-- same tasks, leases and limits. What they need beyond a restore stands here.

alter table restore_jobs add column kind text not null default 'restore';
alter table restore_jobs add constraint restore_jobs_kind_check check (kind in ('restore', 'export', 'external'));
comment on table restore_jobs is 'jobs: each copies a snapshot into a new collection or into a bundle, or a bundle into a new collection';
comment on column restore_jobs.kind is 'restore (snapshot to collection), export (snapshot to bundle), external (bundle to collection)';
comment on column restore_jobs.snapshot_id is 'the snapshot; a running job is a reference to it; null when the snapshot has been collected since, and of a bundle';
comment on column restore_jobs.db_id is 'database of the target; of an export: of the snapshot';
comment on column restore_jobs.collection_name is 'name of the target; of an export: of the snapshot''s collection';
comment on column restore_jobs.collection_id is 'id of the target; no foreign key, the job outlives it; of an export: of the snapshot''s collection';
alter table restore_jobs drop constraint restore_jobs_cleanup_check;
alter table restore_jobs add constraint restore_jobs_cleanup_check check (cleanup in ('none', 'pending', 'done', 'abandoned'));
comment on column restore_jobs.cleanup is 'of a failed or cancelled job: pending until its copied objects are gone; abandoned: they could not be reached any more';

create table job_bundles (
    job_id bigint not null,
    place jsonb not null,
    root text not null,
    metadata_key text not null,
    location text not null,
    sealed bytea,
    captured jsonb,
    metadata_sha256 bytea,
    constraint job_bundles_pkey primary key (job_id),
    constraint job_bundles_job_fkey foreign key (job_id) references restore_jobs (job_id) on delete cascade,
    constraint job_bundles_captured_check check ((captured is null) = (metadata_sha256 is null))
);
comment on table job_bundles is 'the bundle that an export writes or that a restore reads';
comment on column job_bundles.job_id is 'the job';
comment on column job_bundles.place is 'the store that it lies in: our own, one of the configuration by name, or one of the request; without credentials';
comment on column job_bundles.root is 'key of the bundle''s directory in that store, without slashes at its ends';
comment on column job_bundles.metadata_key is 'key of its metadata file in that store';
comment on column job_bundles.location is 'whole URI of its metadata file';
comment on column job_bundles.sealed is 'credentials of the request, encrypted; null: none, or needed no more';
comment on column job_bundles.captured is 'of a restore: the collection as the bundle has it';
comment on column job_bundles.metadata_sha256 is 'of a restore: of the metadata file when the job was asked for';

create table job_sources (
    job_id bigint not null,
    segment_id bigint not null,
    content bytea not null,
    constraint job_sources_pkey primary key (job_id, segment_id),
    constraint job_sources_job_fkey foreign key (job_id) references restore_jobs (job_id) on delete cascade
);
comment on table job_sources is 'segments of a bundle that a restore reads, as it found them; they never become segments of the catalog, where their ids may be taken';
comment on column job_sources.job_id is 'the job';
comment on column job_sources.segment_id is 'the segment''s id in the bundle';
comment on column job_sources.content is 'the segment, its files with their listed sizes and its index builds, as store::codec writes them';
alter table job_sources alter column content set storage external;
