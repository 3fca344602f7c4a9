-- The last foreign key that was checked for each new manifest took a third of a capture's time. A capture holds the
-- segment's row and reads its version in the same statement, and versions are deleted only under a lock of that row, so
-- the reference is right by construction; this checks the other side, as for manifests, snapshots and index builds.
alter table manifests drop constraint manifests_version_fkey;

create function refuse_referenced_version() returns trigger
language plpgsql as $$
begin
    if exists (select from gone g join manifests m using (segment_id, version)) then
        raise foreign_key_violation using message = 'a segment version is still referenced', constraint = 'manifests_version_fkey';
    end if;
    return null;
end
$$;
comment on function refuse_referenced_version() is 'a foreign key that is checked on deletion only';
create trigger segment_versions_referenced after delete on segment_versions
    referencing old table as gone for each statement execute function refuse_referenced_version();
