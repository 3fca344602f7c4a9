//! The key of webhooks of a service that keeps its catalog to itself: a file beside it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::domain::webhook::WebhookKey;

/// Reads the key under the data directory, made when there is none; only its owner may read it.
///
/// # Errors
/// When the file can't be read or written.
pub fn kept_in(data_dir: &Path) -> anyhow::Result<WebhookKey> {
    let path = data_dir.join("webhook.key");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text: String = rand::random::<[u8; 32]>().iter().map(|b| format!("{b:02x}")).collect();
            let file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            let written = file.and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
            written.with_context(|| format!("writing {}", path.display()))?;
            text
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    WebhookKey::parse(&text)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("{}", path.display()))
}
