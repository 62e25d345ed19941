//! Answers that go on: server-sent events (WHATWG HTML, section 9.2) and plain text, written by a task of their own.
//!
//! A reader that is slow makes its own task wait, and nobody else's: a stream holds a few pieces, never a backlog.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::Frame;
use schemars::{Schema, json_schema};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::http::App;
use crate::http::at_once::Begun;
use crate::http::caller::Caller;
use crate::http::error::Refusal;
use crate::id::SessionId;

/// How often a stream says that it is alive when it has nothing else to say.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Chunks queued per connection. Small, so that a stalled reader holds little memory.
const PIECES: usize = 1;

/// The writing end of a stream.
pub(super) struct Writer {
    pieces: mpsc::Sender<io::Result<Bytes>>,
}

/// The reading end: the body of the answer.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// The reader has gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Writer {
    /// A stream, and the answer that carries it.
    pub(super) fn new(content_type: &'static str) -> (Self, Response) {
        let (pieces, body) = mpsc::channel(PIECES);
        let mut response = Response::new(Body::new(Pieces(body)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Proxies that gather answers before they pass them on (nginx) are told not to.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        (Self { pieces }, response)
    }

    /// A stream of server-sent events. It tells a browser how soon to connect again after the connection is lost.
    pub(super) fn of_events() -> (Self, Response) {
        let (writer, response) = Self::new("text/event-stream");
        writer
            .pieces
            .try_send(Ok(Bytes::from_static(b"retry: 2000\n\n")))
            .expect("a new stream has room for one piece");
        (writer, response)
    }

    /// Writes bytes as they are; waits while the reader is behind.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.pieces.send(Ok(bytes)).await.map_err(|_| Gone)
    }

    /// Breaks the stream off, so that nobody takes a part of it for the whole.
    pub(super) async fn break_off(self, why: io::Error) {
        // Nobody is there to be told, once the reader has gone.
        let _ = self.pieces.send(Err(why)).await;
    }

    /// Completes when the reader has gone.
    pub(super) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Writes an event whose data is JSON already.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn event(&mut self, name: &str, json: &[u8]) -> Result<(), Gone> {
        let mut frame = BytesMut::with_capacity(json.len() + HEAD);
        head(&mut frame, None, name);
        let data = frame.len();
        frame.put_slice(json);
        in_one_line(&mut frame[data..]);
        frame.put_slice(END);
        self.write(frame.freeze()).await
    }

    /// Begins an event whose data, which is JSON already, comes in parts; the first one has no ends of lines. Nothing else
    /// may be written before its end.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn begin_event(&mut self, id: Option<u64>, name: &str, json: &[u8]) -> Result<(), Gone> {
        let mut frame = BytesMut::with_capacity(json.len() + HEAD);
        head(&mut frame, id, name);
        frame.put_slice(json);
        self.write(frame.freeze()).await
    }

    /// Writes the next part of an event.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn go_on(&mut self, json: Bytes) -> Result<(), Gone> {
        let mut json = BytesMut::from(json);
        in_one_line(&mut json);
        self.write(json.freeze()).await
    }

    /// Writes the last part of an event.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn end_event(&mut self, json: &[u8]) -> Result<(), Gone> {
        self.write([json, END].concat().into()).await
    }

    /// Writes an event.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn tell(&mut self, name: &str, data: &impl Serialize) -> Result<(), Gone> {
        let mut frame = BytesMut::new();
        draw(&mut frame, None, name, data);
        self.write(frame.freeze()).await
    }

    /// Says what went wrong; it is the stream's last event.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn problem(&mut self, refusal: &Refusal) -> Result<(), Gone> {
        self.tell("problem", &refusal.to_problem()).await
    }

    /// Says that the stream is alive.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn beat(&mut self) -> Result<(), Gone> {
        self.write(Bytes::from_static(b": alive\n\n")).await
    }
}

/// One event of a stream that has these names, as `OpenAPI` describes it.
pub(super) fn event_schema(names: impl Iterator<Item = &'static str>) -> Schema {
    json_schema!({
        "description": "One server-sent event.",
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": { "type": "string", "enum": names.collect::<Vec<_>>() },
            "data": { "type": "string", "contentMediaType": "application/json" },
            "id": { "type": "string" },
        },
    })
}

