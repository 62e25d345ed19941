//! Requests that wait because their agent reads nothing: what becomes of them when the server or the agent goes.

use std::thread::{self, JoinHandle};

use frontdesk::principal::Scope;
use rusqlite::{Connection, OpenFlags};
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
fn keyed_requests_that_wait_behind_a_full_pipe_when_the_agent_is_killed_go_to_the_next_agent() {
    let mut desk = Desk::new("");
    let session = desk.open(ADA);
    let (agent, waiting) = ask_behind_a_full_pipe(&desk, &session);

    signal(agent, Signal::KILL);

    // 503 if the agent's loss came first: the caller has to ask again.
    let statuses = waiting.into_iter().map(|asked| asked.join().unwrap().unwrap().status).collect::<Vec<_>>();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
    assert_answered_by_the_next_agent(&desk, &session);
    assert!(desk.server.interrupt().success());
}

#[test]
fn keyed_requests_that_waited_when_both_server_and_agent_were_killed_go_to_the_next_agent() {
    let mut desk = Desk::new("");
    let session = desk.open(ADA);
    let (agent, waiting) = ask_behind_a_full_pipe(&desk, &session);

    desk.server.kill();
    assert!(waiting.into_iter().all(|asked| asked.join().unwrap().is_none()));
    signal(agent, Signal::KILL);
    let end = desk.server.data_dir().join("agents").join(&session.id).join("end");
    until("the shim has noted the agent's end", || end.exists());
    desk.server.start_again();

    assert_answered_by_the_next_agent(&desk, &session);
    assert!(desk.server.interrupt().success());
}

/// Keys of the requests that wait behind the large one.
const WAITING: [&str; 3] = ["a", "b", "c"];

/// Holds the session's agent, fills its pipe, and asks it under the keys of [`WAITING`].
fn ask_behind_a_full_pipe(desk: &Desk, session: &Opened) -> (u32, Vec<JoinHandle<Option<Answer>>>) {
    let operator = make_token(&desk.server, "operator", Scope::SessionsRead);
    let agent = desk.row(session).pid.unwrap();
    signal(agent, Signal::STOP);
    ask_aside(desk, session, None, &json!("x".repeat(LARGE_BYTES)));
    until("the large request is queued", || open_requests(desk, &operator, session) == 1);
    let waiting = WAITING.map(|key| ask_aside(desk, session, Some(key), &json!("hello")));
    until("the keyed requests are noted", || noted(desk) == WAITING.len());
    (agent, waiting.into())
}

fn assert_answered_by_the_next_agent(desk: &Desk, session: &Opened) {
    for key in WAITING {
        let ask = || ask_aside(desk, session, Some(key), &json!("hello")).join().unwrap().unwrap().status;
        until("the keyed request has an answer that stays", || ask() != 503);
        assert_eq!(ask(), 200, "{key}");
    }
    assert_eq!(desk.row(session).epoch, 2);
}

/// How many requests the session's agent has in flight, as an operator sees it.
fn open_requests(desk: &Desk, operator: &str, session: &Opened) -> usize {
    let headers = [("Authorization", &*format!("Bearer {operator}"))];
    let listed = items(&desk.server.send("GET", "/v1/sessions", &headers, b""));
    let listed = listed.iter().find(|listed| listed["id"] == session.id).unwrap();
    usize::try_from(listed["open_requests"].as_u64().unwrap()).unwrap()
}

/// How many keyed requests are on record.
fn noted(desk: &Desk) -> usize {
    let path = desk.server.data_dir().join("frontdesk.db");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let count: u32 = connection.query_row("SELECT count(*) FROM requests", [], |row| row.get(0)).unwrap();
    count as usize
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
