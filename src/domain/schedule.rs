//! The order in which workers take the copies of all jobs: fair queueing by virtual time.
//!
//! Every job walks along one line. Its copies stand on it at equal steps, and workers take
//! whatever stands first. The step halves with each point of priority, so a job of priority 1
//! gets twice the copies of a job of priority 0 while both have some, and none is ever skipped:
//! the line is finite up to any copy. A job that joins (new, resumed, of another priority) takes
//! its place where the others are now: it neither waits behind a huge job nor catches up on time
//! in which it had nothing to do.
//!
//! Copies that run are in no line: a job of which none runs gets the next free worker, and where
//! all are busy for long, one that has several gives one up.

use super::{Error, Result};

/// Lowest and highest priority.
pub const PRIORITIES: std::ops::RangeInclusive<i32> = -10..=10;

/// What may be changed about a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Control {
    /// One of [`PRIORITIES`].
    pub priority: i32,
    /// Copy tasks at once over all replicas; none: no limit.
    pub max_concurrency: Option<i32>,
    /// Bytes a second over all replicas; none: no limit.
    pub max_bytes_per_second: Option<i64>,
}

impl Control {
    /// # Errors
    /// `invalid_request` when a figure is out of bounds.
    pub fn check(&self) -> Result<()> {
        if !PRIORITIES.contains(&self.priority) {
            let (low, high) = (PRIORITIES.start(), PRIORITIES.end());
            return Err(Error::invalid("/priority", format!("must be from {low} to {high}")));
        }
        if self.max_concurrency.is_some_and(|n| n < 1) {
            return Err(Error::invalid(
                "/max_concurrency",
                "must be at least 1; pause the job to stop it",
            ));
        }
        if self.max_bytes_per_second.is_some_and(|n| n < 1) {
            return Err(Error::invalid(
                "/max_bytes_per_second",
                "must be at least 1; pause the job to stop it",
            ));
        }
        Ok(())
    }
}

/// Distance on the line between two copies of a job. The claim statement says the same in SQL.
pub fn step(priority: i32) -> i64 {
    1 << (PRIORITIES.end() - priority.clamp(*PRIORITIES.start(), *PRIORITIES.end()))
}

/// The point of a copy: `turn` counts the copies of a job from 0, `place` is where the job's
/// turn 0 stands.
pub fn point(place: i64, turn: i64, priority: i32) -> i64 {
    place + turn * step(priority)
}

/// The place of a job whose next copy is `next_turn`, so that this one stands where the other
/// jobs are now; none when there are none.
pub fn place(now: Option<i64>, next_turn: i64, priority: i32) -> i64 {
    now.unwrap_or(0) - next_turn * step(priority)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Job {
        joins_after: usize,
        copies: i64,
        priority: i32,
    }

    fn job() -> impl Strategy<Value = Job> {
        (0..40usize, 1..60i64, -3..=3i32).prop_map(|(joins_after, copies, priority)| Job {
            joins_after,
            copies,
            priority,
        })
    }

    /// Who is served, one copy after the other, as workers would.
    fn serve(jobs: &[Job]) -> Vec<usize> {
        let mut line: Vec<Option<(i64, i64)>> = vec![None; jobs.len()];
        let mut served: Vec<usize> = Vec::new();
        loop {
            let front = |line: &[Option<(i64, i64)>]| {
                let waiting = line.iter().enumerate().filter_map(|(at, j)| j.map(|j| (at, j)));
                let waiting = waiting.filter(|(at, (_, turn))| *turn < jobs[*at].copies);
                waiting
                    .map(|(at, (place, turn))| (point(place, turn, jobs[at].priority), -jobs[at].priority, at))
                    .min()
            };
            for at in 0..jobs.len() {
                if line[at].is_none() && jobs[at].joins_after <= served.len() {
                    line[at] = Some((place(front(&line).map(|f| f.0), 0, jobs[at].priority), 0));
                }
            }
            match front(&line) {
                Some((_, _, at)) => {
                    line[at] = line[at].map(|(place, turn)| (place, turn + 1));
                    served.push(at);
                }
                None => match jobs.iter().map(|j| j.joins_after).filter(|j| *j > served.len()).min() {
                    // nobody waits: the next one joins an idle service
                    Some(_) => served.push(usize::MAX),
                    None => return served,
                },
            }
        }
    }

    proptest! {
        #[test]
        fn every_copy_is_served_and_nobody_waits_longer_than_the_shares_say(jobs in prop::collection::vec(job(), 1..6)) {
            let served = serve(&jobs);
            for (at, job) in jobs.iter().enumerate() {
                let mine: Vec<usize> = (0..served.len()).filter(|i| served[*i] == at).collect();
                prop_assert_eq!(mine.len() as i64, job.copies);
                // between two copies of a job, another one gets what its share is, and at most
                // two more for the ends; a job that joins meanwhile begins at the same point
                for gap in mine.windows(2) {
                    for (other, rival) in jobs.iter().enumerate().filter(|(o, _)| *o != at) {
                        let between = served[gap[0]..gap[1]].iter().filter(|s| **s == other).count() as i64;
                        let share = (step(job.priority) / step(rival.priority)).max(1);
                        prop_assert!(between <= share + 2, "{between} of {rival:?} between two of {job:?}");
                    }
                }
            }
        }

        #[test]
        fn a_small_job_of_equal_priority_ends_after_about_its_size_times_the_number_of_jobs(
            huge in 100..10_000i64, done in 0..99usize, small in 1..20i64
        ) {
            let job = |joins_after, copies| Job { joins_after, copies, priority: 0 };
            let served = serve(&[job(0, huge), job(done, small)]);
            let last = served.iter().rposition(|s| *s == 1).unwrap_or_default();
            prop_assert!(last as i64 <= done as i64 + 2 * small, "{last}");
        }
    }

    #[test]
    fn a_point_of_priority_doubles_the_share() {
        assert_eq!(step(0), 2 * step(1));
        assert_eq!(step(10), 1);
        assert_eq!(step(-10), 1 << 20);
    }

    #[test]
    fn figures_out_of_bounds_are_refused() {
        let wrong = |control: Control| control.check().expect_err("must be refused").fields()[0].pointer.clone();
        let control = Control::default();
        assert!(control.check().is_ok());
        assert_eq!(wrong(Control { priority: 11, ..control }), "/priority");
        assert_eq!(
            wrong(Control {
                max_concurrency: Some(0),
                ..control
            }),
            "/max_concurrency"
        );
        assert_eq!(
            wrong(Control {
                max_bytes_per_second: Some(0),
                ..control
            }),
            "/max_bytes_per_second"
        );
    }
}
