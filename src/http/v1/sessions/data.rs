//! `PUT /v1/sessions/{id}/data`: replaces the data of a pending session, streamed from the connection to the disk.
//!
//! ```text
//! connection ──> a few parts under way ──> a thread: written at once, and checked ──> placed, once all of it is good
//! ```

use std::io::{self, Read};
use std::sync::Arc;

use axum::http::request::Parts;
use axum::response::Response;
use bytes::{Buf, Bytes};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::at_once::Begun;
use crate::http::body::{self, Body, BodyError, Scratch, Streamed, Unread};
use crate::http::call::Call;
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::input::{TOO_MANY_KEYS, invalid};
use crate::http::operation::{self, Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::{expect_json, no_content};
use crate::json::stream::{self, StreamError};
use crate::session::Phase;
use crate::store::{Action, Incoming, StoreError, Stored};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "replaceSessionData",
    tag: Tag::Sessions,
    summary: "Replace a session's data",
    description: "Replaces the `data` of a pending session, for data that is too large for the creation. It goes \
                  straight to storage, up to the server's `limits.data`. Nothing stays of an upload that is refused \
                  or breaks off. The agent gets the data when it starts.\n\nA session has at most four uploads at a \
                  time and the server 16. One more gets 503: send it again.",
    query: None,
    headers: &[],
    body: Some(operation::Body { required: true, contents: &[Content::json(schema_of::<Map<String, Value>>)] }),
    answers: &[Answer { status: 204, description: "The session has this data.", contents: &[], headers: &[] }],
    problems: &[Code::WrongPhase],
};

/// Parts on their way between the connection and the disk.
const PARTS_UNDER_WAY: usize = 4;

/// An upload, for as long as which it counts.
struct Upload {
    incoming: Box<dyn Incoming>,
    _begun: Begun,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    match replace(&app, admitted, &parts, body).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.problem(),
    }
}

async fn replace(app: &Arc<App>, admitted: Admitted, parts: &Parts, body: Unread) -> Result<(), Refusal> {
    let begun = match begin(app, &admitted, parts).await {
        Ok(begun) => begun,
        Err(refusal) => {
            body::discard(parts, body).await;
            return Err(refusal);
        }
    };
    let (session, upload) = begun;
    let body = app.bodies.stream(parts, body, app.config().limits.data).await?;
    let upload = receive(parts, body, upload).await?;
    app.tasks.carry_out(place(Arc::clone(app), admitted.caller, session, upload)).await
}

async fn begin(app: &App, admitted: &Admitted, parts: &Parts) -> Result<(Arc<Stored>, Upload), Refusal> {
    expect_json(parts)?;
    let session = admitted.session()?;
    if !matches!(session.record.phase, Phase::Pending { .. }) {
        return Err(NOT_PENDING);
    }
    // Each holds a thread until its end.
    let begun = app.uploads.begin(Some(session.record.id)).ok_or(TOO_MANY)?;
    let incoming = app.store.receive_data(session.record.id).await.map_err(refused)?;
    Ok((Arc::clone(session), Upload { incoming, _begun: begun }))
}

const TOO_MANY: Refusal =
    Refusal::Busy("The limit of uploads at once is reached, for this session or for all; try again.");

const NOT_PENDING: Refusal = Refusal::WrongPhase("Only a pending session's data can be replaced.");

fn refused(error: StoreError) -> Refusal {
    match error {
        StoreError::Conflict | StoreError::Missing => NOT_PENDING,
        StoreError::Busy
        | StoreError::Unavailable(_)
        | StoreError::Full
        | StoreError::Corrupt(_)
        | StoreError::SetAside(_)
        | StoreError::Malformed(_)
        | StoreError::Unsupported(_) => error.into(),
    }
}

async fn place(app: Arc<App>, caller: Caller, session: Arc<Stored>, upload: Upload) -> Result<(), Refusal> {
    app.audit_first(&caller, Action::SessionDataReplaced, &session.record).await?;
    upload.incoming.place().await.map_err(refused)
}

/// Takes the body to its end; what is returned is written and checked, and waits to be placed.
async fn receive(parts: &Parts, mut body: Streamed, upload: Upload) -> Result<Upload, Refusal> {
    let (under_way, received) = mpsc::channel(PARTS_UNDER_WAY);
    let received = Received { parts: received, left: Bytes::new(), begins_with: None, upload, failed: None };
    let memory = body.scratch();
    let checking = tokio::task::spawn_blocking(move || check(received, memory));
    let whole = send_all(&mut body, under_way).await;
    let checked = checking.await.unwrap_or_else(|error| {
        tracing::error!(error = %error, "checking a session's data panicked");
        Err(Refusal::Failed)
    });
    // Of what broke off, the check knows nothing.
    if checked.is_err() && whole? == Sent::Unread {
        body.discard(parts).await;
    } else {
        whole?;
    }
    checked
}

/// Whether a body was read to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Whole,
    Unread,
}

async fn send_all(body: &mut Streamed, under_way: mpsc::Sender<Body>) -> Result<Sent, BodyError> {
    loop {
        let Some(part) = body.next().await? else { break };
        if under_way.send(part).await.is_err() {
            return Ok(Sent::Unread);
        }
    }
    Ok(Sent::Whole)
}

/// The parts that have come, as a reader that writes each before it is read.
struct Received {
    parts: mpsc::Receiver<Body>,
    left: Bytes,
    /// The first byte that is no white space.
    begins_with: Option<u8>,
    upload: Upload,
    failed: Option<StoreError>,
}

impl Read for &mut Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            let Some(part) = self.parts.blocking_recv() else { return Ok(0) };
            let bytes = part.bytes.clone();
            self.begins_with = self.begins_with.or_else(|| bytes.trim_ascii_start().first().copied());
            if let Err(error) = self.upload.incoming.write(&bytes) {
                self.failed = Some(error);
                return Err(io::Error::other("the part was not written"));
            }
            self.left = bytes;
        }
        let count = self.left.len().min(buffer.len());
        self.left.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Reads and checks everything. The keys that have to be compared take `memory`.
fn check(mut received: Received, mut memory: Scratch) -> Result<Upload, Refusal> {
    match stream::check(&mut received, |bytes| memory.hold(bytes)) {
        Ok(()) if received.begins_with == Some(b'{') => Ok(received.upload),
        Ok(()) => Err(Refusal::Invalid("The body must be a JSON object.".into())),
        Err(StreamError::Json(error)) => Err(invalid("The body is not the JSON it must be", &error.to_string())),
        Err(StreamError::NoMemory) => Err(memory.refusal(TOO_MANY_KEYS)),
        Err(StreamError::Read(error)) => Err(received.failed.map_or_else(
            || {
                tracing::error!(error = %error, "a session's data could not be read");
                Refusal::Failed
            },
            refused,
        )),
    }
}
