//! Recording calls.
//!
//! A call is recorded when its answer is known and before it is sent, in a statement of its own: a
//! caller that was answered is in the log. A crash between the end of a call's own transaction and
//! this statement loses the line in the table; the log line of the request is lost with it. When
//! the database takes no row, or the file no line, the whole event goes to the log as an error, and is
//! counted ([`AUDIT_LOST`]); so are refused credentials that came too fast to be recorded.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::Service;
use crate::domain::Result;
use crate::domain::access::PrincipalKind;
use crate::domain::audit::{AuditEvent, AuditFilter, NewAuditEvent};
use crate::domain::page::{Page, PageRequest};
use crate::store;
use crate::telemetry::AUDIT_LOST;

/// Where events go as JSON lines, beside the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditLines {
    Stdout,
    File(PathBuf),
}

/// What is recorded, and for how long.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// Calls that change nothing too.
    pub reads: bool,
    pub lines: Option<AuditLines>,
    /// Seconds for which events are kept in the table.
    pub retention_seconds: i64,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            reads: false,
            lines: None,
            retention_seconds: 90 * 24 * 3600,
        }
    }
}

/// Refused credentials recorded per second at most: nobody shall fill the table from outside.
const STRANGERS_PER_SECOND: u32 = 20;

/// The writer of JSON lines, and the limit of strangers.
#[derive(Debug)]
pub struct Sink {
    file: Option<Mutex<File>>,
    stdout: bool,
    strangers: Mutex<(Instant, u32)>,
    left_out: AtomicU64,
}

impl Sink {
    pub fn none() -> Self {
        Self {
            file: None,
            stdout: false,
            strangers: Mutex::new((Instant::now(), 0)),
            left_out: AtomicU64::new(0),
        }
    }

    /// # Errors
    /// When the file can't be opened.
    pub fn open(settings: &AuditSettings) -> std::io::Result<Self> {
        let mut sink = Self::none();
        match &settings.lines {
            None => {}
            Some(AuditLines::Stdout) => sink.stdout = true,
            Some(AuditLines::File(path)) => {
                sink.file = Some(Mutex::new(OpenOptions::new().append(true).create(true).open(path)?));
            }
        }
        Ok(sink)
    }

    /// Writes one line; each is one write, so that lines of several processes do not mix.
    fn write(&self, event: &NewAuditEvent, at: &str) -> std::io::Result<()> {
        if self.file.is_none() && !self.stdout {
            return Ok(());
        }
        let mut line = serde_json::to_value(event)?;
        line["at"] = at.into();
        let line = format!("{line}\n");
        if self.stdout {
            std::io::stdout().lock().write_all(line.as_bytes())?;
        }
        if let Some(file) = &self.file {
            file.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// Whether one more refused credential is recorded; says what was left out before.
    fn takes_stranger(&self) -> bool {
        let mut window = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() >= Duration::from_secs(1) {
            *window = (Instant::now(), 0);
            let left_out = self.left_out.swap(0, Ordering::Relaxed);
            if left_out > 0 {
                tracing::warn!(left_out, "refused credentials came too fast to be recorded one by one");
            }
        }
        window.1 += 1;
        let taken = window.1 <= STRANGERS_PER_SECOND;
        if !taken {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(AUDIT_LOST, "reason" => "too_fast").increment(1);
        }
        taken
    }
}

impl Service {
    /// Whether calls that change nothing are recorded.
    pub fn audits_reads(&self) -> bool {
        self.auth.settings.audit.reads
    }

    /// Seconds for which recorded calls are kept.
    pub(in crate::service) fn audit_seconds(&self) -> i64 {
        self.auth.settings.audit.retention_seconds
    }

    /// Records a call. Never fails: what can't be written to the table stands in the log.
    pub async fn audit(&self, event: NewAuditEvent) {
        if event.principal_kind == PrincipalKind::Nobody.as_str() && !self.auth.audit.takes_stranger() {
            return;
        }
        let inserted = async {
            let mut conn = self.conn().await?;
            store::audit::insert(&mut conn, &event).await
        };
        let at = match inserted.await {
            Ok(at) => at,
            Err(error) => {
                metrics::counter!(AUDIT_LOST, "reason" => "database").increment(1);
                let text = serde_json::to_string(&event).unwrap_or_default();
                tracing::error!(event = text, error = %error, cause = error.cause_chain(), "an audit event could not be kept in the database");
                String::new()
            }
        };
        if let Err(error) = self.auth.audit.write(&event, &at) {
            metrics::counter!(AUDIT_LOST, "reason" => "lines").increment(1);
            let text = serde_json::to_string(&event).unwrap_or_default();
            tracing::error!(event = text, %error, "an audit event could not be written as a line");
        }
    }

    /// Lists recorded calls, newest first.
    ///
    /// # Errors
    /// `invalid_page_token`.
    pub async fn list_audit_events(&self, filter: &AuditFilter, page: &PageRequest) -> Result<Page<AuditEvent>> {
        let list = format!("audit?{filter:?}");
        let before: Option<i64> = page.cursor(&list)?;
        let items = store::audit::list(&mut *self.conn().await?, filter, before, page.limit()).await?;
        Ok(page.page(&list, items, |e| e.event_id))
    }
}
