//! Stored events on their way to a stream. A reader may take nothing, so that of what it is to get little is read ahead:
//! a page of small events, or a part of a large one. An event may be as large as an agent's longest line; there may be
//! thousands of streams.

use bytes::{Bytes, BytesMut};

use crate::events::{Event, Page};
use crate::http::App;
use crate::id::SessionId;
use crate::session::SessionRecord;
use crate::store::StoreError;

use super::event::EventView;
use super::stream::{Gone, Writer, draw};

/// Reads a page of a session's events for a stream, which holds little: a large one comes without its body.
///
/// # Errors
/// What the storage said.
pub(super) async fn page(app: &App, record: &SessionRecord, after: u64, most: usize) -> Result<Page, StoreError> {
    const LARGEST: usize = 64 << 10;
    app.registry.sequences().read_small(record, after, most, LARGEST).await
}

/// What a session's stream says of these events, one after the other.
pub(super) fn draw_all(events: &[Event]) -> Bytes {
    const BESIDE_BODY: usize = 256;
    let bytes = events.iter().map(|event| event.body.len() + BESIDE_BODY).sum();
    let mut piece = BytesMut::with_capacity(bytes);
    for event in events {
        draw(&mut piece, Some(event.number), event.kind.name(), &EventView::of(event));
    }
    piece.freeze()
}

/// Writes a large event of a session part by part, each when its reader has taken the one before; with `session` in its
/// view in the stream of all of them, which has no numbers.
///
/// # Errors
/// [`Gone`], also if the event goes before it is read: whoever comes again learns what is kept.
pub(super) async fn write_large(
    app: &App,
    writer: &mut Writer,
    id: SessionId,
    event: &Event,
    session: Option<SessionId>,
) -> Result<(), Gone> {
    /// The storage goes through all of an event for each of its parts: smaller ones would cost more time.
    const PART: usize = 512 << 10;
    let (before, after) = EventView::around(event, session);
    let number = session.is_none().then_some(event.number);
    writer.begin_event(number, event.kind.name(), &before).await?;
    let mut written = 0;
    loop {
        let part = app.registry.sequences().part(id, event.number, written, PART).await;
        let part = part.ok().flatten().ok_or(Gone)?;
        let is_last = part.len() < PART;
        written += part.len();
        writer.go_on(part).await?;
        if is_last {
            return writer.end_event(after).await;
        }
    }
}
