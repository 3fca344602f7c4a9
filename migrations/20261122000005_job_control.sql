-- Control of running jobs: pausing, priorities, limits; and targets that are laid out page by page.

alter table restore_jobs
    add column priority integer not null default 0,
    add column place bigint not null default 0,
    add column max_concurrency integer,
    add column max_bytes_per_second bigint,
    add column running_limit integer generated always as
        (coalesce(max_concurrency, case when max_bytes_per_second is not null then 2 end)) stored,
    add column resume_state text,
    add column paused_at timestamptz,
    add column copy_began_at timestamptz,
    drop constraint restore_jobs_state_check,
    add constraint restore_jobs_state_check check (state in
        ('Pending', 'Validating', 'InProgress', 'Publishing', 'Paused', 'Completed', 'Failed', 'Cancelled')),
    add constraint restore_jobs_paused_check check ((state = 'Paused') = (resume_state is not null)
        and (state = 'Paused') = (paused_at is not null)),
    add constraint restore_jobs_resume_state_check check (resume_state in ('Pending', 'Validating', 'InProgress', 'Publishing')),
    add constraint restore_jobs_priority_check check (priority between -10 and 10),
    add constraint restore_jobs_max_concurrency_check check (max_concurrency >= 1),
    add constraint restore_jobs_max_bytes_per_second_check check (max_bytes_per_second >= 1);
comment on column restore_jobs.state is 'Pending, Validating, InProgress, Publishing, Paused, Completed, Failed, Cancelled';
comment on column restore_jobs.priority is '-10 to 10; one step more doubles the job''s share, see domain::schedule';
comment on column restore_jobs.place is 'where the job''s turn 0 stands in the line of all jobs, see domain::schedule';
comment on column restore_jobs.max_concurrency is 'copy tasks that may run at once over all replicas; null: no limit';
comment on column restore_jobs.max_bytes_per_second is 'bytes copied in a second over all replicas; null: no limit';
comment on column restore_jobs.running_limit is 'copy tasks that may run at once: max_concurrency, or two of a job with a limit of bytes, so that waiting copies keep no worker busy';
comment on column restore_jobs.resume_state is 'of a paused job: the state that it goes on from';
comment on column restore_jobs.paused_at is 'of a paused job: since when';
comment on column restore_jobs.copy_began_at is 'when copying began, moved on by the time of every pause since';
update restore_jobs set copy_began_at = created_at where state in ('InProgress', 'Publishing');
-- jobs that workers may have something to do for
create index restore_jobs_active_idx on restore_jobs (job_id) where finished_at is null or cleanup = 'pending';

alter table restore_tasks add column hand_backs integer not null default 0;
comment on column restore_tasks.hand_backs is 'claims that ended in a hand-back (shutdown, pause, a lowered limit); they are not charged to the task';
comment on column restore_tasks.turn is 'place among the copies of its job, from 0';

-- A claim looks at the next copies of each job, then at the few tasks of other kinds.
create index restore_tasks_copy_idx on restore_tasks (job_id, turn, task_id) where kind = 'copy' and state = 'available';
create index restore_tasks_other_idx on restore_tasks (job_id, task_id) where kind <> 'copy' and state = 'available';
create index restore_tasks_due_idx on restore_tasks (run_at) where state = 'available';
drop index restore_tasks_claim_idx;
-- A target is laid out page by page: no segment twice, and a later attempt goes on after the last.
create unique index restore_tasks_source_key on restore_tasks (job_id, source_segment_id) where kind = 'copy';
