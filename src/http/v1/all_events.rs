//! `GET /v1/events`: what happens to all sessions, from now on.

use std::sync::Arc;

use axum::response::Response;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::events::{AllFollower, Announcement, Event, Growth, Kind};
use crate::http::App;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};

use super::event::{EventView, gap};
use super::query;
use super::sessions::events::Draining;
use super::stream::{Gone, HEARTBEAT, Writer, begin, event_schema, while_known};
use super::streamed_event::{page, write_large};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "followAll",
    tag: Tag::Events,
    summary: "Follow all sessions",
    description: "A stream of server-sent events of every session, from now on: each is named by its kind, and its data \
                  has `session` beside what the session's own stream tells. It can't be resumed. A reader that falls \
                  behind gets `lagged`, with the least number of events it missed, and reads the list of sessions \
                  again. The stream ends within seconds after the token or the sign-in that opened it.",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "The stream.",
        contents: &[Content { media_type: "text/event-stream", schema: stream }],
        headers: &[],
    }],
    problems: &[Code::InvalidRequest],
};

/// Which events.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Query {
    /// Only those of this kind.
    kind: Option<KindName>,
}

/// What an event is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "EventKind")]
enum KindName {
    /// A step of the session itself.
    Transition,
    /// How far its agent is.
    Progress,
    /// Something that happened.
    Event,
    /// A line of its log.
    Log,
    /// Parts of a request's answer.
    Output,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Transition => Self::Transition,
            KindName::Progress => Self::Progress,
            KindName::Event => Self::Event,
            KindName::Log => Self::Log,
            KindName::Output => Self::Output,
        }
    }
}

fn stream(_: &mut SchemaGenerator) -> Schema {
    event_schema(["lagged", "draining"].into_iter().chain(Kind::ALL.map(Kind::name)))
}

/// How much a reader has missed.
#[derive(Debug, Serialize)]
struct Lagged {
    /// How many events, at least.
    missed: u64,
}

pub(in crate::http) fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    let wanted: Query = match query(&parts) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal.problem(),
    };
    let begun = match begin(&app, None) {
        Ok(begun) => begun,
        Err(refusal) => return refusal.problem(),
    };
    let (writer, response) = Writer::of_events();
    let (streamed, follower) = (Arc::clone(&app), app.registry.sequences().follow_all());
    let caller = admitted.caller;
    app.tasks.spawn(async move {
        while_known(&streamed, &caller, follow(&streamed, follower, wanted.kind.map(Kind::from), writer)).await;
        drop(begun);
    });
    response
}

async fn follow(app: &App, mut follower: AllFollower, only: Option<Kind>, mut writer: Writer) -> Result<(), Gone> {
    loop {
        tokio::select! {
            biased;
            () = app.tasks.draining() => return writer.tell("draining", &Draining::default()).await,
            announced = follower.next() => match announced {
                None => return Ok(()),
                Some(Announcement::Lagged { missed }) => writer.tell("lagged", &Lagged { missed }).await?,
                Some(Announcement::Grown(growth)) => pass_on(app, growth, only, &mut writer).await?,
            },
            () = tokio::time::sleep(HEARTBEAT) => writer.beat().await?,
        }
    }
}

/// Writes what is new. Of events that are gone already the reader learns how many there were.
async fn pass_on(app: &App, growth: Growth, only: Option<Kind>, writer: &mut Writer) -> Result<(), Gone> {
    const PAGE: usize = 100;
    let Growth { session, first, last } = growth;
    let mut after = first - 1;
    while after < last {
        // A session that was forgotten meanwhile has nothing to tell, and storage that is away is told elsewhere.
        let Ok(Some(stored)) = app.store.session(session).await else { return Ok(()) };
        let most = usize::try_from(last - after).unwrap_or(PAGE).min(PAGE);
        let Ok(page) = page(app, &stored.record, after, most).await else { return Ok(()) };
        if let Some(gap) = gap(after, &page) {
            let told_next = gap.first.min(last + 1);
            writer.tell("lagged", &Lagged { missed: told_next - after - 1 }).await?;
        }
        let Some(newest) = page.large.as_ref().or(page.events.last()) else { return Ok(()) };
        after = newest.number;
        let is_wanted = |event: &&Event| event.number <= last && only.is_none_or(|kind| event.kind == kind);
        for event in page.events.iter().filter(is_wanted) {
            let view = EventView { session: Some(session), ..EventView::of(event) };
            writer.tell(event.kind.name(), &view).await?;
        }
        if let Some(large) = page.large.filter(|large| is_wanted(&large)) {
            write_large(app, writer, session, &large, Some(session)).await?;
        }
    }
    Ok(())
}
