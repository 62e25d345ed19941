//! Requests whose answers are streamed.

use std::path::Path;

use serde_json::{Value, json};

use crate::desk::{Desk, Opened, persona};
use crate::harness::{ADA, repository, until};
use crate::stream::Stream;

use super::EVENT_STREAM;

#[test]
fn parts_come_as_they_are_said_and_a_key_replays_them() {
    let (desk, ada) = answering();
    let files = tempfile::tempdir().unwrap();
    let hold = files.path().join("hold");
    let keyed = [("Idempotency-Key", "one")];
    let mut first = ask(&desk, &ada, &keyed, &json!(["a", {"b": 1}]), &hold);
    assert_eq!((first.status, &*first.headers["content-type"]), (200, "text/event-stream"));
    assert_eq!(first.expect("output"), "a");
    assert_eq!(first.expect("output"), json!({"b": 1}));
    std::fs::write(&hold, "").unwrap();
    assert_eq!(first.expect("response"), json!({"response": 1}));
    assert_eq!(first.next(), None);

    let mut again = ask(&desk, &ada, &keyed, &json!(["a", {"b": 1}]), &hold);
    let frames: Vec<_> = std::iter::from_fn(|| again.next()).collect();
    assert_eq!(frames.last().unwrap().data, json!({"response": 1}), "{frames:?}");

    let mut other = ask(&desk, &ada, &keyed, &json!(["another"]), &hold);
    let refused = other.expect("problem");
    assert_eq!((&refused["status"], &refused["code"]), (&json!(422), &json!("idempotency_key_reused")));
}

#[test]
fn who_hangs_up_on_a_request_without_a_key_cancels_it_and_with_one_does_not() {
    let (desk, ada) = answering();
    let files = tempfile::tempdir().unwrap();
    let [plain, keyed] = ["plain", "keyed"].map(|name| files.path().join(name));
    let mut first = ask(&desk, &ada, &[], &json!(["a"]), &plain);
    assert_eq!(first.expect("output"), "a");
    let mut second = ask(&desk, &ada, &[("Idempotency-Key", "one")], &json!(["b"]), &keyed);
    assert_eq!(second.expect("output"), "b");

    drop((first, second));

    until("the agent was told", || files.path().join("plain.cancelled").exists());
    std::fs::write(&keyed, "").unwrap();
    let mut again = ask(&desk, &ada, &[("Idempotency-Key", "one")], &json!(["b"]), &keyed);
    let last = std::iter::from_fn(|| again.next()).last().unwrap();
    assert_eq!((&*last.name, &last.data), ("response", &json!({"response": 2})));
    assert!(!files.path().join("keyed.cancelled").exists());
}

#[test]
fn what_is_refused_before_the_agent_is_asked_has_its_own_status() {
    let (desk, ada) = answering();
    let path = format!("/v1/sessions/{}/requests", ada.id);
    let bearer = format!("Bearer {}", ada.token);
    let json = ("Content-Type", "application/json");
    for (headers, body, status) in [
        (vec![json, ("Authorization", &*bearer)], "{}", 400),
        (vec![json], "{\"request\":1}", 401),
        (vec![("Authorization", &*bearer)], "{\"request\":1}", 415),
        (vec![json, ("Authorization", &*bearer), ("Idempotency-Key", "")], "{\"request\":1}", 400),
    ] {
        let headers = [&headers[..], &[EVENT_STREAM]].concat();
        let answer = Stream::request(desk.server.address, "POST", &path, &headers, body, usize::MAX).unwrap();
        assert_eq!((answer.status, &*answer.headers["content-type"]), (status, "application/problem+json"), "{body}");
    }
}

/// Ada's session with an agent that answers in parts.
fn answering() -> (Desk, Opened) {
    let script = repository().join("tests/it/agents/parts.py");
    let desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", "-u", script]).to_string(), ""));
    let ada = desk.open(ADA);
    (desk, ada)
}

/// Asks for these parts and an answer that waits for a file.
fn ask(desk: &Desk, session: &Opened, headers: &[(&str, &str)], parts: &Value, hold: &Path) -> Stream {
    let bearer = format!("Bearer {}", session.token);
    let own = [("Authorization", &*bearer), ("Content-Type", "application/json"), EVENT_STREAM];
    let headers = [&own[..], headers].concat();
    let body = json!({"request": {"parts": parts, "hold": hold}}).to_string();
    let path = format!("/v1/sessions/{}/requests", session.id);
    Stream::request(desk.server.address, "POST", &path, &headers, &body, usize::MAX).unwrap()
}
