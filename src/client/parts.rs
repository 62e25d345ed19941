//! An agent's answer in parts. It is asked for under a key, so that a stream that broke off is begun again and goes on
//! behind the parts that were handed out.

use serde_json::value::RawValue;

use crate::http::v1::sessions::request::AgentResponse;

use super::call::Call;
use super::error::{Failed, Refused};
use super::retries::Attempts;
use super::sse::{Frame, Sse};
use super::{Client, ClientError};

/// An answer on its way.
pub struct AnswerInParts {
    client: Client,
    call: Call,
    stream: Option<Sse>,
    /// Outputs that this stream has brought.
    brought: usize,
    /// Outputs that were handed out.
    given: usize,
    is_answered: bool,
    /// Attempts since a part came.
    attempts: Attempts,
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// A part that the agent sent ahead of its answer, as it wrote it.
    Output(Box<RawValue>),
    /// The answer. Nothing comes after it.
    Answer(Box<RawValue>),
}

impl AnswerInParts {
    pub(super) fn new(client: Client, call: Call) -> Self {
        let attempts = client.attempts(&call);
        Self { client, call, stream: None, brought: 0, given: 0, is_answered: false, attempts }
    }

    /// The next part; none after the answer. Dropping the future loses nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn next(&mut self) -> Result<Option<Part>, ClientError> {
        while !self.is_answered {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => {
                    self.brought = 0;
                    none.insert(Sse::new(self.client.open(&self.call).await?.into_body()))
                }
            };
            let failed = match stream.next().await {
                Ok(Some(frame)) => match self.read(&frame) {
                    Ok(None) => continue,
                    Ok(Some(part)) => {
                        self.attempts = self.client.attempts(&self.call);
                        return Ok(Some(part));
                    }
                    Err(failed) => failed,
                },
                Ok(None) => Failed::broken_off(),
                Err(error) => Failed::Unanswered(error),
            };
            self.stream = None;
            self.attempts.again(failed).await?;
        }
        Ok(None)
    }

    fn read(&mut self, frame: &Frame) -> Result<Option<Part>, Failed> {
        let broken = |_| Failed::broken_off();
        match frame.name.as_str() {
            "output" => {
                self.brought += 1;
                if self.brought <= self.given {
                    return Ok(None);
                }
                let output = serde_json::from_slice(&frame.data).map_err(broken)?;
                self.given = self.brought;
                Ok(Some(Part::Output(output)))
            }
            "response" => {
                let AgentResponse { response } = serde_json::from_slice(&frame.data).map_err(broken)?;
                self.is_answered = true;
                Ok(Some(Part::Answer(response)))
            }
            "problem" => {
                let problem = serde_json::from_slice(&frame.data).map_err(broken)?;
                Err(Failed::Refused(Box::new(Refused::in_stream(problem))))
            }
            _ => Ok(None),
        }
    }
}
