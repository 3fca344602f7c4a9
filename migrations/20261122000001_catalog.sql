-- The catalog of Stillframe: what exists, which files it is made of, and what still needs them.
-- Every constraint is named: the service turns a violated constraint into an error by its name.
-- Migrations only ever expand while an old version may still run; see migrations/README.md.

-- Time. Ages, leases and grace periods use stillframe_now() only, never the clock of a service host.
create table clock (
    singleton boolean not null default true,
    offset_ms bigint not null default 0,
    constraint clock_pkey primary key (singleton),
    constraint clock_singleton_check check (singleton)
);
comment on table clock is 'the offset that tests add to the database''s own time';
comment on column clock.singleton is 'always true: the table has one row';
comment on column clock.offset_ms is 'milliseconds added to clock_timestamp(); zero outside tests';
insert into clock default values;

create function stillframe_now() returns timestamptz
language sql volatile parallel safe as $$
    select clock_timestamp() + offset_ms * interval '1 millisecond' from clock
$$;
comment on function stillframe_now() is 'the only clock of ages, leases and grace periods';

-- Ids: physical milliseconds shifted left by 18 bits plus a counter, as Milvus makes them.
create sequence id_allocator as bigint minvalue 0 start 0;
comment on sequence id_allocator is 'the last id given out; moved by allocate_ids() only';

create function allocate_ids(amount bigint) returns bigint
language plpgsql volatile as $$
declare
    first_id bigint;
begin
    -- setval is visible to other sessions at once, so the lock covers two statements, not a transaction
    perform pg_advisory_lock(7234689101);
    select greatest(last_value + 1, (extract(epoch from stillframe_now()) * 1000)::bigint << 18)
      into first_id
      from id_allocator;
    perform setval('id_allocator', first_id + amount - 1);
    perform pg_advisory_unlock(7234689101);
    return first_id;
end
$$;
comment on function allocate_ids(bigint) is 'reserves a block of ids and returns its first';

create table catalog (
    singleton boolean not null default true,
    catalog_id uuid not null default gen_random_uuid(),
    created_at timestamptz not null default clock_timestamp(),
    constraint catalog_pkey primary key (singleton),
    constraint catalog_singleton_check check (singleton)
);
comment on table catalog is 'the identity of this catalog, written into the marker object of the storage it owns';
comment on column catalog.singleton is 'always true: the table has one row';
comment on column catalog.catalog_id is 'what stillframe.json at the storage root must name';
comment on column catalog.created_at is 'when the first migration ran';
insert into catalog default values;

create table databases (
    db_id bigint not null,
    name text not null,
    created_at timestamptz not null default stillframe_now(),
    constraint databases_pkey primary key (db_id),
    constraint databases_name_key unique (name),
    constraint databases_db_id_check check (db_id >= 0)
);
comment on table databases is 'name spaces of collections';
comment on column databases.db_id is 'id; the database default has 1, as in Milvus';
comment on column databases.name is 'unique name';
comment on column databases.created_at is 'when it was created';
insert into databases (db_id, name) values (1, 'default');

create table collections (
    collection_id bigint not null,
    db_id bigint not null,
    name text not null,
    state text not null,
    ownership text not null,
    num_shards integer not null,
    consistency_level text not null,
    schema jsonb not null,
    properties jsonb not null default '{}',
    created_at timestamptz not null default stillframe_now(),
    dropped_at timestamptz,
    constraint collections_pkey primary key (collection_id),
    constraint collections_db_id_fkey foreign key (db_id) references databases (db_id),
    constraint collections_id_check check (collection_id >= 0),
    constraint collections_state_check check (state in ('restoring', 'active', 'dropped')),
    constraint collections_ownership_check check (ownership in ('owned', 'external')),
    constraint collections_num_shards_check check (num_shards between 1 and 1024),
    constraint collections_dropped_at_check check ((state = 'dropped') = (dropped_at is not null))
);
comment on table collections is 'collections, living, being restored, or dropped but still needed by a snapshot or by files not yet collected';
comment on column collections.collection_id is 'id, given by the engine or allocated here';
comment on column collections.db_id is 'the database it is in';
comment on column collections.name is 'its real name; kept after the drop, so that its snapshots are found by it';
comment on column collections.state is 'restoring (invisible until published), active, dropped';
comment on column collections.ownership is 'owned: its files are ours to delete; external: only read';
comment on column collections.num_shards is 'shards; one channel each';
comment on column collections.consistency_level is 'Milvus'' name of the default consistency level';
comment on column collections.schema is 'fields, functions and flags, as domain::schema::Schema';
comment on column collections.properties is 'collection properties, text to text';
comment on column collections.created_at is 'when the row was written';
comment on column collections.dropped_at is 'when it was dropped';
create index collections_list_idx on collections (db_id, name, collection_id);
create index collections_dropped_idx on collections (dropped_at) where state = 'dropped';

