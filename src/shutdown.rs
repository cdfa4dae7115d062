//! When the process is asked to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Exit status of a process that was told twice.
const IMPATIENT: i32 = 130;

/// Resolves at the first SIGTERM or SIGINT. The second ends the process at once.
///
/// # Errors
/// The handlers cannot be installed.
pub fn requested() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, told) = tokio::sync::oneshot::channel();
    #[allow(clippy::disallowed_methods, reason = "lives as long as the process")]
    tokio::spawn(async move {
        let mut asked = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        asked().await;
        info!("stopping");
        // Nobody waits any more once the server has failed by itself.
        let _over = first.send(());
        asked().await;
        warn!("told twice, exiting at once");
        std::process::exit(IMPATIENT);
    });
    Ok(async {
        // An error means that the runtime ends, which is a stop as well.
        let _told = told.await;
    })
}
