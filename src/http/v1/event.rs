//! An event of a session as `/v1` shows it.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::events::{Event, Kind, Page};
use crate::id::SessionId;
use crate::session::reason::without_log;

/// Something that happened to a session, or that its agent said.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct EventView {
    /// Which session, in the stream of all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Its number in its session, from 1, without gaps.
    pub number: u64,
    /// What it is: `transition`, `progress`, `event`, `log` or `output`.
    pub kind: String,
    /// When it came, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// The epoch of the agent that said it; of a transition, the session's.
    pub epoch: u32,
    /// Of a transition an object with `phase`, `epoch`, `revision` and, at its end, `outcome` and `reason`; of all others
    /// what the agent wrote. Of an output a list: parts of one request's answer that came within a moment.
    #[schemars(with = "serde_json::Value")]
    pub body: Box<RawValue>,
}

impl EventView {
    /// An event as it is shown, but for its body: the JSON before that, and the JSON after it.
    pub(super) fn around(event: &Event, session: Option<SessionId>) -> (Vec<u8>, &'static [u8]) {
        const AFTER: &[u8] = b"}";
        const NOTHING: &[u8] = b"null}";
        let event = Event { body: Bytes::from_static(b"null"), ..event.clone() };
        let mut json = to_json(&Self { session, ..Self::of(&event) });
        json.truncate(json.len() - NOTHING.len());
        (json, AFTER)
    }

    /// An event as it is shown.
    pub fn of(event: &Event) -> Self {
        Self {
            session: None,
            number: event.number,
            kind: event.kind.name().to_owned(),
            at: event.at.to_string(),
            epoch: event.epoch.0,
            body: if event.kind == Kind::Transition { transition(&event.body) } else { json(&event.body) },
        }
    }
}

/// The body as it stands; as a JSON text, if it is no JSON.
fn json(body: &[u8]) -> Box<RawValue> {
    serde_json::from_slice(body)
        .or_else(|_| serde_json::value::to_raw_value(&String::from_utf8_lossy(body)))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A transition as customers may read it: an earlier version wrote lines of the agent's log into its reason.
fn transition(body: &[u8]) -> Box<RawValue> {
    let whole = json(body);
    let Ok(mut step) = serde_json::from_str::<Value>(whole.get()) else { return whole };
    let Some((sentence, _)) = step["reason"].as_str().and_then(without_log) else { return whole };
    step["reason"] = sentence.into();
    serde_json::value::to_raw_value(&step).unwrap_or(whole)
}

fn to_json(event: &EventView) -> Vec<u8> {
    serde_json::to_vec(event).expect("an event has string keys only and serialises")
}

/// Where a reader goes on that can't go on where it was: events are gone because newer ones took their room, or it knows
/// of more than there were, such as after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The first number that it will be told, or is kept.
    pub first: u64,
}

/// The gap between what a reader has and the page that it gets.
pub fn gap(after: u64, page: &Page) -> Option<Gap> {
    if after > page.last {
        return Some(Gap { first: page.last + 1 });
    }
    (after + 1 < page.first).then_some(Gap { first: page.first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Revision;

    #[test]
    fn a_reader_is_told_of_a_gap_only_if_it_has_missed_something() {
        let page = |first| Page { events: Vec::new(), large: None, first, last: first, revision: Revision::FIRST };
        assert_eq!(gap(0, &page(1)), None);
        assert_eq!(gap(6, &page(7)), None);
        assert_eq!(gap(5, &page(7)), Some(Gap { first: 7 }));
        assert_eq!(gap(9, &page(7)), Some(Gap { first: 8 }));
    }

    #[test]
    fn a_large_event_looks_as_any_other() {
        let id = SessionId::from_bytes([7; 16]);
        let event = Event {
            number: 9,
            epoch: crate::id::Epoch(2),
            kind: crate::events::Kind::Output,
            at: crate::clock::WallTime::from_unix_millis(5),
            body: Bytes::from_static(b"[{\"null\":null}]"),
        };
        for session in [None, Some(id)] {
            let (before, after) = EventView::around(&event, session);
            let whole = [&before[..], &event.body, after].concat();
            assert_eq!(whole, to_json(&EventView { session, ..EventView::of(&event) }));
        }
    }

    #[test]
    fn a_transition_of_an_earlier_version_is_shown_without_the_agents_log() {
        let body = br#"{"phase":"ENDED","epoch":1,"reason":"it broke; last lines of its log: /srv/a.py | KeyError"}"#;
        let shown: Value = serde_json::from_str(transition(body).get()).unwrap();
        assert_eq!(shown, serde_json::json!({"phase": "ENDED", "epoch": 1, "reason": "it broke"}));
        let plain = r#"{"phase":"ENDED","reason":"it broke"}"#;
        assert_eq!(transition(plain.as_bytes()).get(), plain);
    }

    #[test]
    fn a_body_that_is_no_json_is_shown_as_text() {
        assert_eq!(json(b"{\"a\":1.0}").get(), "{\"a\":1.0}");
        assert_eq!(json(b"half {").get(), "\"half {\"");
    }
}
