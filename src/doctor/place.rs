//! The address to listen on.

use std::io::ErrorKind;

use tokio::net::TcpListener;

use super::Report;
use crate::config::Config;

pub(super) async fn listen(config: &Config, report: &mut Report) {
    match TcpListener::bind(config.listen).await {
        Ok(_) => report.ok("listen", format!("{} is free", config.listen)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => report.warning(
            "listen",
            format!("{} is in use", config.listen),
            "that is fine when it is a Stillframe that runs already; else choose another address with --listen",
        ),
        Err(error) => report.failed(
            "listen",
            format!("can't listen on {}: {error}", config.listen),
            "choose an address of this machine and a port that this user may use, with --listen",
        ),
    }
}
