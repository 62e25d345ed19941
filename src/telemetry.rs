//! Logs: one line an event, to stderr, for people or as JSON.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use crate::config::LogFormat;

mod lines;

use lines::Lines;

/// What waits to be written; there is one log, as there is one stderr.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts logging; `filter` is an `EnvFilter` directive such as `info` or `frontdesk=debug`.
///
/// # Errors
/// A sentence about a filter that is none, or about what the system did not give.
pub fn start(format: LogFormat, filter: &str) -> Result<LogLevel, String> {
    let filter = self::filter(filter)?;
    let lines = Lines::start(std::io::stderr()).map_err(|error| format!("the log can't be started: {error}"))?;
    let lines = LINES.get_or_init(|| lines).clone();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        // A log that can't be written is complained of on stderr, which is the log: that would end the server.
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).with_filter_reloading();
            let level = LogLevel::of(builder.reload_handle());
            builder.init();
            level
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let level = LogLevel::of(builder.reload_handle());
            builder.init();
            level
        }
    })
}

/// Waits until what was logged is written, for a second at most: before somebody else writes to stderr, and at the end.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// The filter in force, which can be replaced.
pub struct LogLevel {
    replace: Box<dyn Fn(EnvFilter) + Send + Sync>,
}

impl LogLevel {
    fn of<S: 'static>(handle: Handle<EnvFilter, S>) -> Self {
        // It fails only when there is no log any more.
        Self { replace: Box::new(move |filter| drop(handle.reload(filter))) }
    }

    /// Puts another filter in force.
    pub fn put(&self, filter: EnvFilter) {
        (self.replace)(filter);
    }
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
