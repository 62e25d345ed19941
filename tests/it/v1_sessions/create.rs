//! `POST /v1/sessions`.

use serde_json::json;

use crate::desk::BOB;
use crate::harness::{ADA, until};
use crate::wire::Wire;

use super::{JSON, Opened, adas, create, opened, problem, server};

#[test]
fn a_session_is_created_and_its_token_opens_it() {
    let server = server("");
    let answer = create(&server, &[], &adas(json!({"a": 1})));
    assert_eq!((answer.status, answer.header("cache-control")), (201, "no-store"));
    let (session, view) = (Opened::of(&answer), answer.json());
    assert_eq!(answer.header("location"), format!("/v1/sessions/{}", session.id));
    assert_eq!((&view["email"], &view["persona"]), (&json!(ADA.0), &json!("CUSTOMERS")));
    assert_eq!(view.as_object().unwrap().len(), 5, "{view}");
    assert_eq!(view["created"], session.see(&server)["created"]);
    assert_eq!(session.see(&server)["phase"], "PENDING");
}

#[test]
fn what_a_creation_reads_and_refuses() {
    let server = server("");
    let with = |key: &str, value| {
        let mut body = adas(json!({}));
        body[key] = value;
        create(&server, &[], &body)
    };
    for (key, value) in [
        ("email", json!(1)),
        ("email", json!("")),
        ("email", json!("é".repeat(16_385))),
        ("password", json!(null)),
        ("persona", json!([])),
        ("data", json!(null)),
        ("data", json!([])),
        ("data", json!("{}")),
    ] {
        assert_eq!(problem(&with(key, value.clone())), (400, "invalid_request".into()), "{key}: {value}");
    }
    let send =
        |headers: &[(&str, &str)], body: &str| problem(&server.send("POST", "/v1/sessions", headers, body.as_bytes()));
    for body in ["", "{}", "[]", "{\"email\":", r#"{"email":"a","email":"a","password":"b","persona":"c"}"#] {
        assert_eq!(send(&[JSON], body), (400, "invalid_request".into()), "{body}");
    }
    assert_eq!(send(&[], &adas(json!({})).to_string()), (415, "unsupported_content_type".into()));
    let encoded = [JSON, ("Content-Encoding", "gzip")];
    assert_eq!(send(&encoded, &adas(json!({})).to_string()), (415, "unsupported_content_type".into()));
    for key in ["", &"k".repeat(256)] {
        assert_eq!(send(&[JSON, ("Idempotency-Key", key)], "{}"), (400, "invalid_request".into()));
    }
    let refused = with("password", json!("wrong"));
    assert_eq!(problem(&refused), (401, "invalid_email_or_password".into()));
    assert_ne!(refused.header("www-authenticate"), "");
    assert_eq!(problem(&with("persona", json!("NOBODYS"))), (400, "invalid_request".into()));
    let both = json!({"email": ADA.0, "password": "wrong", "persona": "NOBODYS"});
    assert_eq!(create(&server, &[], &both).status, 401);

    let least = json!({"email": ADA.0, "password": ADA.1, "persona": "CUSTOMERS", "more": 1});
    assert_eq!(create(&server, &[("Idempotency-Key", &"k".repeat(255))], &least).status, 201);
}

#[test]
fn who_has_a_live_session_is_told_which_and_gets_a_fresh_token() {
    let server = server("");
    let first = opened(&server);
    let answer = create(&server, &[], &adas(json!({})));
    assert_eq!(problem(&answer), (409, "session_already_running".into()));
    let again = Opened::of(&answer);
    assert_eq!(again.id, first.id);
    assert_ne!(again.token, first.token);
    assert_eq!(again.see(&server), first.see(&server));
    first.end(&server);
    assert_ne!(opened(&server).id, first.id);
}

#[test]
fn a_creation_with_a_key_is_answered_alike_whatever_has_come_between() {
    let mut server = server("");
    let keyed = [("Idempotency-Key", "one")];
    let wanted = adas(json!({"a": 1}));
    let first = create(&server, &keyed, &wanted);
    assert_eq!(first.status, 201);
    let session = Opened::of(&first);
    let repeats = |server: &_| {
        let again = create(server, &keyed, &wanted);
        assert_eq!((again.status, again.header("location")), (201, first.header("location")));
        assert_eq!(again.body, first.body);
    };
    repeats(&server);

    server.kill();
    server.start_again();
    repeats(&server);

    for _ in 0..4 {
        assert_eq!(create(&server, &[], &adas(json!({}))).status, 409);
    }
    let bearer = format!("Bearer {}", session.token);
    let path = format!("/v1/sessions/{}", session.id);
    assert_eq!(server.send("GET", &path, &[("Authorization", &bearer)], b"").status, 401, "driven out by later ones");
    repeats(&server);
    assert_eq!(session.see(&server)["phase"], "PENDING");

    session.end(&server);
    repeats(&server);
    let next = Opened::of(&create(&server, &[], &adas(json!({}))));
    assert_ne!(next.id, session.id);
    repeats(&server);
    server.kill();
    server.start_again();
    repeats(&server);
    assert_eq!(next.see(&server)["phase"], "PENDING");
}

#[test]
fn a_key_is_its_customer_s_own_and_stands_for_one_request() {
    let server = server("");
    server.add_customer(BOB);
    let keyed = [("Idempotency-Key", "one")];
    let first = Opened::of(&create(&server, &keyed, &adas(json!({"a": 1}))));
    let other = create(&server, &keyed, &adas(json!({"a": 2})));
    assert_eq!(problem(&other), (422, "idempotency_key_reused".into()));
    let mut wrong = adas(json!({"a": 1}));
    wrong["password"] = json!("wrong");
    assert_eq!(create(&server, &keyed, &wrong).status, 401, "the key opens nothing without the password");
    let bobs = json!({"email": BOB.0, "password": BOB.1, "persona": "CUSTOMERS", "data": {"a": 1}});
    let bobs = create(&server, &keyed, &bobs);
    assert_eq!(bobs.status, 201);
    assert_ne!(Opened::of(&bobs).id, first.id);
}

#[test]
fn a_creation_whose_answer_was_never_read_is_one_creation() {
    let server = server("");
    let body = adas(json!({})).to_string();
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: one\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut wire = Wire::open(server.address);
    wire.write(head.as_bytes());
    wire.write(body.as_bytes());
    until("the session is there", || server.status(ADA.0) == "PENDING");
    drop(wire);
    let keyed = [("Idempotency-Key", "one")];
    let answer = create(&server, &keyed, &adas(json!({})));
    assert_eq!((answer.status, create(&server, &keyed, &adas(json!({}))).body), (201, answer.body.clone()));
    assert_eq!(create(&server, &[], &adas(json!({}))).json()["session"], answer.json()["id"]);
}