/// The place of one more stream, of a session or of all.
///
/// # Errors
/// [`Refusal::Busy`] if there are as many as may be.
pub(super) fn begin(app: &App, session: Option<SessionId>) -> Result<Begun, Refusal> {
    const TOO_MANY: Refusal =
        Refusal::Busy("The limit of open streams is reached, for this session or for all; close one, or try again.");
    app.streams.begin(session).ok_or(TOO_MANY)
}

/// Writes a stream for as long as its caller may have it: it ends when what the caller has shown is good no more, when
/// the reader has gone, or when the server goes and the reader does not even take the word of that.
pub(super) async fn while_known(app: &App, caller: &Caller, stream: impl Future<Output = Result<(), Gone>>) {
    tokio::select! {
        // Nobody is there to be told, once the reader has gone.
        _ = stream => {}
        () = no_longer_known(app, caller) => {}
        () = leaves_at_once(app) => {}
    }
}

/// Completes a moment after the server has begun to go.
async fn leaves_at_once(app: &App) {
    const MOMENT: Duration = Duration::from_secs(1);
    app.tasks.draining().await;
    tokio::time::sleep(MOMENT).await;
}

/// Completes when a caller is no longer known. While the store is away nobody is forgotten.
async fn no_longer_known(app: &App, caller: &Caller) {
    const BETWEEN_LOOKS: Duration = Duration::from_secs(2);
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        if matches!(app.is_still_known(caller).await, Ok(false)) {
            return;
        }
    }
}

/// What ends an event.
const END: &[u8] = b"\n\n";

/// Room for the lines of an event that stand before its data.
const HEAD: usize = 64;

/// Adds an event to a piece of a stream.
pub(super) fn draw(piece: &mut BytesMut, id: Option<u64>, name: &str, data: &impl Serialize) {
    head(piece, id, name);
    let json = piece.len();
    serde_json::to_writer(piece.writer(), data).expect("an event has string keys only and serialises");
    in_one_line(&mut piece[json..]);
    piece.put_slice(END);
}

/// Adds the beginning of an event, up to its data.
fn head(piece: &mut BytesMut, id: Option<u64>, name: &str) {
    if let Some(id) = id {
        piece.put_slice(b"id: ");
        piece.put_slice(id.to_string().as_bytes());
        piece.put_slice(b"\n");
    }
    piece.put_slice(b"event: ");
    piece.put_slice(name.as_bytes());
    piece.put_slice(b"\ndata: ");
}

/// Puts spaces where lines end: raw ones can only stand between tokens, where a space is as good; in an event they would
/// begin a new line.
fn in_one_line(json: &mut [u8]) {
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}

/// Whether the caller asks for this media type by name. `*/*` does not: whatever can be JSON is JSON then.
pub(in crate::http) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let lines = headers.get_all(axum::http::header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut ranges = lines.flat_map(|line| line.split(',')).map(|range| range.split(';').next().unwrap_or(range));
    ranges.any(|range| range.trim().eq_ignore_ascii_case(media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_frame_whatever_its_json_looks_like() {
        let mut piece = BytesMut::new();
        let json = serde_json::value::RawValue::from_string("{\r\n\"a\":1}".into()).unwrap();
        draw(&mut piece, Some(7), "event", &json);
        draw(&mut piece, None, "snapshot", &1);
        assert_eq!(piece, "id: 7\nevent: event\ndata: {  \"a\":1}\n\nevent: snapshot\ndata: 1\n\n".as_bytes());
    }

    #[test]
    fn a_media_type_is_asked_for_by_its_name() {
        let sent = |accept: &'static str| {
            HeaderMap::from_iter([(axum::http::header::ACCEPT, HeaderValue::from_static(accept))])
        };
        for (accept, asked) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;q=0.5", true),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
        ] {
            assert_eq!(accepts(&sent(accept), "text/event-stream"), asked, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new(), "text/event-stream"));
    }
}
