//! `GET /v1/sessions/{id}`: once, conditionally, and as a long poll.

use std::thread;

use serde_json::json;

use super::{opened, problem, server};

#[test]
fn who_knows_a_session_as_it_is_is_told_only_that() {
    let server = server("");
    let session = opened(&server);
    let first = session.call(&server, "GET", "", &[], b"");
    let tag = first.header("etag");
    assert!(tag.starts_with("W/\"1-"), "{tag}");

    for known in [tag, &format!("\"other\", {tag}"), tag.trim_start_matches("W/"), "*"] {
        let again = session.call(&server, "GET", "", &[("If-None-Match", known), ("Connection", "close")], b"");
        assert_eq!((again.status, again.header("etag"), again.header("cache-control")), (304, tag, "no-store"));
    }

    assert_eq!(session.initialise(&server).status, 200);
    let changed = session.call(&server, "GET", "", &[("If-None-Match", tag)], b"");
    assert_eq!((changed.status, &changed.json()["phase"]), (200, &json!("RUNNING")));
    assert_ne!(changed.header("etag"), tag);
}

#[test]
fn who_waits_is_told_at_the_change_or_when_the_phase_is_reached() {
    let server = server("");
    let session = opened(&server);
    let tag = session.call(&server, "GET", "", &[], b"").header("etag").to_owned();
    thread::scope(|scope| {
        let changed = scope.spawn(|| session.call(&server, "GET", "?wait=5m", &[("If-None-Match", &tag)], b""));
        let ended = scope.spawn(|| session.call(&server, "GET", "?wait=5m&until=ENDED", &[], b""));
        assert_eq!(session.initialise(&server).status, 200);
        assert_ne!(changed.join().unwrap().json()["phase"], "PENDING");
        session.end(&server);
        assert_eq!(ended.join().unwrap().json()["phase"], "ENDED");
    });
    let past = session.call(&server, "GET", "?wait=5m&until=RUNNING", &[], b"");
    assert_eq!((past.status, &past.json()["phase"]), (200, &json!("ENDED")), "it will not come to it any more");
}

#[test]
fn a_time_or_a_phase_that_is_none_is_refused() {
    let server = server("");
    let session = opened(&server);
    for query in ["?wait=30", "?wait=6m", "?wait=-1s", "?until=running", "?until="] {
        let answer = session.call(&server, "GET", query, &[], b"");
        assert_eq!(problem(&answer), (400, "invalid_request".into()), "{query}");
    }
}
