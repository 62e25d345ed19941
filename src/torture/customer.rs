//! One customer: what it was promised, and what it asks for next.
//!
//! ```text
//!   Nothing ──create──> Pending ──initialise──> Running ──stop──> Stopped ──create──> ..
//!                          └── no answer ──> Starting  └── no answer ──> Stopping
//! ```
//!
//! What was answered is a promise, and whatever speaks against it later is a finding. A call without an answer is sent
//! again until there is one: until then, both are right.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::id::SessionId;

use super::connection::{Answer, Connection};
use super::dice::Dice;
use super::ledger::Ledger;
use super::processes::Marks;

mod flood;
mod keyed;

use flood::Flood;
use keyed::{Keyed, ask_keyed};

/// The persona of all sessions.
pub(super) const PERSONA: &str = "TORTURE";

/// A session that a customer knows of.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Its id.
    pub(super) id: SessionId,
    /// A token of it.
    token: String,
}

/// What a customer knows of its session.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// None was asked for, or no answer came.
    Nothing,
    /// It waits to be initialised.
    Pending(Session),
    /// It was to be initialised, and no answer came.
    Starting(Session),
    /// It has an agent.
    Running(Session),
    /// It was to be stopped, and no answer came; whether it has a place among those that run.
    Stopping(Session, bool),
    /// It has ended or will.
    Stopped,
}

/// A customer's page in the ledger.
#[derive(Debug)]
pub(super) struct Customer {
    email: String,
    known: Known,
    /// Sessions whose end was promised.
    ended: Vec<SessionId>,
    /// The number of the next request.
    next: u64,
    /// What the agent said last, if it counts.
    last: Option<Last>,
    /// Requests since then of which nobody knows whether the agent has handled them.
    unknown: u64,
    /// Keyed requests that are to be sent again.
    keyed: Vec<Keyed>,
    /// What its last flood came to.
    flood: Option<Flood>,
    /// What was heard last, for whoever looks for the fault.
    heard: String,
}

/// Requests of one burst: the first, without a key, is more than a pipe holds.
const BURST: u64 = 4;
/// Bytes of a request that fills its agent's pipe.
const LARGE_BYTES: usize = 200_000;
/// How long the example agent works on a request that is to time out. No run lasts until it would count that request.
const TOO_LONG_MILLIS: u64 = 30 * 24 * 3_600_000;

/// An agent's count of the requests that it has handled, and how often chaos had touched it before that one was sent.
#[derive(Clone, Copy, Debug)]
struct Last {
    session: SessionId,
    handled: u64,
    touches: u32,
}

impl Customer {
    /// A customer that has asked for nothing.
    pub(super) fn new(number: usize) -> Self {
        let email = format!("customer{number}@example.org");
        Self {
            email,
            known: Known::Nothing,
            ended: Vec::new(),
            next: 0,
            last: None,
            unknown: 0,
            keyed: Vec::new(),
            flood: None,
            heard: String::new(),
        }
    }

    /// What it knows of its session.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// The sessions whose end was promised.
    pub(super) fn ended(&self) -> &[SessionId] {
        &self.ended
    }

    /// Makes one call.
    pub(super) fn step(&mut self, connection: &mut Connection, ledger: &Ledger, marks: &Marks, dice: &mut Dice) {
        self.known = match std::mem::replace(&mut self.known, Known::Nothing) {
            Known::Nothing | Known::Stopped => self.create(connection, ledger, dice),
            Known::Pending(session) => match dice.below(100) {
                0..5 => self.stop(connection, ledger, session, false),
                15..45 if ledger.take_place() => self.stop_while_starting(connection, ledger, dice, session),
                5..15 => self.look(connection, ledger, session),
                _ if ledger.take_place() => self.initialise(connection, ledger, session, true),
                _ => self.look(connection, ledger, session),
            },
            Known::Starting(session) => self.initialise(connection, ledger, session, false),
            Known::Running(session) if dice.percent(8) => self.stop(connection, ledger, session, true),
            Known::Running(session) if dice.percent(2) => self.ask_for_too_much(connection, ledger, session),
            Known::Running(session) if dice.percent(2) => self.flood(connection, ledger, marks, session),
            Known::Running(session) if !self.keyed.is_empty() && dice.percent(85) => {
                self.ask_again(connection, ledger, session)
            }
            Known::Running(session) if dice.percent(20) => self.burst(connection, ledger, session),
            Known::Running(session) => self.request(connection, ledger, session).0,
            Known::Stopping(session, has_place) => self.stop(connection, ledger, session, has_place),
        };
    }

