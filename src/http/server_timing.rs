//! `Server-Timing` (W3C): what an answer was waiting for. On successes only, so that refusals stay alike.

use std::io::Write;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use crate::clock::{Clock, Timestamp};

use super::code::Code;
use super::operation::Header;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// No call has more parts, and none of them a longer name; a bound spares the busiest calls an allocation.
const MOST_PARTS: usize = 2;
const MOST_BYTES: usize = 128;

/// The parts of a call, one after the other.
pub(super) struct Timing<'a> {
    clock: &'a dyn Clock,
    last: Timestamp,
    parts: [Option<Part>; MOST_PARTS],
}

/// A part's name, and how long it took.
type Part = (&'static str, Duration);

impl<'a> Timing<'a> {
    /// The header as calls describe it.
    pub(super) const HEADER: Header =
        Header::text("Server-Timing", "What the answer was waiting for, each part with its `dur` in milliseconds.");

    /// Begins the first part.
    pub(super) fn begin(clock: &'a dyn Clock) -> Self {
        Self { clock, last: clock.now(), parts: [None; MOST_PARTS] }
    }

    /// Ends a part and begins the next one.
    pub(super) fn end(&mut self, part: &'static str) {
        let now = self.clock.now();
        if let Some(free) = self.parts.iter_mut().find(|part| part.is_none()) {
            *free = Some((part, now.saturating_since(self.last)));
        }
        self.last = now;
    }

    /// How long all parts took that have ended.
    pub(super) fn all(&self) -> Duration {
        self.parts.iter().flatten().map(|(_, took)| *took).sum()
    }

    /// Writes the parts into an answer, unless it is a refusal.
    pub(super) fn write(&self, answer: &mut Response) {
        if answer.extensions().get::<Code>().is_none()
            && let Some(value) = value(&self.parts)
        {
            answer.headers_mut().insert(SERVER_TIMING, value);
        }
    }
}

/// The header's value; `None` if there is no part.
fn value(parts: &[Option<Part>]) -> Option<HeaderValue> {
    let mut text = [0; MOST_BYTES];
    let mut rest = &mut text[..];
    for (place, (part, took)) in parts.iter().flatten().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        write!(rest, "{separator}{part};dur={:.1}", took.as_secs_f64() * 1_000.0).ok()?;
    }
    let written = MOST_BYTES - rest.len();
    (written > 0).then(|| HeaderValue::from_bytes(&text[..written]).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_told_in_milliseconds() {
        let parts = [("credential", 25_040), ("commit", 1_960)];
        let parts = parts.map(|(part, micros)| Some((part, Duration::from_micros(micros))));
        assert_eq!(value(&parts).unwrap(), "credential;dur=25.0, commit;dur=2.0");
        assert_eq!(value(&[None, None]), None);
        let longest = [("credential", Duration::MAX); MOST_PARTS].map(Some);
        assert!(value(&longest).is_some());
    }
}
