//! What is said of agents that exist in memory only, on a clock that moves when an answer takes its time.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::{Clock, ManualClock, Timestamp};

use super::peer::{Exit, Heard, Peer, Start};
use super::*;

/// An agent that does everything right but for what its fields say.
#[derive(Clone)]
struct Script {
    /// How long each request takes.
    takes: Duration,
    /// Whether requests wait for one another.
    is_serial: bool,
    /// Whether a cancelled request is answered with an error at once.
    heeds_cancel: bool,
    /// Whether answers stay in a buffer until stdin is closed.
    is_buffered: bool,
    heeds_shutdown: bool,
    heeds_sigterm: bool,
    left_behind: Vec<String>,
    /// What it writes after `initialize` was answered.
    greeting: Option<Heard>,
}

const GOOD: Script = Script {
    takes: Duration::ZERO,
    is_serial: false,
    heeds_cancel: true,
    is_buffered: false,
    heeds_shutdown: true,
    heeds_sigterm: true,
    left_behind: Vec::new(),
    greeting: None,
};

struct Scripted {
    script: Script,
    clock: Arc<ManualClock>,
    /// What is heard from it, and when.
    coming: VecDeque<(Timestamp, Heard)>,
    free_at: Timestamp,
}

struct Starter(Script, Arc<ManualClock>);

impl Start for Starter {
    fn start(&mut self) -> Result<Box<dyn Peer>, String> {
        let (script, clock) = (self.0.clone(), Arc::clone(&self.1));
        Ok(Box::new(Scripted { script, free_at: clock.now(), clock, coming: VecDeque::new() }))
    }
}

impl Scripted {
    fn write(&mut self, at: Timestamp, message: &Value) {
        self.coming.push_back((at, Heard::Line(message.to_string().into_bytes())));
    }

    fn exit(&mut self) {
        let at = self.clock.now();
        let exit = Exit { words: "exited with status 0".to_owned(), is_success: true };
        self.coming.push_back((at, Heard::OutputEnded(Vec::new())));
        self.coming.push_back((at, Heard::Exited(exit)));
    }

    fn cancel(&mut self, id: &Value, at: Timestamp) {
        let is_its = |heard: &Heard| matches!(heard, Heard::Line(line) if serde_json::from_slice::<Value>(line).unwrap()["id"] == *id);
        if let Some(open) = self.coming.iter_mut().find(|(due, heard)| *due > at && is_its(heard)) {
            let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "cancelled"}});
            *open = (at, Heard::Line(error.to_string().into_bytes()));
        }
    }
}

impl Peer for Scripted {
    fn send(&mut self, line: Vec<u8>) {
        let message: Value = serde_json::from_slice(&line).unwrap();
        let (now, id) = (self.clock.now(), &message["id"]);
        let result = json!({"jsonrpc": "2.0", "id": id, "result": {}});
        match message["method"].as_str().unwrap() {
            "initialize" => {
                self.write(now, &result);
                self.coming.extend(self.script.greeting.clone().map(|heard| (now, heard)));
            }
            "ping" => self.write(now, &result),
            "request" => {
                let begins = if self.script.is_serial { self.free_at.max(now) } else { now };
                self.free_at = begins + self.script.takes;
                self.write(self.free_at, &result);
            }
            "cancel" if self.script.heeds_cancel => self.cancel(&message["params"]["ID"], now),
            "shutdown" if self.script.heeds_shutdown => self.exit(),
            _ if id.is_null() => {}
            _ => self.write(now, &json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "?"}})),
        }
    }

    fn close_input(&mut self) {
        self.script.is_buffered = false;
        if self.script.heeds_shutdown {
            self.exit();
        }
    }

    fn terminate(&mut self) {
        if self.script.heeds_sigterm {
            self.exit();
        }
    }

    fn hear(&mut self, within: Duration) -> Heard {
        let until = self.clock.now() + within;
        let first = (0..self.coming.len()).min_by_key(|at| self.coming[*at].0);
        match first.filter(|at| self.coming[*at].0 <= until && !self.script.is_buffered) {
            Some(at) => {
                let (due, heard) = self.coming.remove(at).unwrap();
                self.clock.advance(due.saturating_since(self.clock.now()));
                heard
            }
            None => {
                self.clock.advance(within);
                Heard::Nothing
            }
        }
    }

    fn left_behind(&mut self) -> Vec<String> {
        self.script.left_behind.clone()
    }
}

