//! Requests that wait because their agent reads nothing: what becomes of them when the server or the agent goes.

use std::thread::{self, JoinHandle};

use frontdesk::principal::Scope;
use frontdesk::store::sqlite::inspect;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::desk::{BOB, Desk, Opened};
use crate::harness::{ADA, Answer, signal, try_send, until};
use crate::operators::{items, make_token};

/// More than a pipe holds.
const LARGE_BYTES: usize = 2_000_000;
const LARGE_REQUESTS: usize = 3;

#[test]
fn a_server_killed_while_keyed_requests_wait_behind_a_full_pipe_starts_again_and_hands_them_over() {
    let mut desk = Desk::new("");
    desk.server.add_customer(BOB);
    let operator = make_token(&desk.server, "operator", Scope::SessionsRead);
    let sessions = [desk.open(ADA), desk.open(BOB)];
    let (mut agents, mut asked) = (Vec::new(), Vec::new());
    for session in &sessions {
        let pid = desk.row(session).pid.unwrap();
        signal(pid, Signal::STOP);
        agents.push(pid);
        asked.extend((0..LARGE_REQUESTS).map(|_| ask_aside(&desk, session, None, &json!("x".repeat(LARGE_BYTES)))));
        until("the large requests are queued", || open_requests(&desk, &operator, session) == LARGE_REQUESTS);
        asked.push(ask_aside(&desk, session, Some("a"), &json!("hello")));
    }
    until("the keyed requests are noted", || noted(&desk) == sessions.len());

    desk.server.kill();
    assert!(asked.into_iter().all(|asked| asked.join().unwrap().is_none()));
    desk.server.start_again();

    assert_eq!(desk.server.send("GET", "/serverRunning", &[], b"").status, 200);
    agents.iter().for_each(|pid| signal(*pid, Signal::CONT));
    for session in &sessions {
        // The first call may be 503: the server is about to free the key of a request that was not handed over.
        until("the keyed request is answered", || {
            ask_aside(&desk, session, Some("a"), &json!("hello")).join().unwrap().unwrap().status == 200
        });
        assert_eq!(desk.row(session).epoch, 1);
    }
    assert!(desk.server.interrupt().success());
}

#[test]
fn a_keyed_request_that_waits_behind_a_full_pipe_when_its_agent_dies_is_handed_to_the_next_one() {
    let desk = Desk::new("");
    let operator = make_token(&desk.server, "operator", Scope::SessionsRead);
    let ada = desk.open(ADA);
    let agent = desk.row(&ada).pid.unwrap();
    signal(agent, Signal::STOP);
    let large: Vec<_> =
        (0..LARGE_REQUESTS).map(|_| ask_aside(&desk, &ada, None, &json!("x".repeat(LARGE_BYTES)))).collect();
    until("the large requests are queued", || open_requests(&desk, &operator, &ada) == LARGE_REQUESTS);
    let keyed = ask_aside(&desk, &ada, Some("a"), &json!("hello"));
    until("the keyed request is noted", || noted(&desk) == 1);

    signal(agent, Signal::KILL);

    assert_eq!(keyed.join().unwrap().unwrap().pair(), (503, "AGENT_RESTARTING".into()));
    for large in large {
        assert!(matches!(large.join().unwrap().unwrap().status, 502 | 503));
    }
    until("the next agent answers it", || {
        let answer = ask_aside(&desk, &ada, Some("a"), &json!("hello")).join().unwrap().unwrap();
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        answer.status == 200
    });
    assert_eq!(desk.row(&ada).epoch, 2);
}

/// How many requests the session's agent has in flight, as an operator sees it.
fn open_requests(desk: &Desk, operator: &str, session: &Opened) -> usize {
    let headers = [("Authorization", &*format!("Bearer {operator}"))];
    let listed = items(&desk.server.send("GET", "/v1/sessions", &headers, b""));
    let listed = listed.iter().find(|listed| listed["id"] == session.id).unwrap();
    usize::try_from(listed["open_requests"].as_u64().unwrap()).unwrap()
}

/// How many sessions have a keyed request on record.
fn noted(desk: &Desk) -> usize {
    inspect::read(&desk.server.data_dir().join("frontdesk.db")).unwrap().noted.len()
}

/// Asks from another thread; no answer if the server dies over it.
fn ask_aside(desk: &Desk, session: &Opened, key: Option<&'static str>, request: &Value) -> JoinHandle<Option<Answer>> {
    let address = desk.server.address;
    let body = json!({"EMAIL": session.email, "REQUEST": request, "TOKEN": session.token}).to_string();
    thread::spawn(move || {
        let headers: Vec<_> = key.map(|key| ("Idempotency-Key", key)).into_iter().collect();
        try_send(address, "PUT", "/handleSessionRequests", &headers, body.as_bytes()).ok()
    })
}
