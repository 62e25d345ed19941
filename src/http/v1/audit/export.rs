//! The audit as one stream: read a part at a time, as fast as the client takes it.

use std::io;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;

use crate::http::App;
use crate::http::error::Refusal;
use crate::http::v1::stream::Writer;
use crate::store::NumberedEntry;

use super::list::Wanted;
use super::view::EntryView;

/// One JSON text a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

const ENTRIES_AT_ONCE: usize = 500;

pub(super) async fn export(app: &Arc<App>, wanted: Wanted) -> Result<Response, Refusal> {
    // Before the answer begins, so that a store that is away is still told as such.
    let first = wanted.find(app, ENTRIES_AT_ONCE).await?;
    let (mut writer, response) = Writer::new(NDJSON);
    let own = Arc::clone(app);
    app.tasks.spawn(async move {
        if let Err(error) = write(&own, wanted, first, &mut writer).await {
            writer.break_off(error).await;
        }
    });
    Ok(response)
}

async fn write(app: &App, mut wanted: Wanted, mut found: Vec<NumberedEntry>, writer: &mut Writer) -> io::Result<()> {
    loop {
        let last = (found.len() == ENTRIES_AT_ONCE).then(|| found.last().map(|numbered| numbered.cursor)).flatten();
        let text = lines(found)?;
        let sent = tokio::select! {
            sent = writer.write(text) => sent,
            () = app.tasks.draining() => return Err(io::Error::other("the server is shutting down")),
        };
        match (sent, last) {
            (Ok(()), Some(last)) => wanted.go_on_before(last),
            (Ok(()), None) | (Err(_), _) => return Ok(()),
        }
        found = wanted.find(app, ENTRIES_AT_ONCE).await.map_err(|error| {
            tracing::error!(error = %error, "export of the audit broke off");
            io::Error::other(error)
        })?;
    }
}

fn lines(found: Vec<NumberedEntry>) -> io::Result<Bytes> {
    let mut text = Vec::new();
    for numbered in found {
        serde_json::to_writer(&mut text, &EntryView::from(numbered.entry))?;
        text.push(b'\n');
    }
    Ok(text.into())
}
