//! Clients that are gone in the middle of a call that may last for ever.

use std::net::Shutdown;

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Setup, repository, until};
use crate::operators::Operated;
use crate::stream::Stream;
use crate::wire::Wire;

#[test]
fn a_stream_whose_client_has_closed_its_half_ends_also_if_nothing_is_said() {
    let (desk, session) = waiting();
    let id = session.session_id();
    let paths = [format!("/v1/sessions/{id}/logs?follow=true&tail=0"), "/v1/events".into(), of(&session, "/events")];
    let streams = paths.map(|path| Stream::open(desk.server.address, &path, &[("Authorization", &bearer(&desk))]));

    for stream in &streams {
        stream.connection().shutdown(Shutdown::Write).unwrap();
    }

    for mut stream in streams {
        // It would fail after a minute in which nothing comes.
        stream.rest();
    }
}

#[test]
fn a_stream_that_ends_soon_is_read_whole_by_a_client_that_has_closed_its_half() {
    let (desk, session) = waiting();
    desk.server.stop(&session.session_id(), &session.token());
    let ended = desk.call(Scope::SessionsRead, "GET", &of(&session, "?wait=60s&until=ENDED"), &Value::Null);
    assert_eq!(ended.json()["phase"], "ENDED");
    let mut wire = Wire::open(desk.server.address);
    let (path, bearer) = (of(&session, "/events"), bearer(&desk));
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n");
    wire.write(format!("{head}Accept: text/event-stream\r\n\r\n").as_bytes());
    wire.finish();
    let text = String::from_utf8(wire.rest()).unwrap();
    assert!(text.contains("\"phase\":\"ENDED\"") && text.ends_with("\r\n0\r\n\r\n"), "{text}");
}

#[test]
fn a_long_poll_is_given_up_for_a_client_that_is_gone_and_answered_to_one_that_closed_its_half_in_time() {
    let (desk, session) = waiting();
    until("nobody is there", || connections(&desk) == 0);
    let polls = || {
        let mut wire = Wire::open(desk.server.address);
        let (path, bearer) = (of(&session, "?wait=5m&until=ENDED"), bearer(&desk));
        wire.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\n\r\n").as_bytes());
        wire
    };
    let (mut closed, reset) = (polls(), polls());
    until("both are there", || connections(&desk) == 2);

    reset.reset();
    until("one is gone", || connections(&desk) == 1);
    closed.finish();
    assert_eq!(closed.rest(), b"", "nobody was left to answer");
    until("both are gone", || connections(&desk) == 0);

    let mut closed = polls();
    closed.finish();
    desk.server.stop(&session.session_id(), &session.token());
    let answer = closed.answer();
    assert_eq!((answer.status, &answer.json()["phase"]), (200, &json!("ENDED")));
}

#[test]
fn a_request_is_cancelled_for_a_client_that_is_gone() {
    let (desk, session) = waiting();
    let files = tempfile::tempdir().unwrap();
    let ask = |name: &str| {
        let body = json!({"request": {"parts": [name], "hold": files.path().join(name)}}).to_string();
        let (path, token, length) = (of(&session, "/requests"), session.token(), body.len());
        let mut wire = Wire::open(desk.server.address);
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
        let entity = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        wire.write(format!("{head}{entity}").as_bytes());
        wire
    };
    let events = Stream::open(desk.server.address, &of(&session, "/events"), &[("Authorization", &bearer(&desk))]);
    let (reset, mut closed) = (ask("reset"), ask("closed"));
    told(events, 2);

    reset.reset();
    until("the agent was told", || files.path().join("reset.cancelled").exists());
    closed.finish();
    assert_eq!(closed.rest(), b"");
    until("the agent was told", || files.path().join("closed.cancelled").exists());

    let mut closed = ask("answered");
    closed.finish();
    std::fs::write(files.path().join("answered"), "").unwrap();
    assert_eq!(closed.answer().status, 200);
}

/// Returns once so many outputs were told.
fn told(mut events: Stream, outputs: usize) {
    let mut seen = 0;
    while seen < outputs {
        let frame = events.next().unwrap();
        if frame.name == "output" {
            seen += frame.data["body"].as_array().unwrap().len();
        }
    }
}

/// Ada's running session with an agent that answers when it is told to.
fn waiting() -> (Operated, Answer) {
    let script = repository().join("tests/it/agents/parts.py");
    let command = json!(["python3", "-u", script]);
    let desk = Operated::new(Setup::with_config(&format!("[personas.CUSTOMERS]\ncommand = {command}\n")));
    let created = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    (desk, created)
}

fn of(session: &Answer, below: &str) -> String {
    format!("/v1/sessions/{}{below}", session.session_id())
}

fn bearer(desk: &Operated) -> String {
    format!("Bearer {}", desk.token(Scope::SessionsRead))
}

/// How many connections the server has, those among them whose client is gone and that it has not closed.
fn connections(desk: &Operated) -> usize {
    let port = format!(":{:04X}", desk.server.address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Established, and closed by the other side alone.
    rows.filter(|row| row[1].ends_with(&port) && ["01", "08"].contains(&row[3])).count()
}
