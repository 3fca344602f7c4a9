//! Places where a debug build can be made to die as by `kill -9`: tests of what a crash leaves
//! behind begin there (`tests/it/crashes`). Nothing of it is in a release build.
//!
//! `TEST_STILLFRAME_CRASH_AT=collect.condemned` kills the process when it gets there for the
//! first time, `=restore.file_copied#7` for the seventh. With `TEST_STILLFRAME_CRASH_BY=SIGSTOP`
//! it falls silent there instead, as when its host goes away, until it is sent SIGCONT. Neither is
//! a setting of the service: their names do not begin like those of settings.

/// Says that an effect has just happened; the process ends here when a test asked for it.
#[inline(always)]
pub fn reached(point: &'static str) {
    #[cfg(debug_assertions)]
    armed::reached(point);
    #[cfg(not(debug_assertions))]
    let _ = point;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, kill, raise};
    use nix::unistd::Pid;

    /// The point and how often it is still to be reached.
    static ARMED: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let text = std::env::var("TEST_STILLFRAME_CRASH_AT").ok()?;
        let (point, times) = match text.split_once('#') {
            Some((point, times)) => (point, times.parse().expect("a number after #")),
            None => (text.as_str(), 1),
        };
        Some((point.to_string(), AtomicU64::new(times)))
    });

    pub fn reached(point: &str) {
        if let Some((wanted, times)) = &*ARMED
            && wanted == point
            && times.fetch_sub(1, Ordering::SeqCst) == 1
        {
            if std::env::var("TEST_STILLFRAME_CRASH_BY").is_ok_and(|by| by == "SIGSTOP") {
                // to this thread, which stops here; the others follow
                let _ = raise(Signal::SIGSTOP);
                return;
            }
            let _ = kill(Pid::this(), Signal::SIGKILL);
            // whatever the other threads still do until the signal comes, this one does no more
            std::thread::park();
        }
    }
}
