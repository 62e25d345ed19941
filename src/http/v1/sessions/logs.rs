//! `GET /v1/sessions/{id}/logs`: what a session's agent writes to stderr.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agent::kept_logs::KeptLogs;
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of, text};
use crate::http::v1::query;
use crate::http::v1::stream::{Gone, Writer, begin, while_known};
use crate::id::SessionId;
use crate::shim::place::Place;

use crate::shim::log_file::LogFile;

/// How often a log is looked at that is followed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "getLogs",
    tag: Tag::Events,
    summary: "Read the log of a session's agent",
    description: "What the agent writes to stderr, as text: the last `tail` lines, 1 MiB of them at most; with `follow` \
                  what it writes from then on, too, until the session ends, or the \
                  caller's token. The log goes when its session has ended; of one that failed the end of it stays with \
                  the session's history (`history.log`).",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "The log.",
        contents: &[Content { media_type: "text/plain; charset=utf-8", schema: text }],
        headers: &[],
    }],
    problems: &[Code::InvalidRequest, Code::LogsGone],
};

/// Which part of a log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// Go on with what comes.
    #[serde(default)]
    pub follow: bool,
    /// How many lines from the end.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(default = "last_lines")]
    pub tail: u32,
}

const fn last_lines() -> u32 {
    100
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    logs(&app, &admitted, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn logs(app: &Arc<App>, admitted: &Admitted, parts: &Parts) -> Result<Response, Refusal> {
    const MOST_LINES: u32 = 100_000;
    let Query { follow, tail } = query(parts)?;
    if tail > MOST_LINES {
        return Err(Refusal::Invalid("`tail` is a number from 0 to 100000.".into()));
    }
    let record = &admitted.session()?.record;
    let lines = tail as usize;
    let (log, end) = if record.phase.is_live() {
        let (log, end) = end_of_log(app, record.id, lines).await?;
        // It may have failed since, and its directory be gone.
        let kept = if end.is_empty() { kept_end(app, record.id, lines).await? } else { None };
        kept.map_or((Some(log), end), |end| (None, end))
    } else {
        (None, kept_end(app, record.id, lines).await?.ok_or(Refusal::LogsGone)?)
    };
    let begun = begin(app, Some(record.id))?;
    let (writer, response) = Writer::new("text/plain; charset=utf-8");
    let (streamed, id) = (Arc::clone(app), record.id);
    let caller = admitted.caller.clone();
    let followed = log.filter(|_| follow);
    app.tasks.spawn(async move {
        while_known(&streamed, &caller, stream(&streamed, id, end, followed, writer)).await;
        drop(begun);
    });
    Ok(response)
}

async fn end_of_log(app: &App, id: SessionId, lines: usize) -> Result<(LogFile, Bytes), Refusal> {
    let place = Place::new(&app.paths.agents().join(id.to_string()));
    let read = tokio::task::spawn_blocking(move || {
        let mut log = LogFile::new(place);
        let end = log.end(lines);
        (log, end)
    });
    read.await.map_err(|error| {
        tracing::error!(session.id = %id, error = %error, "reading a log panicked");
        Refusal::Failed
    })
}

/// The end of the log that is kept of a session that failed.
async fn kept_end(app: &App, id: SessionId, lines: usize) -> Result<Option<Bytes>, Refusal> {
    let logs = KeptLogs::new(app.paths.logs());
    let read = tokio::task::spawn_blocking(move || logs.end(id, lines));
    read.await.map_err(|error| {
        tracing::error!(session.id = %id, error = %error, "reading a kept log panicked");
        Refusal::Failed
    })
}

/// Writes the end, and then what comes to the log that is followed.
async fn stream(
    app: &App,
    id: SessionId,
    end: Bytes,
    followed: Option<LogFile>,
    mut writer: Writer,
) -> Result<(), Gone> {
    writer.write(end).await?;
    let Some(mut log) = followed else { return Ok(()) };
    loop {
        // Looked at first: what was written before the session ended is read below.
        let is_live = matches!(app.store.session(id).await, Ok(Some(stored)) if stored.record.phase.is_live());
        let Ok((same, piece)) = tokio::task::spawn_blocking(move || {
            let piece = log.more();
            (log, piece)
        })
        .await
        else {
            return Ok(());
        };
        log = same;
        if !piece.is_empty() {
            writer.write(piece).await?;
            continue;
        }
        if !is_live || app.tasks.is_draining() {
            return Ok(());
        }
        tokio::select! {
            () = app.tasks.draining() => {}
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            () = writer.gone() => return Ok(()),
        }
    }
}
