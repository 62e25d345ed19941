//! Requests with an `Idempotency-Key` reach their agent at most once, and whoever asks again gets the same answer, from
//! the next server, too.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::desk::{Desk, Opened, persona};
use crate::harness::{ADA, Answer, try_send, until};
#[cfg(feature = "failpoints")]
use crate::harness::{Server, Setup};

/// An agent that says a part of its answer at once, and the rest when there is a file.
pub const PARTS: &str = concat!(
    "[personas.CUSTOMERS]\ncommand = [\"python3\", \"-u\", \"",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/agents/parts.py\"]\n"
);

#[test]
fn a_request_that_is_sent_again_under_its_key_is_answered_alike_and_handled_once() {
    let (desk, ada) = opened();
    let first = ask(&desk, &ada, "a", &json!("hello"));
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(ask(&desk, &ada, "a", &json!("hello")).json(), first.json());
    assert_eq!(handled(&ask(&desk, &ada, "b", &json!("hello"))), handled(&first) + 1);
}

#[test]
fn requests_under_one_key_at_once_are_one_request() {
    let (desk, ada) = opened();
    let asked: Vec<_> = (0..8).map(|_| ask_aside(&desk, &ada, "a", &json!({"sleep_ms": 200}))).collect();
    let answers: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && handled(answer) == 1), "{answers:?}");
    assert_eq!(handled(&desk.ask(&ada, &json!(1))), 2);
}

#[test]
fn a_key_that_comes_with_another_request_is_refused() {
    let (desk, ada) = opened();
    assert_eq!(ask(&desk, &ada, "a", &json!(1)).status, 200);
    assert_eq!(ask(&desk, &ada, "a", &json!(2)).pair(), (400, "INVALID_REQUEST".into()));
    for key in ["", &"x".repeat(256)] {
        assert_eq!(ask(&desk, &ada, key, &json!(1)).pair(), (400, "INVALID_REQUEST".into()));
    }
}

#[test]
fn the_agent_s_refusal_is_an_answer_like_any_other() {
    let (desk, ada) = opened();
    for _ in 0..2 {
        let answer = ask(&desk, &ada, "a", &json!({"fail": "no such room"}));
        assert_eq!((answer.pair(), &answer.json()["DETAIL"]), ((502, "AGENT_ERROR".into()), &json!("no such room")));
    }
}

#[test]
fn a_request_whose_agent_ended_is_never_handed_to_another() {
    let (desk, ada) = opened();
    assert_eq!(ask(&desk, &ada, "a", &json!({"exit": 3})).pair(), (502, "AGENT_ERROR".into()));
    until("the next agent answers", || desk.ask(&ada, &json!(1)).status == 200);
    let epoch = desk.row(&ada).epoch;
    assert_eq!(ask(&desk, &ada, "a", &json!({"exit": 3})).pair(), (502, "AGENT_ERROR".into()));
    assert_eq!((desk.row(&ada).epoch, desk.ask(&ada, &json!(1)).status), (epoch, 200));
}

#[test]
fn an_answer_outlives_the_server_that_gave_it() {
    let (mut desk, ada) = opened();
    let first = ask(&desk, &ada, "a", &json!("hello"));
    desk.server.kill();
    desk.server.start_again();
    assert_eq!(ask(&desk, &ada, "a", &json!("hello")).json(), first.json());
}

