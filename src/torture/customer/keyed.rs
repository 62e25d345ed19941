//! A request under an idempotency key: it reaches an agent at most once, and whoever asks again gets the same answer.

use serde_json::{Value, json};

use crate::id::SessionId;

use super::super::connection::{Answer, Connection};
use super::super::ledger::Ledger;
use super::Session;

/// Characters of an answer that a finding shows.
const SHOWN: usize = 300;

/// A request under an idempotency key.
#[derive(Debug)]
pub(super) struct Keyed {
    pub(super) session: SessionId,
    pub(super) number: u64,
    pub(super) request: Value,
    /// What the agent answered, once it has.
    answer: Option<(u16, Value)>,
}

impl Keyed {
    /// One that was not answered yet.
    pub(super) fn new(session: SessionId, number: u64, request: Value) -> Self {
        Self { session, number, request, answer: None }
    }

    /// Whether its answer is known.
    pub(super) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Takes note of an answer, and finds one that differs from what was answered before. Returns the status if this
    /// is the first answer that stays.
    pub(super) fn hear(&mut self, email: &str, ledger: &Ledger, answer: &Answer) -> Option<u16> {
        let what = format!("{email}: the keyed request {} of session {}", self.number, self.session);
        match answer.status {
            200 | 502 | 504 => {
                let now = (answer.status, answer.body["RESPONSE"].clone());
                if now.1.get("echo").is_some_and(|echo| *echo != self.request) {
                    ledger.find(format!("{what} got the answer to another request: {}", brief(&now.1)));
                }
                match &self.answer {
                    Some(before) if *before != now => {
                        let (first, then) = (brief(&before.1), brief(&now.1));
                        let sentence = format!("was answered with {} {first}, and then {} {then}", before.0, now.0);
                        ledger.find(format!("{what} {sentence}"));
                    }
                    Some(_) => {}
                    None => {
                        self.answer = Some(now);
                        return Some(answer.status);
                    }
                }
            }
            // The agent was not given it, or the store is away, or the session is on its way elsewhere.
            503 | 404 | 500 => {}
            status => ledger.find(format!("{what} was answered with {status} {}", brief(&answer.body))),
        }
        None
    }
}

/// Sends a request under its key.
pub(super) fn ask_keyed(
    connection: &mut Connection,
    email: &str,
    session: &Session,
    number: u64,
    request: &Value,
) -> Option<Answer> {
    let body = json!({"EMAIL": email, "REQUEST": request});
    let key = format!("request {number}");
    connection.ask_keyed("PUT", "/handleSessionRequests", Some(&session.token), Some(&key), &body)
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(SHOWN).collect()
}
