//! `PUT /v1/sessions/{id}/data`.

use std::time::Duration;

use serde_json::json;

use crate::desk::faulty;
use crate::harness::{ADA, Server, until};
use crate::wire::Wire;

use super::{JSON, Opened, adas, create, opened, problem, running, server};

#[test]
fn data_of_any_size_takes_the_place_of_what_came_with_the_creation() {
    let server = server(&faulty(&["on-request"], ""));
    let session = opened(&server);
    let large = [b"{\"a\":[\"", &[b'x'; 200_000][..], b"\"]}"].concat();
    assert_eq!(session.put_data(&server, &large).status, 204);
    assert_eq!(session.put_data(&server, b"{\"b\": 1}").status, 204);
    assert_eq!(session.put_data(&server, b"{\"b\": 1}").status, 204);
    assert_eq!(session.initialise(&server).status, 200);
    assert_eq!(data_of(&server, &session), json!({"from": "line", "bytes": 8}));
    assert_eq!(problem(&session.put_data(&server, b"{}")), (409, "wrong_phase".into()));
    session.end(&server);
    assert_eq!(problem(&session.put_data(&server, b"{}")), (409, "wrong_phase".into()));
}

#[test]
fn a_hundred_megabytes_pass_through_little_memory() {
    let server = server(&faulty(&["on-request"], "start_timeout = \"5m\"\nrequest_timeout = \"5m\""));
    let session = opened(&server);
    let one = format!("\"{}\"", "0123456789".repeat(100_000));
    let data = format!("{{\"a\": [{}]}}", vec![one; 100].join(", "));
    let before = server.peak_memory();
    assert_eq!(session.put_data(&server, data.as_bytes()).status, 204);
    let taken = server.peak_memory() - before;
    assert!(taken < 24 << 20, "{taken} bytes for {}", data.len());
    let answer = session.call(&server, "POST", "/initialize?wait=5m", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(data_of(&server, &session), json!({"from": "file", "bytes": data.len()}));
}

#[test]
fn of_data_that_is_refused_nothing_stays() {
    let server = server(&(faulty(&["on-request"], "") + "[limits]\ndata = \"1 MiB\"\n"));
    let session = Opened::of(&create(&server, &[], &adas(json!({"first": true}))));
    for body in ["", "{", "[]", "1", "{} {}", "{\"a\":1,\"a\":2}", &("[".repeat(600) + &"]".repeat(600))] {
        assert_eq!(problem(&session.put_data(&server, body.as_bytes())), (400, "invalid_request".into()), "{body}");
    }
    assert_eq!(problem(&session.put_data(&server, b"{\"a\":\"\xff\"}")), (400, "invalid_request".into()));
    let large = [&b"{\"a\":\""[..], &[b'x'; 1 << 20], b"\"}"].concat();
    assert_eq!(problem(&session.put_data(&server, &large)), (413, "request_too_large".into()));
    let chunked = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
    let unannounced = session.call(&server, "PUT", "/data", &[JSON, ("Transfer-Encoding", "chunked")], &chunked);
    assert_eq!(problem(&unannounced), (413, "request_too_large".into()));
    for headers in [&[][..], &[("Content-Type", "text/plain")], &[JSON, ("Content-Encoding", "gzip")]] {
        let answer = session.call(&server, "PUT", "/data", headers, b"{}");
        assert_eq!(problem(&answer), (415, "unsupported_content_type".into()), "{headers:?}");
    }
    let mut broken = begin(&server, &session, 100_000);
    broken.write(&[&b"{\"a\":\""[..], &[b'x'; 90_000]].concat());
    until("some of it is on the disk", || files(&server) > 0);
    drop(broken);
    until("nothing of it is left", || files(&server) == 0);
    assert_eq!(session.initialise(&server).status, 200);
    assert_eq!(data_of(&server, &session), json!({"from": "line", "bytes": "{\"first\": true}".len()}));
}

#[test]
fn an_upload_whose_answer_was_never_read_can_be_sent_again() {
    let server = server(&faulty(&["on-request"], ""));
    let session = opened(&server);
    session.call_and_hang_up(&server, "PUT", "/data", "Content-Type: application/json\r\n", b"{\"again\": 1}");
    assert_eq!(session.put_data(&server, b"{\"again\": 1}").status, 204);
    assert_eq!(session.initialise(&server).status, 200);
    assert_eq!(data_of(&server, &session), json!({"from": "line", "bytes": 12}));
}

#[test]
fn an_upload_that_hardly_moves_is_ended_and_nothing_of_it_stays() {
    let server = server("");
    let session = opened(&server);
    let mut slow = begin(&server, &session, 100_000);
    slow.write(b"{\"a\":\"");
    let answer = std::thread::scope(|scope| {
        let dripping = scope.spawn(move || {
            for _ in 0..300 {
                if !slow.write(b"x") {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            slow.answer()
        });
        dripping.join().unwrap()
    });
    assert_eq!(problem(&answer), (408, "request_timeout".into()));
    until("nothing of it is left", || files(&server) == 0);
}

#[test]
fn uploads_that_stall_are_bounded_and_hold_up_nothing_else() {
    const MOST: usize = 16;
    const OF_ONE: usize = 4;
    let server = server("");
    let emails: Vec<_> = (0..=MOST - OF_ONE + 1).map(|n| format!("customer{n}@example.com")).collect();
    let sessions: Vec<_> = emails
        .iter()
        .map(|email| {
            server.add_customer((email, ADA.1));
            let body = json!({"email": email, "password": ADA.1, "persona": "CUSTOMERS", "data": {}});
            Opened::of(&create(&server, &[], &body))
        })
        .collect();
    let (last, first) = (&sessions[MOST - OF_ONE + 1], &sessions[0]);
    let stall = |session| {
        let mut wire = begin(&server, session, 100_000);
        wire.write(b"{\"a\":\"");
        wire
    };
    let mut stalled: Vec<_> = (0..OF_ONE).map(|_| stall(first)).collect();
    until("they are being received", || files(&server) == OF_ONE);
    let refused = first.put_data(&server, b"{}");
    assert_eq!(problem(&refused), (503, "server_busy".into()), "so many of a session");
    assert_eq!(refused.header("retry-after"), "1");
    stalled.extend(sessions[1..=MOST - OF_ONE].iter().map(stall));
    until("all are being received", || files(&server) == MOST);
    assert_eq!(problem(&last.put_data(&server, b"{}")), (503, "server_busy".into()), "so many in all");
    assert_eq!(last.see(&server)["phase"], "PENDING", "other calls go on");

    drop(stalled);

    until("one may be sent again", || last.put_data(&server, b"{}").status == 204);
    until("of every session", || first.put_data(&server, b"{}").status == 204);
}

#[test]
fn a_session_that_was_started_meanwhile_keeps_what_its_agent_got() {
    let server = server(&faulty(&["on-request"], ""));
    let session = opened(&server);
    let mut late = begin(&server, &session, 8);
    late.write(b"{\"b\":");
    until("it is being received", || files(&server) > 0);
    assert_eq!(session.initialise(&server).status, 200);
    late.write(b" 1}");
    assert_eq!(problem(&late.answer()), (409, "wrong_phase".into()));
    assert_eq!(data_of(&server, &session), json!({"from": "line", "bytes": 2}));
    until("nothing of it is left", || files(&server) == 0);
    assert_eq!(running_again(&server, &session), 200);
}

fn running_again(server: &Server, session: &Opened) -> u16 {
    session.end(server);
    let next = running(server);
    next.ask(server, &[], &json!(1)).status
}

/// Begins an upload of so many bytes.
fn begin(server: &Server, session: &Opened, length: usize) -> Wire {
    let (id, token) = (&session.id, &session.token);
    let head = format!(
        "PUT /v1/sessions/{id}/data HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut wire = Wire::open(server.address);
    wire.write(head.as_bytes());
    wire
}

/// What the agent says of the data that it got: where it stood, and how long Python writes it.
fn data_of(server: &Server, session: &Opened) -> serde_json::Value {
    let answer = session.ask(server, &[], &json!({"do": "data"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["response"].clone()
}

/// How many files of sessions' data there are.
fn files(server: &Server) -> usize {
    std::fs::read_dir(server.data_dir().join("data")).unwrap().count()
}
