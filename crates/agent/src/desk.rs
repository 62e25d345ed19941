//! The way to the desk: whole lines, from any thread; and the requests that it waits for.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Failure;
use super::request::State;

/// Tells the desk things. Cloning shares it; every thread may use it. If the desk is gone, what is told is lost.
#[derive(Clone)]
pub struct Desk {
    output: Arc<Mutex<dyn Write + Send>>,
}

impl Desk {
    pub(super) fn new(output: impl Write + Send + 'static) -> Self {
        Self { output: Arc::new(Mutex::new(output)) }
    }

    /// Says how far the agent is, in a few words; operators see the latest.
    pub fn progress(&self, text: &str) {
        self.tell("progress", &json!({"TEXT": text}));
    }

    /// Says that something happened, in any form; it is kept as an event of the session.
    pub fn event(&self, event: &impl Serialize) {
        // What can't be written as JSON, such as a map whose keys are no strings, is told as nothing.
        self.tell("event", &serde_json::to_value(event).unwrap_or(Value::Null));
    }

    /// Writes a line to the session's log, as writing to stderr does.
    pub fn log(&self, text: &str) {
        self.tell("log", &json!({"TEXT": text}));
    }

    /// Says that the work is done: the session ends as completed. To be called after the last answer.
    pub fn finished(&self, reason: &str) {
        self.tell("finished", &json!({"OUTCOME": "completed", "REASON": reason}));
    }

    /// Says that the work can't be done: the session ends as failed. To be called after the last answer.
    pub fn failed(&self, reason: &str) {
        self.tell("finished", &json!({"OUTCOME": "failed", "REASON": reason}));
    }

    pub(super) fn output(&self, id: u64, part: &Value) {
        self.tell("output", &json!({"ID": id, "PART": part}));
    }

    /// Answers a call with JSON text.
    pub(super) fn answer(&self, id: u64, answer: &Result<String, Failure>) {
        match answer {
            Ok(result) => self.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)),
            Err(Failure { code, message }) => {
                let error = json!({"code": code, "message": message});
                self.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#));
            }
        }
    }

    fn tell(&self, method: &str, params: &Value) {
        self.line(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
    }

    fn line(&self, text: &str) {
        // In valid JSON a raw line break stands between tokens only, where a space means the same.
        let line = text.replace(['\r', '\n'], " ") + "\n";
        let mut output = lock(&self.output);
        let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// The requests that are not answered.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    requests: Mutex<HashMap<u64, Weak<State>>>,
    one_less: Condvar,
}

impl InFlight {
    pub(super) fn add(&self, id: u64, state: &Arc<State>) {
        lock(&self.requests).insert(id, Arc::downgrade(state));
    }

    pub(super) fn remove(&self, id: u64) {
        lock(&self.requests).remove(&id);
        self.one_less.notify_all();
    }

    /// Marks a request as cancelled, if it is in flight.
    pub(super) fn cancel(&self, id: u64) {
        let state = lock(&self.requests).get(&id).and_then(Weak::upgrade);
        if let Some(state) = state {
            state.cancel();
        }
    }

    /// Waits until all are answered, or until the time is over.
    pub(super) fn await_none(&self, most: Duration) {
        drop(self.one_less.wait_timeout_while(lock(&self.requests), most, |requests| !requests.is_empty()));
    }
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
