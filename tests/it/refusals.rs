//! Refusals that are the same for every call, and the connection they leave behind.

use serde_json::json;

use crate::desk::BOB;
use crate::harness::{ADA, Server, Setup, until};
use crate::wire::Wire;

#[test]
fn unknown_paths_and_wrong_methods_are_refused_as_json_and_the_connection_goes_on() {
    let server = Server::start(Setup::default());
    let mut wire = Wire::open(server.address);
    let body = b"{\"EMAIL\":\"nobody\"}";
    for path in ["//", "/serverRunning/", "/SERVERRUNNING", "/requestSessionCreation/x", "/favicon.ico?x=1"] {
        let answer = wire.send("POST", path, "", body);
        assert_eq!(answer.pair(), (404, "NOT_FOUND".into()), "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    for (method, path, allow) in [
        ("GET", "/requestSessionCreation", "POST"),
        ("PUT", "/initializeSession", "POST"),
        ("POST", "/handleSessionRequests", "PUT"),
        ("POST", "/", "GET,HEAD"),
        ("DELETE", "/serverRunning", "GET,HEAD"),
        ("POST", "/sessionSTATUS?message={}", "GET,HEAD"),
        ("OPTIONS", "/serverRunning", "GET,HEAD"),
    ] {
        let answer = wire.send(method, path, "", body);
        assert_eq!(answer.pair(), (405, "METHOD_NOT_ALLOWED".into()), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    for (method, path, headers, body, status) in [
        ("POST", "/requestSessionCreation", "Content-Type: text/plain\r\n", "{}", 415),
        ("POST", "/requestSessionCreation", "Content-Type: application/json\r\n", "{}", 400),
        ("POST", "/initializeSession", "Content-Encoding: br\r\n", "{}", 415),
        ("POST", "/initializeSession", "Origin: http://localhost\r\n", "{\"EMAIL\":\"a\"}", 401),
        ("PUT", "/handleSessionRequests", "", "{}", 400),
        ("GET", "/sessionSTATUS", "", "unread", 400),
        ("GET", "/serverRunning", "", "unread", 200),
    ] {
        assert_eq!(wire.send(method, path, headers, body.as_bytes()).status, status, "{method} {path}");
    }
    assert_eq!(wire.send("GET", "/serverRunning", "", b"").pair(), (200, "SERVER_RUNNING".into()));
}

#[test]
fn under_v1_refusals_are_problems_with_a_stable_code() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let created = server.create(ADA, json!({}));
    let other = "00000000-0000-7000-8000-000000000000";
    let bearer = format!("Bearer {}", created.token());
    let own = format!("/v1/sessions/{}", created.session_id());
    let cases = [
        ("GET", "/v1/nothing".to_owned(), None, 404, "not_found"),
        ("POST", own.clone(), Some(&*bearer), 405, "method_not_allowed"),
        ("DELETE", own.clone(), None, 401, "token_required"),
        ("DELETE", own.clone(), Some("Bearer nonsense"), 401, "token_required"),
        ("DELETE", format!("/v1/sessions/{other}"), Some(&*bearer), 404, "session_not_found"),
        ("DELETE", "/v1/sessions/nonsense".to_owned(), Some(&*bearer), 404, "session_not_found"),
    ];
    for (method, path, authorization, status, code) in cases {
        let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        let answer = server.send(method, &path, &headers, b"");
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{method} {path}");
        assert_eq!(answer.json()["status"], json!(status));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
        assert_eq!(answer.header("allow"), if status == 405 { "GET,HEAD,DELETE" } else { "" });
    }
}

#[test]
fn somebody_elses_session_and_no_session_are_the_same_answer() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.add_customer(BOB);
    let adas = server.create(ADA, json!({}));
    let bobs = server.create(BOB, json!({}));

    let others = server.stop(&adas.session_id(), &bobs.token());
    let none = server.stop("01890000-0000-7000-8000-000000000000", &bobs.token());

    assert_eq!((others.status, others.body), (none.status, none.body));
    assert_eq!(server.status(ADA.0), "PENDING");
}

#[test]
fn a_session_is_stopped_with_its_token_and_stopping_it_again_says_the_same() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let created = server.create(ADA, json!({}));
    server.initialise(ADA.0);
    let stop = || server.stop(&created.session_id(), &created.token());

    let first = stop();
    until("the session has ended", || stop().status == 200);

    assert!(matches!(first.status, 200 | 202), "{first:?}");
    assert_eq!(first.header("content-type"), "application/json");
    let view = stop().json();
    assert_eq!(view["id"], json!(created.session_id()));
    assert_eq!((&view["phase"], &view["outcome"]), (&json!("ENDED"), &json!("stopped")), "{view}");
}
