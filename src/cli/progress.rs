//! Progress of a restore on standard error: a bar in bytes on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::job::Job;

/// Percent between two lines where there is no terminal.
const LINE_EVERY: u64 = 10;
/// Before it is known how much there is to copy, and after.
const UNKNOWN: &str = "{prefix}";
const KNOWN: &str = "{prefix:12} [{bar:40}] {msg}, {elapsed}";

/// What shows the progress of one restore.
#[derive(Debug)]
pub enum Progress {
    Bar(ProgressBar),
    Lines { state: String, percent: u64 },
    None,
}

impl Progress {
    /// Chooses by what standard error is; nothing is shown when `quiet`.
    pub fn new(quiet: bool) -> Self {
        if quiet {
            return Self::None;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                state: String::new(),
                percent: 0,
            };
        }
        let bar = ProgressBar::new(0);
        bar.set_style(style(UNKNOWN));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    /// Shows where the job is.
    pub fn show(&mut self, job: &Job) {
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(job.state.clone());
                bar.set_message(job.bytes());
                bar.set_position(job.done_bytes);
                if job.total_bytes > 0 && bar.length() != Some(job.total_bytes) {
                    bar.set_length(job.total_bytes);
                    bar.set_style(style(KNOWN));
                }
            }
            Self::Lines { state, percent } => {
                if *state == job.state && job.progress < *percent + LINE_EVERY {
                    return;
                }
                let known = (job.total_bytes > 0).then(|| format!(" {}%, {}", job.progress, job.bytes()));
                let _ = writeln!(std::io::stderr(), "{}{}", job.state, known.unwrap_or_default());
                (*state, *percent) = (job.state.clone(), job.progress);
            }
            Self::None => {}
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

impl Drop for Progress {
    /// Leaves the last state of the bar on the terminal.
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}
