//! `GET /v1/sessions/{id}/events`: a session's events as pages, or as a stream that loses nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::events::{Follower, Kind, Page};
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Header, Operation, Tag, schema_of};
use crate::http::v1::event::{EventView, gap};
use crate::http::v1::stream::{Gone, HEARTBEAT, Writer, accepts, begin, event_schema, while_known};
use crate::http::v1::streamed_event::{draw_all, page, write_large};
use crate::http::v1::{json, no_content, query};
use crate::id::SessionId;
use crate::session::SessionRecord;
use crate::store::StoreError;

use super::view::SessionView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "followSession",
    tag: Tag::Events,
    summary: "Follow a session",
    description: "A page of the session's events.\n\nWith `Accept: text/event-stream`, a stream of server-sent events: \
                  first `snapshot` (the session as it is, without an id), then every event after `Last-Event-ID` or \
                  `after` as soon as it is stored. An event's number is its id, and its kind is its name. Numbers have \
                  no gaps. Where old events have been removed, or the reader names a number that was never given, \
                  `gap` names the first event that follows. The server sends a comment every 15 seconds. Before it \
                  stops it sends `draining`: connect again and go on. The stream ends after the transition to ENDED; \
                  connecting again is answered with 204, at which browsers stop. It also ends within seconds after \
                  the token or the console's sign-in that opened it. An EventSource of a page of \
                  this server follows by the cookie of `POST /v1/sessions/{id}/cookie`.",
    query: Some(schema_of::<Query>),
    headers: &[Header::number("Last-Event-ID", "The number of the last event that is known; goes before `after`.")],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "The page, or the stream.",
            contents: &[
                Content::json(schema_of::<EventList>),
                Content { media_type: "text/event-stream", schema: stream },
            ],
            headers: &[],
        },
        Answer {
            status: 204,
            description: "The session has ended, and its last event is known.",
            contents: &[],
            headers: &[],
        },
    ],
    problems: &[Code::InvalidRequest],
};

fn stream(_: &mut SchemaGenerator) -> Schema {
    let kinds = Kind::ALL.map(Kind::name);
    event_schema(["snapshot", "gap", "draining", "problem"].into_iter().chain(kinds))
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Query {
    /// The number of the last event that is known.
    #[schemars(range(max = u64::MAX))]
    #[serde(default)]
    after: u64,
    /// How many events a page has at most; a stream has no end.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default = "most")]
    limit: u16,
}

const fn most() -> u16 {
    100
}

/// A page of a session's events.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventList {
    /// The events, in their order.
    pub items: Vec<EventView>,
    /// The first number that is kept.
    pub first: u64,
    /// The last number that was given.
    pub last: u64,
}

/// What a stream begins with.
#[derive(Debug, Serialize)]
struct Snapshot {
    #[serde(flatten)]
    session: SessionView,
    /// The last number that was given.
    last: u64,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    events(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn events(app: &Arc<App>, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    let Query { after, limit } = query(parts)?;
    if !(1..=1_000).contains(&limit) {
        return Err(Refusal::Invalid("`limit` is a number from 1 to 1000.".into()));
    }
    let record = &admitted.session()?.record;
    let known = last_event_id(&parts.headers)?;
    let after = known.unwrap_or(after);
    if !accepts(&parts.headers, "text/event-stream") {
        let page = app.registry.sequences().read(record, after, limit.into()).await?;
        let items = page.events.iter().map(EventView::of).collect();
        return Ok(json(StatusCode::OK, &EventList { items, first: page.first, last: page.last }));
    }
    let last = app.registry.sequences().read(record, u64::MAX, 1).await?.last;
    if known.is_some_and(|known| known >= last) && !record.phase.is_live() {
        return Ok(no_content());
    }
    let begun = begin(app, Some(record.id))?;
    let (writer, response) = Writer::of_events();
    let snapshot = Snapshot { session: SessionView::of(app, record, &admitted.caller), last };
    let (streamed, id) = (Arc::clone(app), record.id);
    let caller = admitted.caller.clone();
    app.tasks.spawn(async move {
        while_known(&streamed, &caller, follow(&streamed, id, after, &snapshot, writer)).await;
        drop(begun);
    });
    Ok(response)
}

async fn follow(app: &App, id: SessionId, mut after: u64, snapshot: &Snapshot, mut writer: Writer) -> Result<(), Gone> {
    const PAGE: usize = 256;
    // Before the first read, so that nothing falls in between.
    let mut follower = app.registry.sequences().follow(id);
    writer.tell("snapshot", snapshot).await?;
    loop {
        let (record, page) = match read(app, id, after, PAGE).await {
            Ok(read) => read,
            // It was forgotten meanwhile, with all that is known of it.
            Err(StoreError::Missing) => return Ok(()),
            Err(error) => return writer.problem(&error.into()).await,
        };
        if let Some(gap) = gap(after, &page) {
            after = gap.first - 1;
            writer.tell("gap", &gap).await?;
        }
        let Page { events, large, last, .. } = page;
        if let Some(newest) = events.last() {
            after = newest.number;
            let piece = draw_all(&events);
            // Not held for as long as the reader takes.
            drop(events);
            writer.write(piece).await?;
        }
        if let Some(large) = large {
            write_large(app, &mut writer, id, &large, None).await?;
            after = large.number;
        }
        if after >= last {
            if !record.phase.is_live() {
                return Ok(());
            }
        } else if follower.newer(after).is_none() {
            continue;
        }
        match keep_up(app, &mut follower, after, &mut writer).await? {
            Some(reached) => after = reached,
            None => return Ok(()),
        }
    }
}

/// Passes on what is new for as long as that is in memory; returns the last number that was written when the log has to be
/// read, or the session may have ended. `None` at the stream's end.
async fn keep_up(app: &App, follower: &mut Follower, mut after: u64, writer: &mut Writer) -> Result<Option<u64>, Gone> {
    loop {
        while let Some(chunk) = follower.newer(after) {
            writer.write(chunk.drawn(after, draw_all)).await?;
            after = chunk.last();
            if chunk.has_step() {
                return Ok(Some(after));
            }
        }
        tokio::select! {
            biased;
            () = app.tasks.draining() => {
                writer.tell("draining", &Draining::default()).await?;
                return Ok(None);
            }
            grown = follower.changed() => match grown {
                None => return Ok(None),
                Some(last) if last > after && follower.newer(after).is_none() => return Ok(Some(after)),
                Some(_) => {}
            },
            () = tokio::time::sleep(HEARTBEAT) => {
                writer.beat().await?;
                return Ok(Some(after));
            }
        }
    }
}

/// The session as it is, and then what it has: an ended one has its last event.
async fn read(app: &App, id: SessionId, after: u64, most: usize) -> Result<(SessionRecord, Page), StoreError> {
    let stored = app.store.session(id).await?.ok_or(StoreError::Missing)?;
    let page = page(app, &stored.record, after, most).await?;
    Ok((stored.record.clone(), page))
}

/// What a stream says before the server goes.
#[derive(Debug, Serialize)]
pub(in crate::http) struct Draining {
    /// Milliseconds after which to connect again.
    retry_after: u64,
}

impl Default for Draining {
    fn default() -> Self {
        const SOON: Duration = Duration::from_secs(1);
        Self { retry_after: u64::try_from(SOON.as_millis()).unwrap_or(u64::MAX) }
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.parse().ok());
    number.map(Some).ok_or_else(|| Refusal::Invalid("Last-Event-ID is the number of an event.".into()))
}