/// All sentences that are no `ok`, with their marks.
fn complaints(script: Script) -> Vec<(Mark, String)> {
    let json = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let timeout = Duration::from_secs(10);
    let options = Options { command: Vec::new(), requests: vec![json("1")], data: json("{}"), timeout };
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let mut said = Vec::new();
    check_with(&options, &mut Starter(script, Arc::clone(&clock)), &*clock, &mut |told| match told {
        Told::Found(finding) if finding.mark != Mark::Ok => said.push((finding.mark, finding.sentence)),
        Told::Found(_) | Told::Run(_) | Told::Log(_) => {}
    });
    said
}

fn said(script: Script) -> Vec<String> {
    complaints(script).into_iter().map(|(_, sentence)| sentence).collect()
}

#[test]
fn nothing_is_said_against_a_good_agent_however_long_its_requests_take() {
    for seconds in [0, 1, 9] {
        assert_eq!(complaints(Script { takes: Duration::from_secs(seconds), ..GOOD }), []);
    }
}

#[test]
fn what_serves_one_request_after_the_other_is_noted_and_not_wrong() {
    let script = Script { takes: Duration::from_secs(1), is_serial: true, ..GOOD };
    let note = "it serves one request after the other: a long one holds up the rest";
    assert_eq!(complaints(script), [(Mark::Note, note.to_owned())]);
}

#[test]
fn work_that_goes_on_after_cancel_is_noted_if_it_takes_long_enough_to_tell() {
    let script = Script { takes: Duration::from_secs(1), heeds_cancel: false, ..GOOD };
    assert_eq!(said(script), ["it works on after `cancel`, to the end: an answer that nobody waits for"]);
    assert_eq!(said(Script { heeds_cancel: false, ..GOOD }), [""; 0]);
}

#[test]
fn a_request_that_takes_too_long_is_missed_once() {
    let script = Script { takes: Duration::from_secs(60), ..GOOD };
    assert_eq!(said(script), ["no answer to the request 1 within 10s"]);
}

#[test]
fn what_is_held_back_until_the_end_of_stdin_is_a_matter_of_flushing() {
    let script = Script { is_buffered: true, ..GOOD };
    assert_eq!(said(script), ["its answer to `initialize` came only when stdin was closed"]);
}

#[test]
fn each_way_to_end_is_judged_by_itself() {
    let script = Script { heeds_shutdown: false, ..GOOD };
    let ends = ["`shutdown` does not end it within 10s", "the end of stdin alone does not end it within 10s"];
    assert_eq!(said(script), ends);
    assert_eq!(said(Script { heeds_sigterm: false, ..GOOD }), ["SIGTERM does not end it within 10s"]);
}

#[test]
fn what_is_left_behind_is_named() {
    let left = vec!["sleep (7)".to_owned(), "sh (9)".to_owned()];
    let script = Script { left_behind: left, ..GOOD };
    assert_eq!(said(script), ["it leaves processes behind: sleep (7), sh (9)"]);
}

#[test]
fn what_is_no_message_is_wrong_and_the_conversation_goes_on() {
    for (greeting, sentence) in [
        (Heard::Line(b"hello".to_vec()), "it writes a line to stdout that is not a message: not a JSON object"),
        (Heard::Line(b"\xff".to_vec()), "it writes a line to stdout that is not UTF-8"),
        (Heard::TooLong, "it writes a line without end to stdout"),
    ] {
        // Each run is greeted, and what is heard after the first one's end counts as well.
        let said = said(Script { greeting: Some(greeting), ..GOOD });
        assert!(!said.is_empty() && said.iter().all(|said| said == sentence), "{said:?}");
    }
}

#[test]
fn an_agent_that_finishes_by_itself_is_noted() {
    let finished = json!({"jsonrpc": "2.0", "method": "finished", "params": {}}).to_string().into_bytes();
    let said = said(Script { greeting: Some(Heard::Line(finished)), ..GOOD });
    assert_eq!(said[0], "it says `finished`: its session would end here");
}
