-- Snapshots that another system wrote, adopted where they lie.

alter table collections add column adopted_from text;
alter table collections add constraint collections_adopted_check check (adopted_from is null or ownership = 'external');
comment on column collections.adopted_from is 'prefix below the storage root under which another system keeps it, ending in a slash, or empty: the root itself; null: it was not adopted';

alter table snapshots add column adopted_from text;
comment on column snapshots.adopted_from is 'of a snapshot that another system wrote: the prefix below the storage root under which its metadata file lies, as in collections; its files are never deleted here. null: written by this catalog';

alter table manifests add column adopted_from text;
alter table manifests add constraint manifests_adopted_check check (adopted_from is null or sha256 is null);
comment on column manifests.adopted_from is 'of a manifest that another system wrote: as snapshots.adopted_from; it is never deleted here, nor shared with snapshots taken here';
