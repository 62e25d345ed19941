//! Logs: one line an event, to stderr, for people or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging; `filter` is an `EnvFilter` directive such as `info` or `frontdesk=debug`.
///
/// # Errors
/// A sentence about a filter that is none.
pub fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = self::filter(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that can't be written is complained of on stderr, which is the log: that would end the server.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Reads a filter.
///
/// # Errors
/// A sentence about a filter that is none.
pub fn filter(text: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("`log.level` is {text:?}, which is no log filter ({error}); write \"info\""))
}
