//! How fast one task may copy. A file's bytes are paid for in time before it is copied, so the
//! limit holds however large files are; what heartbeats change holds at once.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// Time that may be caught up on when a pause took longer than it should.
const SLACK: Duration = Duration::from_millis(50);

/// The limit of one running task; without one until told otherwise.
#[derive(Debug, Default)]
pub struct Throttle {
    bytes_per_second: watch::Sender<Option<i64>>,
    /// Until when the files so far are paid for. One file pays at a time, first come first served.
    paid_until: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Sets the limit, also for the file that is waiting; none: no limit.
    pub fn set(&self, bytes_per_second: Option<i64>) {
        self.bytes_per_second.send_if_modified(|now| {
            let changed = *now != bytes_per_second;
            *now = bytes_per_second;
            changed
        });
    }

    /// Whether there is a limit now.
    pub fn is_on(&self) -> bool {
        self.bytes_per_second.borrow().is_some()
    }

    /// Waits until this many more bytes may be copied.
    pub async fn take(&self, bytes: u64) {
        let mut rates = self.bytes_per_second.subscribe();
        if rates.borrow().is_none() {
            return;
        }
        let mut paid_until = self.paid_until.lock().await;
        let mut owed = bytes as f64;
        let now = Instant::now();
        let mut from = paid_until.map_or(now, |paid| paid.max(now - SLACK));
        loop {
            let rate = *rates.borrow_and_update();
            let Some(rate) = rate.filter(|rate| *rate > 0).map(|rate| rate as f64) else {
                *paid_until = None;
                return;
            };
            // a century is as good as for ever, and can be added to a time
            let until = from + Duration::from_secs_f64((owed / rate).min(3e9));
            tokio::select! {
                () = tokio::time::sleep_until(until) => {
                    *paid_until = Some(until);
                    return;
                }
                Ok(()) = rates.changed() => {
                    let now = Instant::now().max(from);
                    owed -= (now - from).as_secs_f64() * rate;
                    from = now;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn millis(work: impl Future<Output = ()>) -> u128 {
        let began = Instant::now();
        work.await;
        began.elapsed().as_millis()
    }

    #[tokio::test]
    async fn bytes_take_the_time_that_the_limit_says() {
        let throttle = Throttle::default();
        throttle.set(Some(1_000_000));
        let files = async {
            // files at the same time share the limit of their task
            futures::future::join_all((0..100).map(|_| throttle.take(3_000))).await;
        };
        let took = millis(files).await;
        assert!((240..2_000).contains(&took), "{took} ms for 300 KB at 1 MB/s");
    }

    #[tokio::test]
    async fn without_a_limit_nobody_waits() {
        let throttle = Throttle::default();
        assert!(millis(throttle.take(u64::MAX)).await < 1_000);
    }

    #[tokio::test]
    async fn a_change_holds_for_the_file_that_is_waiting() {
        let throttle = Throttle::default();
        throttle.set(Some(1));
        let waiting = async {
            tokio::join!(throttle.take(1_000_000), async {
                throttle.set(Some(10_000_000));
            });
        };
        assert!(millis(waiting).await < 5_000, "not the twelve days of the first limit");
        throttle.set(Some(1));
        let lifted = async {
            tokio::join!(throttle.take(1_000_000), async { throttle.set(None) });
        };
        assert!(millis(lifted).await < 5_000);
    }
}
