//! Work that is cheaper for many at once: whoever asks for it while some of it runs shares the next run
//! with all others who do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Between looks whether a run is worth beginning.
const LOOK: Duration = Duration::from_millis(10);
/// When nobody has asked for this long, nobody else is taken to come.
const QUIET: Duration = Duration::from_millis(50);

/// Those who wait for the next run; none: nothing runs.
type Waiting<A, R> = Option<Vec<Asked<A, R>>>;

#[derive(Debug)]
pub(super) struct Together<A, R>(Arc<Mutex<Waiting<A, R>>>);

#[derive(Debug)]
pub(super) struct Asked<A, R> {
    pub what: A,
    since: Instant,
    answer: oneshot::Sender<R>,
}

impl<A, R> Asked<A, R> {
    /// Answers; whoever asked may have gone.
    pub fn answer(self, with: R) {
        let _ = self.answer.send(with);
    }
}

impl<A, R> Clone for Together<A, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A, R> Default for Together<A, R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<A: Send + 'static, R: Send + 'static> Together<A, R> {
    /// Asks, and waits for the answer. None: the run ended without one, which says nothing about what was asked.
    pub async fn ask<F>(&self, what: A, run: impl Fn(Vec<Asked<A, R>>) -> F + Send + 'static) -> Option<R>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.ask_when(what, Duration::ZERO, |_| true, run).await
    }

    /// The same, but a run does not begin before it is worth it by what was asked, or nobody else comes, or the first has
    /// waited for long.
    pub async fn ask_when<F>(
        &self,
        what: A,
        longest: Duration,
        is_worth_it: impl Fn(&[Asked<A, R>]) -> bool + Send + 'static,
        run: impl Fn(Vec<Asked<A, R>>) -> F + Send + 'static,
    ) -> Option<R>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let since = Instant::now();
        let asked = Asked { what, since, answer };
        if let Some(first) = self.join(asked) {
            let mut runs = Runs {
                of: self.clone(),
                ended: false,
            };
            // in a task of its own: whoever began it may be given up while others wait for it
            tokio::spawn(async move {
                let mut next = vec![first];
                while !next.is_empty() {
                    while !is_worth_it(&next) && next[0].since.elapsed() < longest && next[next.len() - 1].since.elapsed() < QUIET
                    {
                        tokio::time::sleep(LOOK).await;
                        next.append(&mut runs.waiting());
                    }
                    // who has given up needs no answer
                    next.retain(|asked| !asked.answer.is_closed());
                    if !next.is_empty() {
                        run(next).await;
                    }
                    next = runs.next();
                }
            });
        }
        answered.await.ok()
    }

    /// Joins those who wait; gives back who is to run, if nobody does.
    fn join(&self, asked: Asked<A, R>) -> Option<Asked<A, R>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.as_mut() {
            Some(others) => {
                others.push(asked);
                None
            }
            None => {
                *waiting = Some(Vec::new());
                Some(asked)
            }
        }
    }
}

/// Whoever runs for all. Should that end early, those who wait get no answer, and the next begins anew.
struct Runs<A, R> {
    of: Together<A, R>,
    ended: bool,
}