create table collection_names (
    db_id bigint not null,
    name text not null,
    kind text not null,
    collection_id bigint not null,
    created_at timestamptz not null default stillframe_now(),
    constraint collection_names_pkey primary key (db_id, name),
    constraint collection_names_collection_fkey foreign key (collection_id) references collections (collection_id) on delete cascade,
    constraint collection_names_kind_check check (kind in ('collection', 'alias', 'reserved'))
);
comment on table collection_names is 'names in use in a database: of collections, of aliases, and reserved by running restores';
comment on column collection_names.db_id is 'the database';
comment on column collection_names.name is 'the name; unique over all kinds';
comment on column collection_names.kind is 'collection, alias, or reserved (target of a running restore)';
comment on column collection_names.collection_id is 'what it names';
comment on column collection_names.created_at is 'when it was taken';
create index collection_names_collection_idx on collection_names (collection_id);

create table partitions (
    collection_id bigint not null,
    partition_id bigint not null,
    name text not null,
    state text not null default 'active',
    created_at timestamptz not null default stillframe_now(),
    constraint partitions_pkey primary key (partition_id),
    constraint partitions_collection_fkey foreign key (collection_id) references collections (collection_id) on delete cascade,
    constraint partitions_id_check check (partition_id >= 0),
    constraint partitions_state_check check (state in ('active', 'dropped'))
);
comment on table partitions is 'partitions of collections';
comment on column partitions.collection_id is 'the collection';
comment on column partitions.partition_id is 'id, given by the engine or allocated here';
comment on column partitions.name is 'name, unique among the living ones of a collection';
comment on column partitions.state is 'active or dropped (kept, since snapshots may name it)';
comment on column partitions.created_at is 'when it was created';
create index partitions_collection_idx on partitions (collection_id);
create unique index partitions_name_key on partitions (collection_id, name) where state = 'active';

create table channels (
    collection_id bigint not null,
    channel_name text not null,
    shard_no integer not null,
    seek_timestamp bigint,
    seek_msg_id bytea not null default '',
    seek_msg_group text not null default '',
    constraint channels_pkey primary key (collection_id, channel_name),
    constraint channels_shard_key unique (collection_id, shard_no),
    constraint channels_collection_fkey foreign key (collection_id) references collections (collection_id) on delete cascade,
    constraint channels_seek_timestamp_check check (seek_timestamp >= 0)
);
comment on table channels is 'channels of collections, one per shard';
comment on column channels.collection_id is 'the collection';
comment on column channels.channel_name is 'the engine''s name of the channel';
comment on column channels.shard_no is 'shard number, from 0; a restore maps channels by it';
comment on column channels.seek_timestamp is 'hybrid timestamp up to which the data of this channel is persisted; null: never reported';
comment on column channels.seek_msg_id is 'message id of the seek position, opaque';
comment on column channels.seek_msg_group is 'message group of the seek position, opaque';

create table indexes (
    collection_id bigint not null,
    index_id bigint not null,
    field_id bigint not null,
    index_name text not null,
    type_params jsonb not null default '{}',
    index_params jsonb not null default '{}',
    user_index_params jsonb not null default '{}',
    is_auto_index boolean not null default false,
    state text not null default 'active',
    created_at timestamptz not null default stillframe_now(),
    constraint indexes_pkey primary key (collection_id, index_id),
    constraint indexes_collection_fkey foreign key (collection_id) references collections (collection_id) on delete cascade,
    constraint indexes_id_check check (index_id >= 0),
    constraint indexes_state_check check (state in ('active', 'dropped'))
);
comment on table indexes is 'index definitions; an index is identified by collection and index id, since a restore keeps index ids';
comment on column indexes.collection_id is 'the collection';
comment on column indexes.index_id is 'id, kept by a restore';
comment on column indexes.field_id is 'the indexed field';
comment on column indexes.index_name is 'name, unique among the living ones of a collection';
comment on column indexes.type_params is 'parameters of the field''s type, text to text';
comment on column indexes.index_params is 'effective index parameters, text to text';
comment on column indexes.user_index_params is 'index parameters as the user gave them, text to text';
comment on column indexes.is_auto_index is 'the engine chose the index type';
comment on column indexes.state is 'active or dropped (kept until no build names it)';
comment on column indexes.created_at is 'when it was registered';
create unique index indexes_name_key on indexes (collection_id, index_name) where state = 'active';