    /// Brings what was without an answer to its end, and returns whether everything answers as was promised.
    pub(super) fn is_settled(&mut self, connection: &mut Connection, ledger: &Ledger) -> bool {
        let (known, is_settled) = match std::mem::replace(&mut self.known, Known::Nothing) {
            // Nobody asked for anything, or the answer is due: a session that is there is found by asking again.
            Known::Nothing if self.heard.is_empty() => (Known::Nothing, true),
            Known::Nothing => (self.create(connection, ledger, &mut Dice::new(0)), false),
            Known::Stopped => (Known::Stopped, true),
            Known::Pending(session) => {
                let known = self.look(connection, ledger, session);
                let is_pending = self.heard == "200 PENDING";
                (known, is_pending)
            }
            Known::Starting(session) => (self.initialise(connection, ledger, session, false), false),
            Known::Running(session) => self.request(connection, ledger, session),
            Known::Stopping(session, has_place) => (self.stop(connection, ledger, session, has_place), false),
        };
        self.known = known;
        is_settled
    }

    /// What to say of it if it does not settle.
    pub(super) fn complaint(&self) -> String {
        format!(
            "a minute after the last blow {} is not as promised: {:?}, heard {:?}",
            self.email, self.known, self.heard
        )
    }

    fn create(&mut self, connection: &mut Connection, ledger: &Ledger, dice: &mut Dice) -> Known {
        let body = json!({"EMAIL": self.email, "PASSWORD": "any", "PERSONA_TYPE": PERSONA, "DATA": {"n": self.next}});
        let Some(answer) = self.ask(connection, ledger, "POST", "/requestSessionCreation", None, &body) else {
            return Known::Nothing;
        };
        let id = answer.body["SESSION_ID"].as_str().and_then(|id| id.parse().ok());
        let token = answer.body["TOKEN"].as_str().map(str::to_owned);
        match (answer.status, id.zip(token)) {
            (200, Some((id, token))) => {
                ledger.count(|tally| tally.created += 1);
                (self.last, self.unknown) = (None, 0);
                Known::Pending(Session { id, token })
            }
            (400, Some((id, token))) if answer.message() == "SESSION_ALREADY_RUNNING" => {
                if self.ended.contains(&id) {
                    // Its stop was promised, and it may still be on its way.
                    return Known::Stopped;
                }
                let session = Session { id, token };
                match dice.percent(50) && ledger.take_place() {
                    true => Known::Starting(session),
                    false => Known::Stopping(session, false),
                }
            }
            (500 | 503, _) => Known::Nothing,
            _ => {
                self.find(ledger, "a creation", &answer);
                Known::Nothing
            }
        }
    }

    fn initialise(&mut self, connection: &mut Connection, ledger: &Ledger, session: Session, is_first: bool) -> Known {
        let body = json!({"EMAIL": self.email});
        let answer = self.ask(connection, ledger, "POST", "/initializeSession", None, &body);
        match answer.as_ref().map(|answer| answer.status) {
            None => Known::Starting(session),
            Some(200) => {
                ledger.count(|tally| tally.initialised += 1);
                Known::Running(session)
            }
            // An earlier attempt has started it.
            Some(404) if !is_first => Known::Running(session),
            Some(500 | 503) => {
                ledger.give_place();
                Known::Pending(session)
            }
            Some(_) => {
                if let Some(answer) = &answer {
                    self.find(ledger, &format!("the initialise of the pending session {}", session.id), answer);
                }
                Known::Starting(session)
            }
        }
    }

    /// Asks for the status of a pending session.
    fn look(&mut self, connection: &mut Connection, ledger: &Ledger, session: Session) -> Known {
        let message = json!({"PERSONA_TYPE": PERSONA, "EMAIL": self.email}).to_string();
        let path = format!("/sessionSTATUS?message={}", utf8_percent_encode(&message, NON_ALPHANUMERIC));
        if let Some(answer) = self.ask(connection, ledger, "GET", &path, None, &Value::Null)
            && answer.status != 503
            && answer.message() != "PENDING"
        {
            self.find(ledger, &format!("the status of the pending session {}", session.id), &answer);
        }
        Known::Pending(session)
    }

