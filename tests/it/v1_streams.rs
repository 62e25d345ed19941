//! Streams lose nothing, tell what they left out, and hold up nobody.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::{Desk, Opened, persona};
use crate::harness::{ADA, Answer, Setup, repository, signal, until};
use crate::operators::{Operated, problem};
use crate::stream::Stream;

mod all;
mod cut;
mod logs;
mod many;
mod requests;

const EVENT_STREAM: (&str, &str) = ("Accept", "text/event-stream");

#[test]
fn a_stream_begins_with_the_session_and_ends_with_its_end() {
    let desk = Desk::new("");
    let ada = started(&desk);
    let mut stream = follow(&desk, &ada, &[]);
    assert_eq!((stream.status, &*stream.headers["content-type"]), (200, "text/event-stream"));
    let snapshot = stream.expect("snapshot");
    assert_eq!((&snapshot["id"], &snapshot["phase"]), (&json!(ada.id), &json!("RUNNING")));
    assert_eq!(snapshot["last"], 3, "{snapshot}");
    desk.ask(&ada, &json!({"event": {"n": [1, null]}}));
    desk.stop(&ada);

    let frames: Vec<_> = std::iter::from_fn(|| stream.next()).collect();

    assert!(frames.iter().map(|frame| frame.id.unwrap()).eq(1..=frames.len() as u64), "{frames:?}");
    let told: Vec<_> = frames.iter().map(|frame| (&*frame.name, frame.data["body"]["phase"].as_str())).collect();
    let phases = ["PENDING", "STARTING", "RUNNING", "STOPPING", "ENDED"].map(|phase| ("transition", Some(phase)));
    assert_eq!(told, [&phases[..3], &[("event", None)], &phases[3..]].concat());
    assert_eq!(frames[3].data["body"], json!({"n": [1, null]}));
    let last = frames.len().to_string();
    assert_eq!(follow(&desk, &ada, &[("Last-Event-ID", &last)]).status, 204, "browsers stop at it");
    // Who knows less gets the rest.
    let mut stream = follow(&desk, &ada, &[("Last-Event-ID", "4")]);
    assert_eq!(stream.expect("snapshot")["phase"], "ENDED");
    assert_eq!(std::iter::from_fn(|| stream.next()).map(|frame| frame.id).collect::<Vec<_>>(), [Some(5), Some(6)]);
}

#[test]
fn a_reader_is_told_which_events_are_gone() {
    let desk = Desk::new("[events]\nkeep = \"64 KiB\"\n");
    let ada = desk.open(ADA);
    for n in 0..20 {
        assert_eq!(desk.ask(&ada, &json!({"event": {"n": n, "text": "x".repeat(10_000)}})).status, 200);
    }
    until("all are kept", || page(&desk, &ada, "").json()["last"] == 23);
    let first = page(&desk, &ada, "").json()["first"].as_u64().unwrap();
    assert!(first > 10, "{first}");

    let mut stream = follow(&desk, &ada, &[("Last-Event-ID", "2")]);
    stream.expect("snapshot");
    assert_eq!(stream.expect("gap"), json!({"first": first}));
    assert_eq!(stream.next().unwrap().id, Some(first));

    let mut stream = follow(&desk, &ada, &[("Last-Event-ID", &(first - 1).to_string())]);
    stream.expect("snapshot");
    assert_eq!(stream.next().unwrap().id, Some(first), "nothing was missed");
}