create table segments (
    segment_id bigint not null,
    collection_id bigint not null,
    partition_id bigint not null,
    channel_name text not null,
    level text not null,
    state text not null,
    version integer not null default 1,
    num_of_rows bigint not null,
    start_timestamp bigint not null default 0,
    commit_timestamp bigint not null default 0,
    has_data boolean not null,
    file_count integer not null,
    size_bytes bigint not null,
    created_at timestamptz not null default stillframe_now(),
    dropped_at timestamptz,
    collect_after timestamptz,
    constraint segments_pkey primary key (segment_id),
    constraint segments_collection_fkey foreign key (collection_id) references collections (collection_id),
    constraint segments_channel_fkey foreign key (collection_id, channel_name) references channels (collection_id, channel_name),
    constraint segments_id_check check (segment_id >= 0),
    constraint segments_partition_check check (partition_id >= 0 or (partition_id = -1 and level = 'L0')),
    constraint segments_level_check check (level in ('Legacy', 'L0', 'L1', 'L2')),
    constraint segments_state_check check (state in ('importing', 'growing', 'sealed', 'flushed', 'dropped', 'condemned')),
    constraint segments_counts_check check (num_of_rows >= 0 and file_count >= 0 and size_bytes >= 0 and version >= 1),
    constraint segments_dropped_at_check check ((state in ('dropped', 'condemned')) = (dropped_at is not null))
);
comment on table segments is 'segments: units of data of one partition on one channel';
comment on column segments.segment_id is 'id, given by the engine or allocated here';
comment on column segments.collection_id is 'the collection';
comment on column segments.partition_id is 'the partition; -1: all partitions (L0 only)';
comment on column segments.channel_name is 'the channel its rows came through';
comment on column segments.level is 'L0 holds deletes only; Legacy, L1, L2 hold rows';
comment on column segments.state is 'importing, growing, sealed, flushed, dropped, condemned (the collector is deleting its files)';
comment on column segments.version is 'the newest of segment_versions';
comment on column segments.num_of_rows is 'rows, deletes not subtracted';
comment on column segments.start_timestamp is 'hybrid timestamp of the start position';
comment on column segments.commit_timestamp is 'hybrid timestamp that replaces the start position when it is not zero (imported segments)';
comment on column segments.has_data is 'it has an insert or a delete file';
comment on column segments.file_count is 'files of the newest version, index files excluded';
comment on column segments.size_bytes is 'bytes of the newest version, index files excluded';
comment on column segments.created_at is 'when it was registered';
comment on column segments.dropped_at is 'when it was dropped; the grace period starts here';
comment on column segments.collect_after is 'its files may still be written until then (leases of copy tasks); the collector waits';
create index segments_list_idx on segments (collection_id, segment_id) where state not in ('dropped', 'condemned');
create index segments_state_idx on segments (collection_id, state, segment_id);
create index segments_collect_idx on segments (dropped_at) where state in ('dropped', 'condemned');

create table segment_versions (
    segment_id bigint not null,
    version integer not null,
    content bytea not null,
    file_count integer not null,
    size_bytes bigint not null,
    num_of_rows bigint not null,
    commit_timestamp bigint not null,
    constraint segment_versions_pkey primary key (segment_id, version),
    constraint segment_versions_segment_fkey foreign key (segment_id) references segments (segment_id) on delete cascade
);
comment on table segment_versions is 'what a segment is made of; appending files adds a version, so that a snapshot keeps the one it captured';
comment on column segment_versions.segment_id is 'the segment';
comment on column segment_versions.version is 'from 1, without gaps';
comment on column segment_versions.content is 'positions and files with sizes and ETags, as store::codec writes them';
comment on column segment_versions.file_count is 'files in content';
comment on column segment_versions.size_bytes is 'bytes of the files in content';
comment on column segment_versions.num_of_rows is 'rows of this version';
comment on column segment_versions.commit_timestamp is 'commit timestamp of this version';
-- the content is a compact encoding already: keep it out of line, unpacked
alter table segment_versions alter column content set storage external;

