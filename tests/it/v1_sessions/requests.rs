//! `POST /v1/sessions/{id}/requests`.

use serde_json::json;

use crate::harness::until;

use super::{JSON, opened, problem, running, server};

#[test]
fn the_agent_s_answer_is_handed_on_and_its_refusal_is_a_problem() {
    let server = server("");
    let session = running(&server);
    let answer = session.ask(&server, &[], &json!({"é": [null, 1.0]}));
    assert_eq!((answer.status, &answer.json()["response"]["echo"]), (200, &json!({"é": [null, 1.0]})));
    assert_eq!(session.ask(&server, &[], &json!(null)).json()["response"]["echo"], json!(null));
    let refused = session.ask(&server, &[], &json!({"fail": "no such room"}));
    assert_eq!((problem(&refused), &refused.json()["detail"]), ((502, "agent_error".into()), &json!("no such room")));
    for body in ["", "{}", "[1]", "{\"request\":", "{\"request\":1,\"request\":2}"] {
        let answer = session.call(&server, "POST", "/requests", &[JSON], body.as_bytes());
        assert_eq!(problem(&answer), (400, "invalid_request".into()), "{body}");
    }
    let untyped = session.call(&server, "POST", "/requests", &[], b"{\"request\":1}");
    assert_eq!(problem(&untyped), (415, "unsupported_content_type".into()));
}

#[test]
fn only_a_running_session_takes_requests() {
    let server = server("");
    let session = opened(&server);
    assert_eq!(problem(&session.ask(&server, &[], &json!(1))), (409, "wrong_phase".into()));
    assert_eq!(session.initialise(&server).status, 200);
    assert_eq!(session.ask(&server, &[], &json!(1)).status, 200);
    session.end(&server);
    assert_eq!(problem(&session.ask(&server, &[], &json!(1))), (409, "wrong_phase".into()));
}

#[test]
fn while_the_agent_is_started_again_the_caller_is_told_to_wait() {
    let server = server("");
    let session = running(&server);
    until("the restart is seen", || {
        server.kill_agents();
        let answer = session.ask(&server, &[], &json!(1));
        answer.status == 503 && problem(&answer).1 == "agent_restarting" && !answer.header("retry-after").is_empty()
    });
}

#[test]
fn a_request_whose_answer_was_never_read_is_asked_once() {
    let server = server("");
    let session = running(&server);
    let request = json!({"sleep_ms": 400});
    let body = json!({"request": request}).to_string();
    let headers = "Content-Type: application/json\r\nIdempotency-Key: one\r\n";
    session.call_and_hang_up(&server, "POST", "/requests", headers, body.as_bytes());
    until("the agent has it", || session.see(&server)["progress"].is_string());
    let keyed = [("Idempotency-Key", "one")];
    let first = session.ask(&server, &keyed, &request);
    assert_eq!((first.status, &first.json()["response"]["handled"]), (200, &json!(1)));
    assert_eq!(session.ask(&server, &keyed, &request).body, first.body);
    assert_eq!(session.ask(&server, &[], &json!(1)).json()["response"]["handled"], 2);
    let other = session.ask(&server, &keyed, &json!("another"));
    assert_eq!(problem(&other), (422, "idempotency_key_reused".into()));
    assert_eq!(problem(&session.ask(&server, &[("Idempotency-Key", "")], &json!(1))), (400, "invalid_request".into()));
}

#[test]
fn parts_of_an_answer_are_streamed_and_the_answer_comes_last() {
    let server = server("");
    let session = running(&server);
    let stream = |request| {
        let headers = [("Accept", "text/event-stream"), ("Connection", "close")];
        let answer = session.ask(&server, &headers, &request);
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
        String::from_utf8(answer.body).unwrap()
    };
    let text = stream(json!({"output": ["a", {"b": 1}]}));
    let places = [
        "event: output\ndata: \"a\"\n\n",
        "event: output\ndata: {\"b\":1}\n\n",
        "event: response\ndata: {\"response\":{",
    ]
    .map(|frame| text.find(frame).unwrap_or_else(|| panic!("{frame} in {text}")));
    assert!(places.is_sorted(), "{text}");
    assert!(stream(json!({"fail": "no such room"})).contains("event: problem\ndata: {\"type\":\"/docs#agent_error\""));
    session.end(&server);
    assert!(stream(json!(1)).contains("\"code\":\"wrong_phase\""));
}
