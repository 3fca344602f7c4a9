-- Multipart uploads that the engine of a restored collection may be writing are not taken for left behind.

alter table open_uploads add column engine_writes boolean not null default false;
comment on column open_uploads.engine_writes is 'when it was found last, it was of a living segment or index build of a collection that is visible, where an engine may write';
