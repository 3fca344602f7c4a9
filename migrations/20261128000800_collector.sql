-- What runs of the collector say, sums of data files as verifications first read them, multipart uploads that nobody ends.

alter table gc_runs add column error text;
comment on column gc_runs.error is 'why it failed; null: it did not, or that was not kept';

alter table gc_run_items drop constraint gc_run_items_kind_check;
alter table gc_run_items add constraint gc_run_items_kind_check
    check (kind in ('snapshot', 'manifest', 'segment', 'index_build', 'collection', 'receipt', 'orphan', 'partition', 'index', 'multipart_upload'));
alter table gc_run_items drop constraint gc_run_items_outcome_check;
alter table gc_run_items add constraint gc_run_items_outcome_check check (outcome in ('deleted', 'would_delete', 'kept', 'failed'));
comment on column gc_run_items.kind is 'snapshot, manifest, segment, index_build, collection, receipt, orphan, partition, index, multipart_upload';
comment on column gc_run_items.outcome is 'deleted, would_delete (in a dry run; older ones say deleted), kept, failed';

create index partitions_dropped_idx on partitions (partition_id) where state = 'dropped';
create index indexes_dropped_idx on indexes (collection_id, index_id) where state = 'dropped';

create table open_uploads (
    key text not null,
    upload_id text not null,
    initiated_at timestamptz,
    first_seen_at timestamptz not null default stillframe_now(),
    last_seen_run bigint not null,
    constraint open_uploads_pkey primary key (key, upload_id)
);
comment on table open_uploads is 'multipart uploads under ids of id_blocks that nobody ends; aborted when they have been known for long enough';
comment on column open_uploads.key is 'key of the object that it would make, relative to the storage root';
comment on column open_uploads.upload_id is 'its id, given by the store';
comment on column open_uploads.initiated_at is 'when it was begun, by the store''s time';
comment on column open_uploads.first_seen_at is 'the run that found it first, by the database''s time';
comment on column open_uploads.last_seen_run is 'the last run that found it';

create table file_sums (
    segment_id bigint not null,
    sums jsonb not null,
    constraint file_sums_pkey primary key (segment_id),
    constraint file_sums_segment_fkey foreign key (segment_id) references segments (segment_id) on delete cascade
);
comment on table file_sums is 'MD5 sums of data files that have no comparable ETag, as the first verification that read them found them';
comment on column file_sums.segment_id is 'the segment, whose files or index builds they are of';
comment on column file_sums.sums is 'path to MD5 in hexadecimal digits';
