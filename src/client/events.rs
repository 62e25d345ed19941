//! A session's events over any number of connections and servers: each once, in order, none left out unseen.

use hyper::{Method, StatusCode};

use crate::id::SessionId;

use super::call::Call;
use super::error::{Failed, Refused};
use super::retries::Attempts;
use super::sse::{Frame, Sse};
use super::{Client, ClientError, EventView, Gap};

/// A session's events as they come.
pub struct Events {
    client: Client,
    id: SessionId,
    /// The number of the last event that is known.
    after: u64,
    stream: Option<Sse>,
    /// Attempts since an event came.
    attempts: Attempts,
}

/// What is next in a session's sequence.
#[derive(Clone, Debug)]
pub enum Happened {
    /// The event with the next number.
    Event(EventView),
    /// Older events are gone; the next one has the number that is named here.
    Gap(Gap),
}

impl Events {
    pub(super) fn new(client: Client, id: SessionId, after: u64) -> Self {
        let attempts = client.attempts(&following(id, after));
        Self { client, id, after, stream: None, attempts }
    }

    /// The next event, as soon as there is one; none once the session has ended and all were given. A connection that
    /// breaks, or a server that is started anew, is connected to again. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`ClientError`]. After one that may pass, asking again goes on where it stopped.
    pub async fn next(&mut self) -> Result<Option<Happened>, ClientError> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => {
                    let answer = self.client.open(&following(self.id, self.after)).await?;
                    if answer.status() == StatusCode::NO_CONTENT {
                        return Ok(None);
                    }
                    none.insert(Sse::new(answer.into_body()))
                }
            };
            let failed = match stream.next().await {
                Ok(Some(frame)) => match self.read(&frame) {
                    Ok(None) => continue,
                    Ok(Some(happened)) => {
                        self.attempts = self.client.attempts(&following(self.id, self.after));
                        return Ok(Some(happened));
                    }
                    Err(failed) => failed,
                },
                // It has ended with the session, or with its server: the next answer tells.
                Ok(None) => Failed::broken_off(),
                Err(error) => Failed::Unanswered(error),
            };
            self.stream = None;
            self.attempts.again(failed).await?;
        }
    }

    fn read(&mut self, frame: &Frame) -> Result<Option<Happened>, Failed> {
        let broken = |_| Failed::broken_off();
        match (frame.id, frame.name.as_str()) {
            (Some(number), _) if number <= self.after => Ok(None),
            (Some(number), _) if number == self.after + 1 => {
                let event = serde_json::from_slice(&frame.data).map_err(broken)?;
                self.after = number;
                Ok(Some(Happened::Event(event)))
            }
            (Some(_), _) => Err(Failed::broken_off()),
            (None, "gap") => {
                let gap: Gap = serde_json::from_slice(&frame.data).map_err(broken)?;
                self.after = self.after.max(gap.first.saturating_sub(1));
                Ok(Some(Happened::Gap(gap)))
            }
            (None, "problem") => {
                let problem = serde_json::from_slice(&frame.data).map_err(broken)?;
                Err(Failed::Refused(Box::new(Refused::in_stream(problem))))
            }
            // The session as it is, and the end of the server, which the stream's own end tells.
            (None, _) => Ok(None),
        }
    }
}

fn following(id: SessionId, after: u64) -> Call {
    Call::new(Method::GET, format!("/v1/sessions/{id}/events")).accept("text/event-stream").after(after)
}
