-- Manifests become things of their own, which several snapshots may share; snapshots can be pinned, held
-- and taken back; the collector keeps what it did and why, and knows which ids it may take for its own.
--
-- This one contracts at once (snapshot_segments and snapshot_builds go): a collector of the version before
-- would not see the references of this one. Stop every replica first; nothing had been released before it.

create table manifests (
    owner_snapshot_id bigint not null,
    segment_id bigint not null,
    collection_id bigint not null,
    version integer not null,
    build_ids bigint[] not null default '{}',
    content_build_ids bigint[] not null default '{}',
    format_version integer not null,
    root text not null default '',
    state text not null default 'live',
    size_bytes bigint,
    sha256 bytea,
    constraint manifests_pkey primary key (owner_snapshot_id, segment_id),
    constraint manifests_version_fkey foreign key (segment_id, version) references segment_versions (segment_id, version),
    constraint manifests_state_check check (state in ('live', 'condemned')),
    constraint manifests_written_check check ((size_bytes is null) = (sha256 is null))
) with (fillfactor = 80);
comment on table manifests is 'references: a manifest needs one segment version and some index builds of that segment; the collector takes neither while the manifest is there';
comment on column manifests.owner_snapshot_id is 'the snapshot that it was written for, in whose directory it lies; that snapshot may be gone';
comment on column manifests.segment_id is 'the segment';
comment on column manifests.collection_id is 'the collection of the segment';
comment on column manifests.version is 'the captured version of the segment';
comment on column manifests.build_ids is 'the captured index builds, ascending';
comment on column manifests.content_build_ids is 'build ids of the text and JSON key index files among the segment''s own files';
comment on column manifests.format_version is 'how it is written, as format_version of the metadata file; only manifests of the same one are shared';
comment on column manifests.root is 'key prefix of the storage root when it was written: keys in a manifest begin with it, so only those of the same one are shared';
comment on column manifests.state is 'live, condemned (no snapshot needs it, the collector is deleting it)';
comment on column manifests.size_bytes is 'bytes of the object; null until it is written, and of manifests from before they were shared';
comment on column manifests.sha256 is 'of the object; null as size_bytes. Only a manifest that has one is shared';
create index manifests_segment_idx on manifests (segment_id);
create index manifests_collect_idx on manifests (owner_snapshot_id, segment_id) where state = 'condemned';

create table snapshot_manifests (
    snapshot_id bigint not null,
    segment_id bigint not null,
    owner_snapshot_id bigint not null,
    constraint snapshot_manifests_pkey primary key (snapshot_id, segment_id)
);
comment on table snapshot_manifests is 'references: this snapshot needs this manifest';
comment on column snapshot_manifests.snapshot_id is 'the snapshot';
comment on column snapshot_manifests.segment_id is 'the segment of the manifest';
comment on column snapshot_manifests.owner_snapshot_id is 'the snapshot that the manifest was written for; another one when it is shared';
create index snapshot_manifests_manifest_idx on snapshot_manifests (segment_id, owner_snapshot_id);

insert into manifests (owner_snapshot_id, segment_id, collection_id, version, build_ids, format_version)
select r.snapshot_id, r.segment_id, s.collection_id, r.version,
       coalesce((select array_agg(b.build_id order by b.build_id) from snapshot_builds b
                  where b.snapshot_id = r.snapshot_id and b.segment_id = r.segment_id), '{}'), 1004
  from snapshot_segments r join segments s using (segment_id);
insert into snapshot_manifests (snapshot_id, segment_id, owner_snapshot_id)
select snapshot_id, segment_id, snapshot_id from snapshot_segments;
drop table snapshot_builds;
drop table snapshot_segments;

-- Foreign keys would check each of a thousand references when a snapshot is created, where they are right by
-- construction. These check the other side, where a mistake would lose data: nothing that is referenced is deleted.
create function refuse_referenced_manifest() returns trigger
language plpgsql as $$
begin
    if exists (select from gone g join snapshot_manifests r using (segment_id, owner_snapshot_id)) then
        raise foreign_key_violation using message = 'a manifest is still referenced', constraint = 'snapshot_manifests_manifest_fkey';
    end if;
    return null;
end
$$;
comment on function refuse_referenced_manifest() is 'a foreign key that is checked on deletion only';
create trigger manifests_referenced after delete on manifests
    referencing old table as gone for each statement execute function refuse_referenced_manifest();

create function refuse_referenced_snapshot() returns trigger
language plpgsql as $$
begin
    if exists (select from gone g join snapshot_manifests r on r.snapshot_id = g.snapshot_id) then
        raise foreign_key_violation using message = 'a snapshot still has references', constraint = 'snapshot_manifests_snapshot_fkey';
    end if;
    return null;
end
$$;
comment on function refuse_referenced_snapshot() is 'a foreign key that is checked on deletion only';
create trigger snapshots_referenced after delete on snapshots
    referencing old table as gone for each statement execute function refuse_referenced_snapshot();

create function refuse_referenced_build() returns trigger
language plpgsql as $$
begin
    if exists (select from gone g join manifests m on m.segment_id = g.segment_id and g.build_id = any (m.build_ids)) then
        raise foreign_key_violation using message = 'an index build is still referenced', constraint = 'manifests_build_fkey';
    end if;
    return null;
end
$$;
comment on function refuse_referenced_build() is 'a foreign key that is checked on deletion only';
create trigger index_builds_referenced after delete on index_builds
    referencing old table as gone for each statement execute function refuse_referenced_build();

