//! How many copies one process asks of a store at the same time: fewer when the store says that it
//! is too much, slowly more again when it copes (additive increase, multiplicative decrease).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limit of one process on one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CopyLimiter {
    semaphore: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    max: usize,
    limit: usize,
    /// Permits that are still out although the limit no longer has room for them; kept back when
    /// their slots are done.
    owed: usize,
    /// Successes since the limit last changed.
    successes: usize,
    /// Times that the limit was cut.
    cuts: u64,
}

/// The right to have one request under way; given back when dropped.
#[derive(Debug)]
pub struct CopySlot {
    limiter: CopyLimiter,
    permit: Option<OwnedSemaphorePermit>,
    /// `State::cuts` when the request began.
    cuts: u64,
}

impl CopyLimiter {
    /// A limiter that begins at its maximum, at least 1.
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        let state = State {
            max,
            limit: max,
            owed: 0,
            successes: 0,
            cuts: 0,
        };
        Self {
            semaphore: Arc::new(Semaphore::new(max)),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Requests allowed at the same time now.
    pub fn limit(&self) -> usize {
        self.state().limit
    }

    /// Whether any request is under way.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state();
        self.semaphore.available_permits() < state.limit + state.owed
    }

    /// Waits for a slot, first come, first served.
    pub async fn acquire(&self) -> CopySlot {
        // an error would say that the semaphore was closed, which nobody does
        let permit = self.semaphore.clone().acquire_owned().await.ok();
        CopySlot {
            limiter: self.clone(),
            permit,
            cuts: self.state().cuts,
        }
    }

    /// Times that the limit was cut so far: what [`CopyLimiter::throttled`] is told by a request
    /// that holds no slot.
    pub(super) fn cuts(&self) -> u64 {
        self.state().cuts
    }

    /// A request succeeded: after as many of these as requests are allowed, one more is.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        state.successes += 1;
        if state.limit < state.max && state.successes >= state.limit {
            state.successes = 0;
            state.limit += 1;
            if state.owed > 0 {
                state.owed -= 1;
            } else {
                self.semaphore.add_permits(1);
            }
        }
    }

    /// The store asked to slow down: half as many requests. What began before the last cut does
    /// not cut again: its answer is about the load before it.
    pub(super) fn throttled(&self, cuts: u64) {
        let mut state = self.state();
        if cuts != state.cuts {
            return;
        }
        let limit = (state.limit / 2).max(1);
        state.owed += state.limit - limit;
        state.owed -= self.semaphore.forget_permits(state.owed);
        state.limit = limit;
        state.successes = 0;
        state.cuts += 1;
        tracing::info!(copies_at_once = limit, "the storage asks to slow down");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CopySlot {
    /// The request succeeded.
    pub fn succeeded(self) {
        self.limiter.succeeded();
    }

    /// The store asked to slow down.
    pub fn throttled(self) {
        self.limiter.throttled(self.cuts);
    }
}

impl Drop for CopySlot {
    fn drop(&mut self) {
        let mut state = self.limiter.state();
        if state.owed > 0
            && let Some(permit) = self.permit.take()
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn slots(limiter: &CopyLimiter, count: usize) -> Vec<CopySlot> {
        let mut slots = Vec::new();
        for _ in 0..count {
            slots.push(limiter.acquire().await);
        }
        slots
    }

    #[tokio::test]
    async fn a_round_of_throttled_requests_halves_the_limit_once() {
        let limiter = CopyLimiter::new(16);
        let round = slots(&limiter, 16).await;
        round.into_iter().for_each(CopySlot::throttled);
        assert_eq!((limiter.limit(), limiter.semaphore.available_permits()), (8, 8));
        let round = slots(&limiter, 8).await;
        round.into_iter().for_each(CopySlot::throttled);
        assert_eq!((limiter.limit(), limiter.semaphore.available_permits()), (4, 4));
    }

    #[tokio::test]
    async fn one_request_is_always_allowed() {
        let limiter = CopyLimiter::new(2);
        for _ in 0..5 {
            limiter.acquire().await.throttled();
        }
        assert_eq!((limiter.limit(), limiter.semaphore.available_permits()), (1, 1));
        assert_eq!(CopyLimiter::new(0).limit(), 1);
    }

    #[tokio::test]
    async fn the_limit_grows_back_by_one_per_round_of_successes_and_never_above_the_maximum() {
        let limiter = CopyLimiter::new(8);
        let held = slots(&limiter, 3).await;
        limiter.acquire().await.throttled();
        assert_eq!(limiter.limit(), 4);
        drop(held);
        for (successes, limit) in [(4, 5), (5, 6), (6, 7), (7, 8), (100, 8)] {
            for _ in 0..successes {
                limiter.acquire().await.succeeded();
            }
            assert_eq!((limiter.limit(), limiter.semaphore.available_permits()), (limit, limit));
        }
    }

    #[tokio::test]
    async fn requests_that_outlive_a_cut_make_no_room() {
        let limiter = CopyLimiter::new(8);
        let mut round = slots(&limiter, 8).await;
        round.pop().expect("one").throttled();
        assert_eq!(limiter.semaphore.available_permits(), 0);
        round.truncate(4);
        assert_eq!(limiter.semaphore.available_permits(), 0, "four are still out");
        round.truncate(1);
        assert!(limiter.is_busy());
        drop(round);
        assert!(!limiter.is_busy());
        assert_eq!(limiter.semaphore.available_permits(), 4);
    }
}
