//! Requests whose partial answers are handed on as they come: each output of the agent to this very request once it is
//! durable, and then the answer.
//!
//! Outputs are read out of the session's log of events, so that whoever asks again under the same key gets those that
//! are still kept, whichever server or agent has seen them come. Where events had to go, the reader is told.

use std::pin::pin;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use crate::agent::Json;
use crate::events::{EventLog, FIRST_NUMBER, Follower, Kind};
use crate::id::SessionId;
use crate::store::{RequestKey, StoreError};

use super::keyed::Call;
use super::{Registry, RelayError};

/// Parts that may wait for their reader.
const MOST_WAITING: usize = 16;

/// What comes of a request, piece by piece.
#[derive(Debug)]
pub enum Part {
    /// A part of the answer, ahead of it: the `PART` of one `output`, as the agent wrote it.
    Output(Json),
    /// Events had to go before they were read: outputs that belong here may be missing.
    Gap,
    /// The answer, behind every output. Nothing comes after it.
    Answer(Result<Json, RelayError>),
}

/// What comes of one request. Dropping it cancels a request without a key.
#[derive(Debug)]
pub struct Parts {
    parts: mpsc::Receiver<Part>,
}

impl Parts {
    /// The next part. `None` after the answer; before it only if the server failed.
    pub async fn next(&mut self) -> Option<Part> {
        self.parts.recv().await
    }
}

impl Registry {
    /// Relays a request to the session's agent as [`Registry::relay`] does, with a key as [`Registry::relay_once`], and
    /// hands on its partial outputs as they become durable. `request` is JSON text. One that is refused has its answer
    /// as its first part. A reader that is slow holds up nobody but itself.
    pub fn relay_parts(&self, id: SessionId, request: Bytes, key: Option<RequestKey>) -> Parts {
        let (sender, parts) = mpsc::channel(MOST_WAITING);
        let registry = self.clone();
        self.inner.context.tasks.spawn(async move {
            let relaying = async {
                let began = registry.inner.context.clock.now();
                let answer = registry.relay_into(&sender, id, request, key).await;
                registry.count_relay(began, &answer);
                let _ = sender.send(Part::Answer(answer)).await;
            };
            tokio::select! {
                biased;
                () = sender.closed() => {}
                () = relaying => {}
            }
        });
        Parts { parts }
    }

    async fn relay_into(
        &self,
        parts: &mpsc::Sender<Part>,
        id: SessionId,
        request: Bytes,
        key: Option<RequestKey>,
    ) -> Result<Json, RelayError> {
        let events = &self.inner.context.launcher.events;
        let follower = events.follow(id);
        // What is there already belongs to earlier calls.
        let after = events.read(id, u64::MAX, 0).await?.last;
        let outputs = Outputs { events, id, follower, parts, after };
        if let Some(key) = key {
            let asked = self.ask_once(id, key, request)?;
            let (call, is_first) = (asked.call.clone(), asked.is_first);
            return outputs.until(asked.answer(), call, is_first).await;
        }
        let (agent, epoch, timeout) = self.running(id)?;
        let (begun, call) = watch::channel(None);
        let answering = async {
            let begun = |number| {
                begun.send_replace(Some(Call { epoch, number, is_new: true }));
            };
            let answer = agent.request_numbered(&request, timeout, begun).await;
            agent.flushed().await;
            Ok(answer?)
        };
        outputs.until(answering, call, true).await
    }
}

/// The outputs of one request on their way to who asked.
struct Outputs<'a> {
    events: &'a EventLog,
    id: SessionId,
    follower: Follower,
    parts: &'a mpsc::Sender<Part>,
    /// The number up to which events were looked at.
    after: u64,
}

impl Outputs<'_> {
    /// Hands on what comes until the answer is there, and everything before it.
    async fn until(
        mut self,
        answering: impl Future<Output = Result<Json, RelayError>>,
        mut call: watch::Receiver<Option<Call>>,
        is_first: bool,
    ) -> Result<Json, RelayError> {
        let mut answering = pin!(answering);
        let mut is_begun = false;
        loop {
            let answer = tokio::select! {
                biased;
                answer = &mut answering => Some(answer),
                () = begun(&mut call), if !is_begun => None,
                Some(_) = self.follower.changed(), if is_begun => None,
            };
            let known = *call.borrow();
            if let Some(known) = known {
                let was_begun = std::mem::replace(&mut is_begun, true);
                let may_be_older = !is_first || !known.is_new;
                if !was_begun && may_be_older {
                    self.after = FIRST_NUMBER - 1;
                }
                if let Err(error) = self.hand_on(known).await {
                    tracing::warn!(session.id = %self.id, error = %error, "parts of an answer not read");
                    // There is no later look that would make up for it.
                    if let Some(answer) = answer {
                        return answer.and(Err(error.into()));
                    }
                }
            }
            if let Some(answer) = answer {
                return answer;
            }
        }
    }

    /// Hands on the call's outputs among the events that were not looked at.
    async fn hand_on(&mut self, call: Call) -> Result<(), StoreError> {
        const A_PAGE: usize = 64;
        loop {
            let page = self.events.read(self.id, self.after, A_PAGE).await?;
            if self.after + 1 < page.first {
                self.after = page.first - 1;
                if self.parts.send(Part::Gap).await.is_err() {
                    return Ok(());
                }
            }
            for event in &page.events {
                if event.kind == Kind::Output && event.epoch == call.epoch {
                    for part in parts(&event.body, call.number) {
                        if self.parts.send(Part::Output(part)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
                self.after = event.number;
            }
            if page.events.is_empty() || self.after >= page.last {
                return Ok(());
            }
        }
    }
}

/// Completes when the agent is about to be given the request; never, if it isn't.
async fn begun(call: &mut watch::Receiver<Option<Call>>) {
    if call.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The parts that an event of outputs holds, if they are this call's.
fn parts(body: &Bytes, call: u64) -> Vec<Json> {
    #[derive(Deserialize)]
    struct Output<'a> {
        #[serde(rename = "ID")]
        id: u64,
        #[serde(rename = "PART", borrow)]
        part: Option<&'a RawValue>,
    }
    let outputs: Vec<Output<'_>> = serde_json::from_slice(body).unwrap_or_default();
    let own = outputs.iter().filter(|output| output.id == call);
    own.map(|output| output.part.map_or(Json::from_static(b"null"), |part| body.slice_ref(part.get().as_bytes())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_call_as_the_agent_wrote_them() {
        let body = Bytes::from_static(br#"[{"ID":2,"PART":"a"},{"PART": {"x": [1, 2]}, "ID": 2},{"ID":2}]"#);
        assert_eq!(parts(&body, 2), [r#""a""#, r#"{"x": [1, 2]}"#, "null"]);
        assert!(parts(&body, 3).is_empty());
    }

    #[test]
    fn what_names_no_call_is_no_part_of_any() {
        for body in [r#"[{"PART":1}]"#, r#"[{"ID":"2","PART":1}]"#, "[7]", "[null]", "no JSON"] {
            assert!(parts(&Bytes::from_static(body.as_bytes()), 2).is_empty(), "{body}");
        }
    }
}
