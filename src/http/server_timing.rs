//! `Server-Timing` (W3C): what an answer was waiting for. On successes only, so that refusals stay alike.

use std::fmt::Write;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use crate::clock::{Clock, Timestamp};

use super::code::Code;
use super::operation::Header;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The parts of a call, one after the other.
pub struct Timing<'a> {
    clock: &'a dyn Clock,
    last: Timestamp,
    parts: Vec<(&'static str, Duration)>,
}

impl<'a> Timing<'a> {
    /// The header as calls describe it.
    pub const HEADER: Header =
        Header::text("Server-Timing", "What the answer was waiting for, each part with its `dur` in milliseconds.");

    /// Begins the first part.
    pub fn begin(clock: &'a dyn Clock) -> Self {
        Self { clock, last: clock.now(), parts: Vec::new() }
    }

    /// Ends a part and begins the next one.
    pub fn end(&mut self, part: &'static str) {
        let now = self.clock.now();
        self.parts.push((part, now.saturating_since(self.last)));
        self.last = now;
    }

    /// How long all parts took that have ended.
    pub fn all(&self) -> Duration {
        self.parts.iter().map(|(_, took)| *took).sum()
    }

    /// Writes the parts into an answer, unless it is a refusal.
    pub fn write(&self, answer: &mut Response) {
        if answer.extensions().get::<Code>().is_none()
            && let Ok(value) = HeaderValue::from_str(&text(&self.parts))
        {
            answer.headers_mut().insert(SERVER_TIMING, value);
        }
    }
}

fn text(parts: &[(&'static str, Duration)]) -> String {
    let mut text = String::new();
    for (part, took) in parts {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{part};dur={:.1}", took.as_secs_f64() * 1_000.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_told_in_milliseconds() {
        let parts = [("credential", Duration::from_micros(25_040)), ("commit", Duration::from_micros(1_960))];
        assert_eq!(text(&parts), "credential;dur=25.0, commit;dur=2.0");
    }
}
