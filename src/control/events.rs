//! An operator's look at a session's sequence: its steps, and what its agents said of themselves.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::events::Event;
use crate::id::{CustomerKey, Printable, SessionId};
use crate::session::{Sequences, SessionRecord};
use crate::store::{Filter, Store};

use super::Reply;
use super::operator::of_store;

/// A part of a session's events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventPage {
    /// Whose they are.
    pub session: SessionId,
    /// The events, in the order of their numbers.
    pub events: Vec<EventRow>,
    /// The first number that is kept; one above the last if none is.
    pub first: u64,
    /// The last number that was given.
    pub last: u64,
    /// Whether more may come: a server runs, and the session is live.
    pub goes_on: bool,
}

/// An event as a table shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRow {
    /// Its number in its session.
    pub number: u64,
    /// When it came, in RFC 3339.
    pub at: String,
    /// The epoch of the agent that said it; of a transition, the session's.
    pub epoch: u32,
    /// What it is: the notification's name, or `transition`.
    pub kind: String,
    /// What the agent wrote, of outputs an array of that; of a transition its phase, epoch and revision, and outcome and
    /// reason where there are.
    pub body: Box<RawValue>,
}

/// Reads up to `most` events after a number. `session` is an id, or an email under one of the `keys`.
pub(super) async fn read(
    store: &dyn Store,
    sequences: &Sequences,
    session: &str,
    keys: [CustomerKey; 2],
    (after, most): (u64, usize),
    is_served: bool,
) -> Result<Reply, String> {
    let record = find(store, session, keys).await?;
    let page = sequences.read(&record, after, most).await.map_err(|error| of_store(&error))?;
    Ok(Reply::Events(EventPage {
        session: record.id,
        events: page.events.iter().map(row).collect(),
        first: page.first,
        last: page.last,
        goes_on: is_served && record.phase.is_live(),
    }))
}

/// The session with this id, or the latest one of a customer.
pub(super) async fn find(store: &dyn Store, session: &str, keys: [CustomerKey; 2]) -> Result<SessionRecord, String> {
    let unknown = || {
        let session = Printable(session);
        format!(
            "there is no session {session}, and none of a customer {session}; `frontdesk session list --all` shows them"
        )
    };
    if let Ok(id) = session.parse::<SessionId>() {
        let stored = store.session(id).await.map_err(|error| of_store(&error))?;
        return stored.map(|stored| stored.record.clone()).ok_or_else(unknown);
    }
    for customer in keys {
        let filter = Filter { customer: Some(customer), ended: true, ..Filter::default() };
        let latest = store.list(filter, 1).await.map_err(|error| of_store(&error))?;
        if let Some(record) = latest.into_iter().next() {
            return Ok(record);
        }
    }
    Err(unknown())
}

fn row(event: &Event) -> EventRow {
    EventRow {
        number: event.number,
        at: event.at.to_string(),
        epoch: event.epoch.0,
        kind: event.kind.name().to_owned(),
        body: json(&event.body),
    }
}

/// The body as it stands; as a JSON text, if it is no JSON.
fn json(body: &[u8]) -> Box<RawValue> {
    serde_json::from_slice(body)
        .or_else(|_| serde_json::value::to_raw_value(&String::from_utf8_lossy(body)))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}