-- A dropped snapshot can be taken back until the collector condemns it.
alter table snapshots drop constraint snapshots_state_check;
alter table snapshots add constraint snapshots_state_check check (state in ('pending', 'committed', 'deleting', 'condemned'));
alter table snapshots drop constraint snapshots_deleting_check;
alter table snapshots add constraint snapshots_deleting_check check ((state in ('deleting', 'condemned')) = (dropped_at is not null));
comment on column snapshots.state is 'pending, committed, deleting (dropped; can be taken back), condemned (the collector is deleting its files)';
comment on column snapshots.metadata_bytes is 'bytes of the metadata file and of the manifests written for it; shared ones count where they were written';
drop index snapshots_collect_idx;
create index snapshots_collect_idx on snapshots (dropped_at) where state in ('deleting', 'condemned');

alter table snapshots add column hold_owner text;
alter table snapshots add column hold_reason text;
alter table snapshots add column held_at timestamptz;
alter table snapshots add constraint snapshots_hold_check
    check ((hold_owner is null) = (held_at is null) and (hold_reason is null) = (held_at is null));
comment on column snapshots.hold_owner is 'who put it on hold; a snapshot on hold can''t be dropped';
comment on column snapshots.hold_reason is 'why it is on hold';
comment on column snapshots.held_at is 'since when; null: it is not on hold';

create table pins (
    pin_id bigint not null,
    snapshot_id bigint not null,
    owner text not null,
    reason text not null,
    created_at timestamptz not null default stillframe_now(),
    expires_at timestamptz,
    constraint pins_pkey primary key (pin_id),
    constraint pins_snapshot_fkey foreign key (snapshot_id) references snapshots (snapshot_id) on delete cascade
);
comment on table pins is 'leases that keep a snapshot''s data: no drop while one has not expired';
comment on column pins.pin_id is 'id, allocated here';
comment on column pins.snapshot_id is 'the snapshot';
comment on column pins.owner is 'who pinned it';
comment on column pins.reason is 'why';
comment on column pins.created_at is 'when it was pinned';
comment on column pins.expires_at is 'when it ends by itself; null: never';
create index pins_snapshot_idx on pins (snapshot_id, pin_id);

-- Which ids the catalog gave to things whose files only it writes: an object under such an id that has no
-- row is an orphan.
create table id_blocks (
    first_id bigint not null,
    last_id bigint not null,
    purpose text not null,
    allocated_at timestamptz not null default stillframe_now(),
    constraint id_blocks_pkey primary key (first_id),
    constraint id_blocks_order_check check (first_id <= last_id),
    constraint id_blocks_purpose_check check (purpose in ('snapshot', 'restore'))
);
comment on table id_blocks is 'ids of snapshots and of restored segments and index builds: only this catalog writes objects under them';
comment on column id_blocks.first_id is 'first id of the block';
comment on column id_blocks.last_id is 'last id of the block';
comment on column id_blocks.purpose is 'snapshot, or restore (segments and index builds of a target)';
comment on column id_blocks.allocated_at is 'when it was allocated';

create table orphans (
    key text not null,
    size_bytes bigint not null,
    first_seen_at timestamptz not null default stillframe_now(),
    last_seen_run bigint not null,
    constraint orphans_pkey primary key (key)
);
comment on table orphans is 'objects under ids of id_blocks that have no row; deleted when they have been seen for long enough';
comment on column orphans.key is 'key relative to the storage root';
comment on column orphans.size_bytes is 'its bytes';
comment on column orphans.first_seen_at is 'the run that found it first, by the database''s time; the tolerance starts here';
comment on column orphans.last_seen_run is 'the last run that found it';

alter table catalog add column delete_orphans boolean not null default true;
comment on column catalog.delete_orphans is 'whether the collector may delete orphans; off after a rebuild or a take-over until an operator allows it';

alter table gc_runs add column orphan_tolerance_seconds bigint;
comment on column gc_runs.orphan_tolerance_seconds is 'the run looked for orphans and deleted those known for so long; null: it did not look';

create table gc_run_items (
    run_id bigint not null,
    item_no bigint not null,
    kind text not null,
    name text not null,
    outcome text not null,
    reason text not null default '',
    objects bigint not null default 0,
    size_bytes bigint not null default 0,
    constraint gc_run_items_pkey primary key (run_id, item_no),
    constraint gc_run_items_run_fkey foreign key (run_id) references gc_runs (run_id) on delete cascade,
    constraint gc_run_items_kind_check check (kind in ('snapshot', 'manifest', 'segment', 'index_build', 'collection', 'receipt', 'orphan')),
    constraint gc_run_items_outcome_check check (outcome in ('deleted', 'kept', 'failed'))
);
comment on table gc_run_items is 'what a run of the collector deleted, kept and why, and could not delete; bounded per run';
comment on column gc_run_items.run_id is 'the run';
comment on column gc_run_items.item_no is 'order in the run, from 1';
comment on column gc_run_items.kind is 'snapshot, manifest, segment, index_build, collection, receipt, orphan';
comment on column gc_run_items.name is 'id of the thing, or key of the object';
comment on column gc_run_items.outcome is 'deleted (in a dry run: would be), kept, failed';
comment on column gc_run_items.reason is 'why it was kept or failed';
comment on column gc_run_items.objects is 'its objects';
comment on column gc_run_items.size_bytes is 'their bytes';
