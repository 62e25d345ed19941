//! One request of the customer's, from its arrival to its one answer.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::desk::{InFlight, lock};
use super::{Desk, Failure};

/// A request. Cloning shares it; every thread may answer it, and the first answer counts. If all clones are gone
/// without one, the customer gets an error.
#[derive(Clone, Debug)]
pub struct Request(Arc<State>);

#[derive(Debug)]
pub(super) struct State {
    id: u64,
    value: Box<RawValue>,
    desk: Desk,
    in_flight: Arc<InFlight>,
    progress: Mutex<Progress>,
    cancelled: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    is_answered: bool,
    is_cancelled: bool,
}

impl Request {
    pub(super) fn new(id: u64, value: Box<RawValue>, desk: &Desk, in_flight: &Arc<InFlight>) -> Self {
        let state = Arc::new(State {
            id,
            value,
            desk: desk.clone(),
            in_flight: Arc::clone(in_flight),
            progress: Mutex::default(),
            cancelled: Condvar::new(),
        });
        in_flight.add(id, &state);
        Self(state)
    }

    /// The request's number.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The customer's JSON, as it came.
    pub fn value(&self) -> &RawValue {
        &self.0.value
    }

    /// The customer's JSON as a type of yours.
    ///
    /// # Errors
    /// A [`Failure`] that tells the customer what is missing or of another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(self.value().get())
            .map_err(|error| Failure::coded(Failure::BAD_FORM, &format!("the request: {error}")))
    }

    /// The desk.
    pub fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// Sends a part of the answer ahead of it. After the answer it is dropped.
    pub fn output(&self, part: &impl Serialize) {
        let part = serde_json::to_value(part).unwrap_or(Value::Null);
        let progress = lock(&self.0.progress);
        if !progress.is_answered {
            self.0.desk.output(self.0.id, &part);
        }
    }

    /// Whether nobody waits for the answer any longer.
    pub fn is_cancelled(&self) -> bool {
        lock(&self.0.progress).is_cancelled
    }

    /// Sleeps; returns at once with true when the request is cancelled, and with false when the time is over.
    pub fn cancelled_within(&self, time: Duration) -> bool {
        let progress = lock(&self.0.progress);
        let waited = self.0.cancelled.wait_timeout_while(progress, time, |progress| !progress.is_cancelled);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_cancelled
    }

    /// Answers ahead of the return of [`super::Agent::request`], or from another thread.
    pub fn answer(&self, answer: Result<Answer, Failure>) {
        if let Some(answer) = answer.map(Answer::into_text).transpose() {
            self.settle(&answer);
        }
    }

    /// Sends the answer, if it is the first.
    pub(super) fn settle(&self, answer: &Result<String, Failure>) {
        self.0.settle(answer);
    }
}

impl State {
    pub(super) fn cancel(&self) {
        lock(&self.progress).is_cancelled = true;
        self.cancelled.notify_all();
    }

    fn settle(&self, answer: &Result<String, Failure>) {
        {
            let mut progress = lock(&self.progress);
            if std::mem::replace(&mut progress.is_answered, true) {
                return;
            }
            // Under the lock, so that no part of the answer comes after it.
            self.desk.answer(self.id, answer);
        }
        self.in_flight.remove(self.id);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.settle(&Err(Failure::coded(Failure::INTERNAL, "the agent dropped the request without an answer")));
    }
}

/// What a request is answered with.
#[derive(Clone, Debug)]
pub struct Answer(Option<String>);

impl Answer {
    /// Anything that can be written as JSON.
    ///
    /// # Errors
    /// A [`Failure`] if it can't.
    pub fn of(value: &impl Serialize) -> Result<Self, Failure> {
        match serde_json::to_string(value) {
            Ok(text) => Ok(Self(Some(text))),
            Err(error) => Err(Failure::coded(Failure::INTERNAL, &format!("the answer can't be written: {error}"))),
        }
    }

    /// No answer yet, or one that was sent: [`Request::answer`] sends it, on a clone of the request.
    pub fn sent_apart() -> Self {
        Self(None)
    }

    pub(super) fn into_text(self) -> Option<String> {
        self.0
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self(Some(value.to_string()))
    }
}

impl From<Box<RawValue>> for Answer {
    fn from(value: Box<RawValue>) -> Self {
        Self(Some(value.get().to_owned()))
    }
}
