//! `stillframe doctor`.

use serde_json::json;

use super::failure::Failure;
use super::output;
use crate::config::ServeArgs;
use crate::doctor::{self, Outcome};

/// Looks at everything and prints what was found.
///
/// # Errors
/// When something is wrong that keeps the service from working.
pub async fn run(args: ServeArgs, json: bool) -> Result<(), Failure> {
    let report = doctor::examine(args).await;
    if json {
        output::json(&json!({"healthy": report.is_healthy(), "findings": report.findings}))?;
    } else {
        for finding in &report.findings {
            let mark = match finding.outcome {
                Outcome::Ok => "ok     ",
                Outcome::Warning => "warning",
                Outcome::Failed => "FAILED ",
                Outcome::Skipped => "skipped",
            };
            output::line(&format!("{mark} {:<26} {}", finding.check, finding.detail))?;
            if let Some(advice) = &finding.advice {
                output::line(&format!("{:>34} -> {advice}", ""))?;
            }
        }
    }
    if report.is_healthy() {
        Ok(())
    } else {
        Err(Failure::Other(anyhow::anyhow!("something is wrong; see above")))
    }
}