#[test]
fn a_request_under_way_when_the_server_is_killed_is_answered_by_the_next_one() {
    let (mut desk, ada) = opened_with(PARTS);
    let (held, hold) = held(&desk);
    let lost = ask_aside(&desk, &ada, "a", &held);
    until("the agent works on it", || has_said_a_part(&desk, &ada));
    desk.server.kill();
    assert!(lost.join().unwrap().is_none());
    desk.server.start_again();
    std::fs::write(hold, "").unwrap();

    let answer = ask(&desk, &ada, "a", &held);

    assert_eq!((answer.status, &answer.json()["RESPONSE"]), (200, &json!(1)), "{answer:?}");
    assert_eq!(desk.ask(&ada, &held).json()["RESPONSE"], 2);
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[test]
fn a_request_that_was_answered_while_no_server_ran_is_answered_by_the_next_one() {
    let (mut desk, ada) = opened_with(PARTS);
    let (held, hold) = held(&desk);
    let lost = ask_aside(&desk, &ada, "a", &held);
    until("the agent works on it", || has_said_a_part(&desk, &ada));
    desk.server.kill();
    assert!(lost.join().unwrap().is_none());
    std::fs::write(hold, "").unwrap();
    let spool = desk.server.data_dir().join("agents").join(&ada.id).join("spool");
    until("the agent has answered", || {
        std::fs::read(&spool).is_ok_and(|said| String::from_utf8_lossy(&said).contains("\"result\": 1"))
    });
    desk.server.start_again();

    assert_eq!(ask(&desk, &ada, "a", &held).json()["RESPONSE"], 1);
    assert_eq!(desk.ask(&ada, &held).json()["RESPONSE"], 2);
}

#[test]
fn an_answer_is_given_again_once_its_session_has_ended_through_both_interfaces() {
    let (mut desk, ada) = opened();
    let first = ask(&desk, &ada, "a", &json!("hello"));
    desk.stop(&ada);
    until("the session has ended", || desk.row(&ada).phase == "ENDED");
    for _ in 0..2 {
        assert_eq!(ask(&desk, &ada, "a", &json!("hello")).json(), first.json());
        let again = ask_v1(&desk, &ada, "a", &json!("hello"));
        assert_eq!((again.status, &again.json()["response"]), (200, &first.json()["RESPONSE"]));
        assert_eq!(ask_v1(&desk, &ada, "a", &json!("bye")).json()["code"], "idempotency_key_reused");
        assert_eq!(ask_v1(&desk, &ada, "b", &json!("hello")).json()["code"], "wrong_phase");
        desk.server.kill();
        desk.server.start_again();
    }
}

#[test]
fn an_answer_is_given_again_while_the_agent_is_restarted() {
    let (desk, ada) = opened();
    let first = ask(&desk, &ada, "a", &json!("hello"));
    // Each loss doubles the wait, so that one of them is long enough to be seen.
    until("a restart waits", || desk.ask(&ada, &json!({"exit": 9})).status == 503);
    assert_eq!(ask(&desk, &ada, "a", &json!("hello")).json(), first.json());
}

#[test]
fn a_request_whose_time_ran_out_is_answered_alike_when_it_is_sent_again() {
    let desk = Desk::new(&persona("CUSTOMERS", "[\"frontdesk\", \"agent\", \"echo\"]", "request_timeout = \"300ms\""));
    let ada = desk.open(ADA);
    let slow = json!({"sleep_ms": 600});
    for _ in 0..3 {
        assert_eq!(ask(&desk, &ada, "a", &slow).pair(), (504, "AGENT_TIMEOUT".into()));
        assert_eq!(ask_v1(&desk, &ada, "a", &slow).json()["code"], "agent_timeout");
    }
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[cfg(feature = "failpoints")]
#[test]
fn requests_while_the_loss_of_their_agent_is_not_yet_stored_are_to_come_again_and_are_answered_then() {
    let directory = tempfile::tempdir().unwrap();
    let (when, resume) = (directory.path().join("when"), directory.path().join("resume"));
    let setup = Setup::default()
        .env("FRONTDESK_FAILPOINT", "after-agent-end=pause")
        .env("FRONTDESK_FAILPOINT_WHEN", when.to_str().unwrap())
        .env("FRONTDESK_FAILPOINT_RESUME", resume.to_str().unwrap());
    let desk = Desk { server: Server::start(setup) };
    desk.server.add_customer(ADA);
    let ada = desk.open(ADA);
    std::fs::write(&when, "").unwrap();
    let last = desk.ask_aside(&ada, &json!({"exit": 3}));
    until("the agent is gone, and that is not stored", || !when.exists());

    let refused = [desk.ask(&ada, &json!(1)), ask(&desk, &ada, "a", &json!("once"))];

    for answer in refused {
        assert_eq!(answer.pair(), (503, "AGENT_RESTARTING".into()));
        assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
    }
    std::fs::write(&resume, "").unwrap();
    assert_eq!(last.join().unwrap().pair(), (502, "AGENT_ERROR".into()));
    until("the next agent answers", || ask(&desk, &ada, "a", &json!("once")).status == 200);
    assert_eq!(desk.row(&ada).epoch, 2);
}

fn opened() -> (Desk, Opened) {
    opened_with("")
}

fn opened_with(config: &str) -> (Desk, Opened) {
    let desk = Desk::new(config);
    let ada = desk.open(ADA);
    (desk, ada)
}

/// A request that [`PARTS`] says a part of at once and answers when there is the file, and that file.
fn held(desk: &Desk) -> (Value, PathBuf) {
    let hold = desk.server.path("hold");
    (json!({"parts": ["begun"], "hold": hold}), hold)
}

/// Whether the session's agent has said a part of an answer.
pub fn has_said_a_part(desk: &Desk, session: &Opened) -> bool {
    let authorization = format!("Bearer {}", session.token);
    let headers = [("Authorization", &*authorization), ("Accept", "application/json")];
    let events = desk.server.send("GET", &format!("/v1/sessions/{}/events", session.id), &headers, b"").json();
    events["items"].as_array().unwrap().iter().any(|event| event["kind"] == "output")
}

fn ask(desk: &Desk, session: &Opened, key: &str, request: &Value) -> Answer {
    ask_aside(desk, session, key, request).join().unwrap().unwrap()
}

fn ask_v1(desk: &Desk, session: &Opened, key: &str, request: &Value) -> Answer {
    let path = format!("/v1/sessions/{}/requests", session.id);
    let authorization = format!("Bearer {}", session.token);
    let headers = [("Authorization", &*authorization), ("Idempotency-Key", key), ("Content-Type", "application/json")];
    desk.server.send("POST", &path, &headers, json!({"request": request}).to_string().as_bytes())
}

/// Asks from another thread; no answer if the server dies over it.
fn ask_aside(desk: &Desk, session: &Opened, key: &str, request: &Value) -> JoinHandle<Option<Answer>> {
    let (address, key) = (desk.server.address, key.to_owned());
    let body = json!({"EMAIL": session.email, "REQUEST": request, "TOKEN": session.token}).to_string();
    thread::spawn(move || {
        let headers = [("Idempotency-Key", key.as_str())];
        try_send(address, "PUT", "/handleSessionRequests", &headers, body.as_bytes()).ok()
    })
}

/// How many requests the agent had handled with this one.
fn handled(answer: &Answer) -> u64 {
    answer.json()["RESPONSE"]["handled"].as_u64().unwrap_or_else(|| panic!("{answer:?}"))
}