#[test]
fn events_are_read_by_pages_as_well() {
    let desk = Desk::new("");
    let ada = desk.open(ADA);
    desk.stop(&ada);
    until("the end is told", || page(&desk, &ada, "").json()["last"] == 5);
    let (mut numbers, mut after) = (Vec::new(), 0);
    loop {
        let page = page(&desk, &ada, &format!("?limit=2&after={after}")).json();
        assert_eq!((&page["first"], &page["last"]), (&json!(1), &json!(5)));
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        let Some(last) = items.last() else { break };
        after = last["number"].as_u64().unwrap();
        numbers.extend(items.iter().map(|item| item["number"].as_u64().unwrap()));
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    for query in ["?limit=0", "?limit=1001", "?after=-1", "?after=x"] {
        assert_eq!(problem(&page(&desk, &ada, query)), (400, "invalid_request".into()), "{query}");
    }
    assert_eq!(follow(&desk, &ada, &[("Last-Event-ID", "x")]).status, 400);
}

#[test]
fn before_the_server_goes_a_stream_says_so() {
    let mut desk = Desk::new("");
    let ada = started(&desk);
    let mut stream = follow(&desk, &ada, &[("Last-Event-ID", "3")]);
    stream.expect("snapshot");

    signal(desk.server.pid(), rustix::process::Signal::TERM);

    assert!(stream.expect("draining")["retry_after"].as_u64().unwrap() > 0);
    assert_eq!(stream.next(), None);
    assert!(desk.server.wait().success());
}

#[test]
fn a_reader_that_reads_nothing_does_not_hold_a_server_that_is_told_to_stop() {
    let mut desk = Desk::new("");
    let ada = started(&desk);
    let idle = follow(&desk, &ada, &[]);
    // More than the kernel keeps for a reader.
    for n in 0..6 {
        assert_eq!(desk.ask(&ada, &json!({"event": {"n": n, "text": "x".repeat(1_000_000)}})).status, 200);
    }
    until("all are told", || page(&desk, &ada, "?limit=1").json()["last"] == 9);

    signal(desk.server.pid(), rustix::process::Signal::TERM);

    assert!(desk.server.wait().success(), "nothing was cut off");
    drop(idle);
}

#[test]
fn readers_that_read_nothing_hold_up_nobody_and_cost_little() {
    const READERS: usize = 20;
    const EVENTS: usize = 150;
    let desk = Desk::new("");
    let ada = started(&desk);
    let idle: Vec<_> = (0..READERS).map(|_| follow(&desk, &ada, &[])).collect();
    let mut reader = follow(&desk, &ada, &[("Last-Event-ID", "3")]);
    reader.expect("snapshot");
    let before = resident(desk.server.pid());
    let text = "x".repeat(100_000);

    for n in 0..EVENTS {
        assert_eq!(desk.ask(&ada, &json!({"event": {"n": n, "text": text}})).status, 200);
        assert_eq!(reader.expect("event")["body"]["n"], n);
    }

    // All of it in the memory of each would be 300 MB.
    let grown = resident(desk.server.pid()).saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes");
    drop(idle);
}

#[test]
fn readers_that_read_nothing_hold_little_of_a_large_event() {
    const READERS: usize = 24;
    let desk = Desk::new("");
    let ada = started(&desk);
    let mut reader = follow(&desk, &ada, &[("Last-Event-ID", "3")]);
    reader.expect("snapshot");
    // 4 MB, in which no part of an even length begins where a character does.
    let text = format!("x{}", "\u{e9}\\\"".repeat(650_000));
    let mut tell = || {
        assert_eq!(desk.ask(&ada, &json!({"event": {"text": text}})).status, 200);
        assert!(reader.expect("event")["body"]["text"] == text);
    };
    // What it takes whoever reads it is taken here.
    tell();
    let before = resident(desk.server.pid());
    let idle: Vec<_> = (0..READERS).map(|_| follow(&desk, &ada, &[("Last-Event-ID", "4")])).collect();

    // The second one is more than the kernel takes for a reader.
    tell();
    tell();

    // Three times in the memory of each, one of them would be 288 MB. What is told passes through the server's memory,
    // too, and the allocator keeps some of that.
    let grown = resident(desk.server.pid()).saturating_sub(before);
    assert!(grown < 160 << 20, "{grown} bytes");
    drop(idle);
}

#[test]
fn a_stream_ends_soon_after_what_opened_it() {
    let desk = Operated::new(Setup::default());
    let created = desk.server.create(ADA, json!({}));
    desk.server.initialise(ADA.0);
    let (id, read) = (created.session_id(), Scope::SessionsRead);
    let signed_in = desk.send("POST", "/v1/console/session", &[], &json!({"token": desk.token(Scope::Admin)}));
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let (bearer, customers) = (format!("Bearer {}", desk.token(read)), format!("Bearer {}", created.token()));
    let paths =
        [format!("/v1/sessions/{id}/events"), "/v1/events".into(), format!("/v1/sessions/{id}/logs?follow=true")];
    let open = |header: (&str, &str), path: &str| {
        let stream = Stream::open(desk.server.address, path, &[header, ("Sec-Fetch-Site", "same-origin")]);
        assert_eq!(stream.status, 200, "{path}");
        stream
    };
    let mut ending: Vec<_> = paths.iter().map(|path| open(("Authorization", &bearer), path)).collect();
    ending.extend(paths.iter().map(|path| open(("Cookie", &cookie), path)));
    ending.push(open(("Authorization", &customers), &paths[0]));

    revoke(&desk, read);
    desk.send("DELETE", "/v1/console/session", &[("Cookie", &cookie), ("Sec-Fetch-Site", "same-origin")], &Value::Null);
    for _ in 0..4 {
        assert_eq!(desk.server.create(ADA, json!({})).status, 400, "a newer token of the session");
    }

    for mut stream in ending {
        stream.rest();
    }
}

/// Revokes the token of a scope's operator.
fn revoke(desk: &Operated, scope: Scope) {
    let tokens = crate::operators::items(&desk.call(Scope::Admin, "GET", "/v1/tokens", &Value::Null));
    let token = tokens.iter().find(|token| token["name"] == scope.name()).unwrap()["id"].as_str().unwrap();
    assert_eq!(desk.call(Scope::Admin, "DELETE", &format!("/v1/tokens/{token}"), &Value::Null).status, 204);
}

/// A running session of which that is told already.
fn started(desk: &Desk) -> Opened {
    let session = desk.open(ADA);
    until("the start is told", || page(desk, &session, "").json()["last"] == 3);
    session
}

/// Follows a session by its token.
fn follow(desk: &Desk, session: &Opened, headers: &[(&str, &str)]) -> Stream {
    let bearer = format!("Bearer {}", session.token);
    let headers = [&[("Authorization", &*bearer), EVENT_STREAM], headers].concat();
    Stream::open(desk.server.address, &format!("/v1/sessions/{}/events", session.id), &headers)
}

/// A page of a session's events.
fn page(desk: &Desk, session: &Opened, query: &str) -> Answer {
    let bearer = format!("Bearer {}", session.token);
    let headers = [("Authorization", &*bearer), ("Accept", "application/json")];
    desk.server.send("GET", &format!("/v1/sessions/{}/events{query}", session.id), &headers, b"")
}

/// The persona `CUSTOMERS` with the agent that tells, which writes into this directory, and further keys.
fn telling(directory: &std::path::Path, more: &[&str], keys: &str) -> String {
    let script = repository().join("tests/it/agents/telling.py");
    let mut command = vec!["python3", "-u", script.to_str().unwrap(), directory.to_str().unwrap()];
    command.extend(more);
    persona("CUSTOMERS", &json!(command).to_string(), keys)
}

/// What a process has in memory, in bytes.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