create table index_builds (
    build_id bigint not null,
    collection_id bigint not null,
    segment_id bigint not null,
    index_id bigint not null,
    state text not null default 'finished',
    content bytea not null,
    file_count integer not null,
    size_bytes bigint not null,
    created_at timestamptz not null default stillframe_now(),
    dropped_at timestamptz,
    collect_after timestamptz,
    constraint index_builds_pkey primary key (build_id),
    constraint index_builds_segment_fkey foreign key (segment_id) references segments (segment_id),
    constraint index_builds_index_fkey foreign key (collection_id, index_id) references indexes (collection_id, index_id),
    constraint index_builds_id_check check (build_id >= 0),
    constraint index_builds_state_check check (state in ('importing', 'finished', 'dropped', 'condemned')),
    constraint index_builds_counts_check check (file_count >= 0 and size_bytes >= 0),
    constraint index_builds_dropped_at_check check ((state in ('dropped', 'condemned')) = (dropped_at is not null))
);
comment on table index_builds is 'index builds: the files of one index on one segment';
comment on column index_builds.build_id is 'id, given by the engine or allocated here';
comment on column index_builds.collection_id is 'the collection of its segment and index';
comment on column index_builds.segment_id is 'the segment';
comment on column index_builds.index_id is 'the index';
comment on column index_builds.state is 'importing (being restored), finished, dropped, condemned (the collector is deleting its files)';
comment on column index_builds.content is 'versions and files with sizes and ETags, as store::codec writes them';
comment on column index_builds.file_count is 'files in content';
comment on column index_builds.size_bytes is 'bytes of the files in content';
comment on column index_builds.created_at is 'when it was registered';
comment on column index_builds.dropped_at is 'when it was dropped; the grace period starts here';
comment on column index_builds.collect_after is 'its files may still be written until then; the collector waits';
alter table index_builds alter column content set storage external;
create unique index index_builds_segment_key on index_builds (segment_id, index_id) where state in ('importing', 'finished');
create index index_builds_segment_idx on index_builds (segment_id);
create index index_builds_index_idx on index_builds (collection_id, index_id);
create index index_builds_collect_idx on index_builds (dropped_at) where state in ('dropped', 'condemned');

