-- Patience counts only the time in which something was tried in vain.

alter table restore_tasks
    add column waited_ms bigint not null default 0,
    add column copied_at timestamptz;
comment on column restore_tasks.waited_ms is 'milliseconds of attempts that ended in outages and denials since the last progress, and of the pauses after them; time without a worker is no part of it';
comment on column restore_tasks.copied_at is 'when a heartbeat brought a file more than any attempt before had copied';
