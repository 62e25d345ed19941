//! What an agent writes to stderr, for operators.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Setup, until};
use crate::operators::{Operated, problem};
use crate::stream::{Stream, unchunked};

#[test]
fn a_log_is_read_from_its_end_and_followed_over_its_rotation_to_the_end_of_the_session() {
    let diaries = tempfile::tempdir().unwrap();
    let desk = Operated::new(Setup::with_config(&format!(
        "[limits]\nlog = \"4 KiB\"\n{}",
        super::telling(diaries.path(), &[], "")
    )));
    let created = desk.server.create(ADA, json!({}));
    assert_eq!(text(&logs(&desk, &created, "")), "", "nobody has said anything");
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    let write = |text: &str| {
        let answer = desk.server.relay(ADA.0, &created.token(), &json!({"stderr": text, "pause": true}));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    write("one\ntwo\nthree\n");
    until("it is logged", || text(&logs(&desk, &created, "?tail=2")) == "two\nthree\n");
    assert_eq!(text(&logs(&desk, &created, "?tail=0")), "");
    assert_eq!(problem(&logs(&desk, &created, "?tail=100001")), (400, "invalid_request".into()));

    let bearer = format!("Bearer {}", desk.token(Scope::SessionsRead));
    let path = format!("/v1/sessions/{}/logs?follow=true&tail=1", created.session_id());
    let mut stream = Stream::open(desk.server.address, &path, &[("Authorization", &bearer)]);
    assert_eq!(stream.line().unwrap(), "three");
    for n in 0..40 {
        let lines: Vec<_> = (0..10).map(|line| format!("{n}.{line} {}", "x".repeat(80))).collect();
        write(&(lines.join("\n") + "\n"));
        for line in lines {
            let read = std::iter::from_fn(|| stream.line()).find(|read| !read.starts_with("--- ")).unwrap();
            assert_eq!(read, line);
        }
    }

    desk.server.stop(&created.session_id(), &created.token());
    assert_eq!(stream.rest().lines().find(|line| !line.starts_with("--- ")), None);
    until("it is gone", || problem(&logs(&desk, &created, "")) == (410, "logs_gone".into()));
    let customers = desk.call_with(&created.token(), "GET", &path, &Value::Null);
    assert_eq!(problem(&customers), (403, "scope_required".into()), "the log is for operators");
}

fn logs(desk: &Operated, session: &Answer, query: &str) -> Answer {
    let path = format!("/v1/sessions/{}/logs{query}", session.session_id());
    desk.call(Scope::SessionsRead, "GET", &path, &Value::Null)
}

/// What is said in an answer that is a log.
fn text(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; charset=utf-8"));
    unchunked(answer)
}
