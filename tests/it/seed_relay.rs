//! `PUT /handleSessionRequests`: what reaches the agent, what comes back, and who may ask.

use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Server, Setup};

const BOB: (&str, &str) = ("bob@example.org", "battery staple");

#[test]
fn requests_and_answers_pass_unchanged() {
    let (server, token) = running("");
    for request in ["null", "1e999", "-0", "\"\\ud800\"", "[]", "{\"a\" : 1.50}", "123456789012345678901234567890"] {
        let answer = relay_text(&server, &token, request);
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.starts_with(r#"{"MESSAGE":"REQUEST_HANDLED","RESPONSE":{"#), "{text}");
        assert!(text.contains(&format!("\"echo\":{request},")), "{text}");
    }
    let lines = relay_text(&server, &token, "{\r\n\"a\":\n1}");
    assert_eq!(lines.json()["RESPONSE"]["echo"], json!({"a": 1}));
}

#[test]
fn ten_mebibytes_pass_both_ways() {
    let (server, token) = running("");
    let large = Value::String("x".repeat(10 << 20));

    let answer = server.relay(ADA.0, &token, &large);

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["RESPONSE"]["echo"], large);
}

#[test]
fn an_agent_that_fails_or_takes_too_long_is_told_apart() {
    let (server, token) = running("request_timeout = \"3s\"\n");

    let failed = server.relay(ADA.0, &token, &json!({"fail": "no such tool"}));
    let late = server.relay(ADA.0, &token, &json!({"sleep_ms": 60_000}));

    assert_eq!(failed.pair(), (502, "AGENT_ERROR".into()));
    assert_eq!(failed.json()["DETAIL"], "no such tool");
    assert_eq!(late.pair(), (504, "AGENT_TIMEOUT".into()));
}

#[test]
fn of_an_agents_long_error_the_client_gets_the_beginning() {
    let (server, token) = running("");

    let failed = server.relay(ADA.0, &token, &json!({"fail": format!("x{}", "é".repeat(1 << 20))}));

    assert_eq!(failed.pair(), (502, "AGENT_ERROR".into()));
    assert_eq!(failed.json()["DETAIL"], format!("x{}...", "é".repeat(999)));
}

#[test]
fn a_relay_without_a_body_is_the_seeds_placeholder() {
    let server = Server::start(Setup::default());
    let with_length = server.send("PUT", "/handleSessionRequests", &[], b"");
    let chunked = server.send("PUT", "/handleSessionRequests", &[("Transfer-Encoding", "chunked")], b"0\r\n\r\n");
    for answer in [with_length, chunked] {
        assert_eq!((answer.status, &*answer.body), (200, &b"null"[..]));
        assert_eq!(answer.header("content-type"), "application/json");
    }
}

#[test]
fn a_relay_always_needs_the_token_of_that_customer() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.add_customer(BOB);
    let adas = server.create(ADA, json!({})).token();
    let bobs = server.create(BOB, json!({})).token();
    let send = |authorization: Option<&str>, body: &Value| {
        let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        server.send("PUT", "/handleSessionRequests", &headers, body.to_string().as_bytes())
    };
    let call = json!({"EMAIL": ADA.0, "REQUEST": 1});

    for (authorization, token) in [
        (None, Value::Null),
        (None, json!("")),
        (None, json!(&bobs)),
        (None, json!(&adas[..adas.len() - 1])),
        (Some("Bearer nonsense"), json!(&adas)),
        (Some(&*format!("Bearer {bobs}")), Value::Null),
        (Some(&*format!("Basic {adas}")), Value::Null),
    ] {
        let mut body = call.clone();
        body["TOKEN"] = token;
        let answer = send(authorization, &body);
        assert_eq!(answer.pair(), (401, "TOKEN_REQUIRED".into()), "{authorization:?} {body}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(send(Some(&format!("Bearer {adas}")), &call).pair(), (404, "NO_SESSION_RUNNING".into()));
    server.initialise(ADA.0);
    assert_eq!(send(Some(&format!("bearer  {adas}")), &call).pair(), (200, "REQUEST_HANDLED".into()));
    for malformed in [json!({"EMAIL": ADA.0}), json!({"REQUEST": 1}), json!({"EMAIL": 1, "REQUEST": 1}), json!(1)] {
        assert_eq!(send(None, &malformed).pair(), (400, "INVALID_REQUEST".into()), "{malformed}");
    }
}

fn running(persona: &str) -> (Server, String) {
    let config = format!("[personas.CUSTOMERS]\ncommand = [\"frontdesk\", \"agent\", \"echo\"]\n{persona}");
    let server = Server::start(Setup::with_config(&config));
    server.add_customer(ADA);
    let token = server.create(ADA, json!({})).token();
    assert_eq!(server.initialise(ADA.0).status, 200);
    (server, token)
}

fn relay_text(server: &Server, token: &str, request: &str) -> Answer {
    let body = format!(r#"{{"EMAIL":"{}","TOKEN":"{token}","REQUEST":{request}}}"#, ADA.0);
    server.send("PUT", "/handleSessionRequests", &[], body.as_bytes())
}