    /// Relays a request; the flag tells whether the agent has answered.
    fn request(&mut self, connection: &mut Connection, ledger: &Ledger, session: Session) -> (Known, bool) {
        self.next += 1;
        let (id, number) = (session.id, self.next);
        let body = json!({"EMAIL": self.email, "REQUEST": {"n": number}});
        let touches = ledger.touches(id);
        let token = session.token.clone();
        let answer = self.ask(connection, ledger, "PUT", "/handleSessionRequests", Some(&token), &body);
        match answer {
            Some(answer) if answer.status == 200 => {
                ledger.count(|tally| tally.answered += 1);
                self.judge(ledger, id, number, touches, &answer.body["RESPONSE"]);
                return (Known::Running(session), true);
            }
            // The agent was not given it: it is being started, or has as much to do as it may.
            Some(answer) if answer.status == 503 => {}
            Some(answer) if matches!(answer.status, 502 | 504) => self.unknown += 1,
            None => self.unknown += 1,
            // After an initialise without an answer, the session may be anywhere.
            Some(answer) if answer.status == 404 && self.last.is_none() => return (Known::Starting(session), false),
            Some(answer) => self.find(ledger, &format!("a request to the running session {id}"), &answer),
        }
        (Known::Running(session), false)
    }

    /// Sends several requests at once: a large one, and keyed ones that may wait behind it.
    fn burst(&mut self, connection: &Connection, ledger: &Ledger, session: Session) -> Known {
        let first = self.next + 1;
        self.next += BURST;
        let email = &self.email;
        let answers = ask_at_once(
            connection,
            first,
            |connection, number| {
                if number == first {
                    let body = json!({"EMAIL": email, "REQUEST": large(number)});
                    return connection.ask("PUT", "/handleSessionRequests", Some(&session.token), &body);
                }
                ask_keyed(connection, email, &session, number, &small(number))
            },
            |ask| ask(),
        );
        // In which order the agent handled them is not known.
        (self.last, self.unknown) = (None, 0);
        for (number, answer) in (first..).zip(answers) {
            ledger.count(|tally| match &answer {
                Some(answer) if answer.status == 200 => tally.answered += 1,
                Some(_) => {}
                None => tally.lost += 1,
            });
            if number > first {
                let mut keyed = Keyed::new(session.id, number, small(number));
                if let Some(answer) = answer {
                    self.hear(&mut keyed, ledger, &answer);
                }
                self.keyed.push(keyed);
            }
        }
        Known::Running(session)
    }

    /// Sends a keyed request that takes the agent longer than it may. The answer that says so has to be repeated.
    fn ask_for_too_much(&mut self, connection: &mut Connection, ledger: &Ledger, session: Session) -> Known {
        self.next += 1;
        let (number, request) = (self.next, json!({"n": self.next, "sleep_ms": TOO_LONG_MILLIS}));
        self.keyed.push(Keyed::new(session.id, number, request));
        let known = self.ask_again(connection, ledger, session);
        // At once, and before the others.
        let first = self.keyed.len().min(1);
        self.keyed.rotate_left(first);
        match known {
            Known::Running(session) => self.ask_again(connection, ledger, session),
            other
            @ (Known::Nothing | Known::Pending(_) | Known::Starting(_) | Known::Stopping(..) | Known::Stopped) => other,
        }
    }

    /// Sends a keyed request again: what was answered is answered alike.
    fn ask_again(&mut self, connection: &mut Connection, ledger: &Ledger, session: Session) -> Known {
        let Some(mut keyed) = self.keyed.pop() else { return Known::Running(session) };
        if keyed.session != session.id {
            return Known::Running(session);
        }
        (self.last, self.unknown) = (None, 0);
        let was_answered = keyed.is_answered();
        let answer = ask_keyed(connection, &self.email, &session, keyed.number, &keyed.request);
        match answer {
            Some(answer) => {
                self.hear(&mut keyed, ledger, &answer);
                if !was_answered {
                    self.keyed.insert(0, keyed);
                }
            }
            None => {
                ledger.count(|tally| tally.lost += 1);
                self.keyed.insert(0, keyed);
            }
        }
        Known::Running(session)
    }