impl<A, R> Runs<A, R> {
    fn waiting(&self) -> Vec<Asked<A, R>> {
        let mut waiting = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn next(&mut self) -> Vec<Asked<A, R>> {
        let mut waiting = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.as_mut().map(std::mem::take).unwrap_or_default();
        if next.is_empty() {
            *waiting = None;
            self.ended = true;
        }
        next
    }
}

impl<A, R> Drop for Runs<A, R> {
    fn drop(&mut self) {
        if !self.ended {
            drop(self.of.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::Semaphore;

    type Seen = Arc<Mutex<Vec<Vec<u32>>>>;

    async fn double(runs: Seen, gate: Arc<Semaphore>, asked: Vec<Asked<u32, u32>>) {
        runs.lock().expect("no panic").push(asked.iter().map(|a| a.what).collect());
        gate.acquire().await.expect("open").forget();
        assert!(asked.iter().all(|a| a.what != 13), "an unlucky one");
        for asked in asked {
            let what = asked.what;
            asked.answer(2 * what);
        }
    }

    /// Asks for each, all before the first run ends.
    async fn ask_all(together: &Together<u32, u32>, runs: &Seen, gate: &Arc<Semaphore>, what: &[u32]) -> Vec<Option<u32>> {
        let asks = what.iter().map(|one| {
            let (runs, gate) = (runs.clone(), gate.clone());
            together.ask(*one, move |asked| double(runs.clone(), gate.clone(), asked))
        });
        join_all(asks).await
    }

    #[tokio::test]
    async fn whoever_asks_while_something_runs_shares_the_run_after_it() {
        let (together, runs, gate) = (Together::default(), Seen::default(), Arc::new(Semaphore::new(9)));
        let answers = ask_all(&together, &runs, &gate, &[1, 2, 3]).await;
        assert_eq!(answers, [Some(2), Some(4), Some(6)]);
        assert_eq!(*runs.lock().expect("no panic"), [vec![1], vec![2, 3]]);
        assert_eq!(
            ask_all(&together, &runs, &gate, &[4]).await,
            [Some(8)],
            "the next one begins anew"
        );
    }

    #[tokio::test]
    async fn a_run_waits_until_it_is_worth_it_and_not_for_ever() {
        let (together, runs, gate) = (Together::<u32, u32>::default(), Seen::default(), Arc::new(Semaphore::new(9)));
        let ask = |what: u32, longest: Duration| {
            let (together, runs, gate) = (together.clone(), runs.clone(), gate.clone());
            let enough = |asked: &[Asked<u32, u32>]| asked.iter().map(|a| a.what).sum::<u32>() >= 10;
            let run = move |asked| double(runs.clone(), gate.clone(), asked);
            async move { together.ask_when(what, longest, enough, run).await }
        };
        let longest = Duration::from_secs(3600);
        let answers = tokio::join!(ask(4, longest), ask(5, longest), ask(1, longest));
        assert_eq!(answers, (Some(8), Some(10), Some(2)));
        assert_eq!(ask(3, longest).await, Some(6), "nobody else comes");
        assert_eq!(*runs.lock().expect("no panic"), [vec![4, 5, 1], vec![3]]);
        // a stream of them that never ends
        let asking = AtomicBool::new(true);
        let others = async {
            while asking.load(Ordering::Relaxed) {
                let _ = tokio::time::timeout(Duration::from_millis(20), ask(0, longest)).await;
            }
        };
        let first = async {
            let answer = ask(2, Duration::from_millis(100)).await;
            asking.store(false, Ordering::Relaxed);
            answer
        };
        assert_eq!(tokio::join!(first, others).0, Some(4), "it has waited for long");
    }

    #[tokio::test]
    async fn a_run_that_ends_early_answers_nobody_and_stands_in_nobodys_way() {
        let (together, runs, gate) = (Together::default(), Seen::default(), Arc::new(Semaphore::new(9)));
        assert_eq!(ask_all(&together, &runs, &gate, &[13, 2, 3]).await, [None; 3]);
        assert_eq!(ask_all(&together, &runs, &gate, &[4, 13, 5]).await, [Some(8), None, None]);
        assert_eq!(ask_all(&together, &runs, &gate, &[6]).await, [Some(12)]);
    }

    #[tokio::test]
    async fn whoever_began_a_run_may_be_given_up() {
        let (together, runs, gate) = (Together::default(), Seen::default(), Arc::new(Semaphore::new(0)));
        {
            let begins = ask_all(&together, &runs, &gate, &[1]);
            futures::pin_mut!(begins);
            assert!(futures::poll!(begins.as_mut()).is_pending());
            while runs.lock().expect("no panic").is_empty() {
                tokio::task::yield_now().await;
            }
            // nor is anything done for who has given up before it began
            let asks = ask_all(&together, &runs, &gate, &[3]);
            futures::pin_mut!(asks);
            assert!(futures::poll!(asks.as_mut()).is_pending());
        }
        gate.add_permits(2);
        assert_eq!(ask_all(&together, &runs, &gate, &[2]).await, [Some(4)]);
        assert_eq!(*runs.lock().expect("no panic"), [vec![1], vec![2]]);
    }
}
