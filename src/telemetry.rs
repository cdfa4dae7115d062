//! The service's own log. It never holds a line of a container, a cursor or a
//! client's text.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. Dependencies are heard from `warn` on.
///
/// # Errors
/// Logging has been started before.
pub fn start(level: LevelFilter, format: Format) -> anyhow::Result<()> {
    let filter = EnvFilter::new(format!("warn,pulsetail={level}"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let started = match format {
        Format::Text => log.with_target(false).try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}