    /// Has the session started, and stopped while that is under way.
    fn stop_while_starting(
        &mut self,
        connection: &mut Connection,
        ledger: &Ledger,
        dice: &mut Dice,
        session: Session,
    ) -> Known {
        let body = json!({"EMAIL": self.email});
        let (mut other, pause) = (connection.another(), dice.millis(0, 10));
        std::thread::scope(|scope| {
            scope.spawn(move || other.ask("POST", "/initializeSession", None, &body));
            std::thread::sleep(pause);
            self.stop(connection, ledger, session, true)
        })
    }

    /// Whether the answer is that of the session's own agent, to this request, and to no other.
    fn judge(&mut self, ledger: &Ledger, id: SessionId, number: u64, touches: u32, answer: &Value) {
        let wrong =
            |what: &str| ledger.find(format!("{}: request {number} of session {id} {what}: {answer}", self.email));
        if answer.get("session").is_some_and(|session| *session != json!(id)) {
            wrong("was answered by another session's agent");
        }
        if answer.get("echo").is_some_and(|echo| *echo != json!({"n": number})) {
            wrong("got the answer to another request");
        }
        let Some(handled) = answer.get("handled").and_then(Value::as_u64) else { return };
        if let Some(last) = self.last
            && last.session == id
            && touches.is_multiple_of(2)
            && last.touches == ledger.touches(id)
        {
            if handled == last.handled {
                wrong("has the number of the request before it");
            } else if handled < last.handled {
                wrong(&format!(
                    "was answered by a new agent, though nobody touched the one that had handled {}",
                    last.handled
                ));
            } else if handled > last.handled + 1 + self.unknown {
                wrong(&format!("came after requests that nobody sent, the agent had handled {}", last.handled));
            }
        }
        self.last = Some(Last { session: id, handled, touches });
        self.unknown = 0;
    }

    fn stop(&mut self, connection: &mut Connection, ledger: &Ledger, session: Session, has_place: bool) -> Known {
        let path = format!("/v1/sessions/{}", session.id);
        let token = session.token.clone();
        match self.ask(connection, ledger, "DELETE", &path, Some(&token), &Value::Null) {
            Some(answer) if answer.status < 300 => {
                ledger.count(|tally| tally.stopped += 1);
                ledger.note_end(session.id);
                if has_place {
                    ledger.give_place();
                }
                self.ended.push(session.id);
                Known::Stopped
            }
            Some(answer) if !matches!(answer.status, 500 | 503) => {
                self.find(ledger, &format!("the stop of session {}", session.id), &answer);
                Known::Stopping(session, has_place)
            }
            Some(_) | None => Known::Stopping(session, has_place),
        }
    }

    /// Takes note of the answer to a keyed request.
    fn hear(&mut self, keyed: &mut Keyed, ledger: &Ledger, answer: &Answer) {
        if let Some(status) = keyed.hear(&self.email, ledger, answer) {
            self.judge_flood(ledger, keyed, status);
        }
    }

    fn ask(
        &mut self,
        connection: &mut Connection,
        ledger: &Ledger,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Option<Answer> {
        let answer = connection.ask(method, path, token, body);
        self.heard = match &answer {
            Some(answer) => format!("{} {}", answer.status, answer.message()),
            None => {
                ledger.count(|tally| tally.lost += 1);
                "nothing".to_owned()
            }
        };
        answer
    }

    fn find(&self, ledger: &Ledger, what: &str, answer: &Answer) {
        // The body of a refusal holds no secret.
        ledger.find(format!("{}: {what} was answered with {} {}", self.email, answer.status, answer.body));
    }
}

/// Sends the requests of a burst at once, each on a connection of its own, and waits for what comes of them. `around`
/// gets what sends them.
fn ask_at_once(
    connection: &Connection,
    first: u64,
    ask: impl Fn(&mut Connection, u64) -> Option<Answer> + Sync,
    around: impl FnOnce(&mut dyn FnMut()),
) -> Vec<Option<Answer>> {
    std::thread::scope(|scope| {
        let (ask, mut asking) = (&ask, Vec::new());
        around(&mut || {
            asking.extend((first..first + BURST).map(|number| {
                let mut connection = connection.another();
                scope.spawn(move || ask(&mut connection, number))
            }));
        });
        asking.into_iter().map(|asked| asked.join().expect("a client does not panic")).collect()
    })
}

/// A request that an agent answers at once.
fn small(number: u64) -> Value {
    json!({"n": number})
}

/// A request that is more than an agent's pipe holds.
fn large(number: u64) -> Value {
    json!({"n": number, "pad": "x".repeat(LARGE_BYTES)})
}