create table snapshots (
    snapshot_id bigint not null,
    collection_id bigint not null,
    db_id bigint not null,
    name text not null,
    description text not null default '',
    labels jsonb not null default '{}',
    state text not null,
    create_ts bigint not null,
    channels jsonb not null default '[]',
    segment_count bigint not null default 0,
    index_build_count bigint not null default 0,
    num_of_rows bigint not null default 0,
    file_count bigint not null default 0,
    size_bytes bigint not null default 0,
    metadata_bytes bigint not null default 0,
    left_out jsonb not null default '[]',
    s3_location text not null default '',
    lease_token uuid,
    lease_expires_at timestamptz,
    created_at timestamptz not null default stillframe_now(),
    committed_at timestamptz,
    dropped_at timestamptz,
    constraint snapshots_pkey primary key (snapshot_id),
    constraint snapshots_collection_fkey foreign key (collection_id) references collections (collection_id),
    constraint snapshots_db_fkey foreign key (db_id) references databases (db_id),
    constraint snapshots_state_check check (state in ('pending', 'committed', 'deleting')),
    constraint snapshots_pending_check check ((state = 'pending') = (lease_token is not null) and (lease_token is null) = (lease_expires_at is null)),
    constraint snapshots_committed_check check (state <> 'committed' or committed_at is not null),
    constraint snapshots_deleting_check check ((state = 'deleting') = (dropped_at is not null)),
    constraint snapshots_create_ts_check check (create_ts >= 0)
);
comment on table snapshots is 'snapshots; a pending one is being written under a lease, a deleting one waits for the collector';
comment on column snapshots.snapshot_id is 'id, allocated here';
comment on column snapshots.collection_id is 'the collection it was taken of';
comment on column snapshots.db_id is 'the database of that collection';
comment on column snapshots.name is 'name, unique in the collection among pending and committed ones';
comment on column snapshots.description is 'free text';
comment on column snapshots.labels is 'labels, text to text';
comment on column snapshots.state is 'pending, committed, deleting';
comment on column snapshots.create_ts is 'hybrid timestamp: the least captured channel position, or the database''s time without channels';
comment on column snapshots.channels is 'captured channels by shard number, with their seek positions';
comment on column snapshots.segment_count is 'captured segments';
comment on column snapshots.index_build_count is 'captured index builds';
comment on column snapshots.num_of_rows is 'rows in captured segments, deletes not subtracted';
comment on column snapshots.file_count is 'captured files, index files included';
comment on column snapshots.size_bytes is 'bytes of the captured files';
comment on column snapshots.metadata_bytes is 'bytes of the metadata file and the manifests';
comment on column snapshots.left_out is 'segments that were not captured, by reason';
comment on column snapshots.s3_location is 'whole URI of the metadata file';
comment on column snapshots.lease_token is 'who is writing it; the commit is fenced by it';
comment on column snapshots.lease_expires_at is 'after this the pending row may be taken away';
comment on column snapshots.created_at is 'when the create call began';
comment on column snapshots.committed_at is 'when it became visible';
comment on column snapshots.dropped_at is 'when it was dropped or its lease was found expired; the grace period starts here';
create unique index snapshots_name_key on snapshots (collection_id, name) where state in ('pending', 'committed');
create index snapshots_list_idx on snapshots (db_id, created_at desc, snapshot_id desc) where state = 'committed';
create index snapshots_by_name_idx on snapshots (db_id, name) where state = 'committed';
create index snapshots_by_collection_idx on snapshots (collection_id, created_at desc, snapshot_id desc) where state = 'committed';
create index snapshots_collection_idx on snapshots (collection_id);
create index snapshots_labels_idx on snapshots using gin (labels) where state = 'committed';
create index snapshots_collect_idx on snapshots (dropped_at) where state = 'deleting';
create index snapshots_lease_idx on snapshots (lease_expires_at) where state = 'pending';

create table snapshot_segments (
    snapshot_id bigint not null,
    segment_id bigint not null,
    version integer not null,
    constraint snapshot_segments_pkey primary key (snapshot_id, segment_id),
    constraint snapshot_segments_snapshot_fkey foreign key (snapshot_id) references snapshots (snapshot_id),
    constraint snapshot_segments_version_fkey foreign key (segment_id, version) references segment_versions (segment_id, version)
);
comment on table snapshot_segments is 'references: this snapshot needs this segment version; the collector deletes no segment that has one';
comment on column snapshot_segments.snapshot_id is 'the snapshot';
comment on column snapshot_segments.segment_id is 'the segment';
comment on column snapshot_segments.version is 'the captured version';
create index snapshot_segments_segment_idx on snapshot_segments (segment_id);

create table snapshot_builds (
    snapshot_id bigint not null,
    segment_id bigint not null,
    build_id bigint not null,
    constraint snapshot_builds_pkey primary key (snapshot_id, segment_id, build_id),
    constraint snapshot_builds_snapshot_fkey foreign key (snapshot_id) references snapshots (snapshot_id),
    constraint snapshot_builds_build_fkey foreign key (build_id) references index_builds (build_id)
);
comment on table snapshot_builds is 'references: this snapshot needs this index build; the collector deletes no build that has one';
comment on column snapshot_builds.snapshot_id is 'the snapshot';
comment on column snapshot_builds.segment_id is 'the segment of the build';
comment on column snapshot_builds.build_id is 'the index build';
create index snapshot_builds_build_idx on snapshot_builds (build_id);

create table snapshot_descriptions (
    snapshot_id bigint not null,
    description jsonb not null,
    constraint snapshot_descriptions_pkey primary key (snapshot_id),
    constraint snapshot_descriptions_snapshot_fkey foreign key (snapshot_id) references snapshots (snapshot_id) on delete cascade
);
comment on table snapshot_descriptions is 'the collection as it was captured: schema, partitions, properties, indexes; apart from snapshots so that lists stay light';
comment on column snapshot_descriptions.snapshot_id is 'the snapshot';
comment on column snapshot_descriptions.description is 'as domain::snapshot::CapturedCollection';
