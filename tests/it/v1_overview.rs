//! `GET /v1/overview`: what an operator sees at one look is what has happened.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::desk::{BOB, faulty, persona};
use crate::harness::{ADA, Server, Setup, until};
use crate::operators::Operated;

const ECHO: &str = r#"["frontdesk", "agent", "echo"]"#;

#[test]
fn a_server_that_nobody_has_used_shows_zeros_and_when_it_began_to_count() {
    let desk = Operated::new(Setup::default());

    let seen = overview(&desk);

    assert_eq!(
        seen["ready"],
        json!(["serving", "store", "events", "records"].map(|name| json!({"name": name, "ok": true})))
    );
    let none = json!({"pending": 0, "starting": 0, "restarting": 0, "running": 0, "stopping": 0});
    assert_eq!(seen["sessions"], none);
    assert_eq!(seen["queue"], json!({"length": 0}));
    assert_eq!((&seen["agents"]["running"], &seen["agents"]["max_running"]), (&json!(0), &json!(2000)));
    let hour = &seen["last_hour"];
    assert_eq!((&hour["admitted"], &hour["refusals"], &hour["restarts"]), (&json!(0), &json!([]), &json!(0)));
    assert_eq!(hour["starts"], json!({"count": 0, "failures": 0}));
    assert_eq!(hour["samples"].as_array().unwrap().len(), 1);
    assert_eq!(hour["samples"][0]["at"], hour["since"]);
    let embedded = json!({"kind": "embedded", "state": "unused", "checks": 0, "failures": 0});
    assert_eq!(seen["credential_server"], embedded);
    assert_eq!(seen["troubled"], json!({"personas": [], "sessions": [], "more_sessions": false}));
    assert!(seen["disk"]["free_bytes"].as_u64() <= seen["disk"]["total_bytes"].as_u64(), "{seen}");
    assert!(seen["disk"]["store_bytes"].as_u64() > Some(0) && seen["memory"]["server_bytes"].as_u64() > Some(0));
    assert!(seen["memory"]["machine_available_bytes"].as_u64() <= seen["memory"]["machine_total_bytes"].as_u64());
}

#[test]
fn a_server_that_is_being_drained_says_so_and_how_that_ends() {
    let desk = Operated::new(Setup::default());
    assert!(desk.server.run(&["drain"], "").0.success());

    let serving = overview(&desk)["ready"][0].clone();

    assert_eq!((&serving["name"], &serving["ok"]), (&json!("serving"), &json!(false)));
    assert_eq!(serving["reason"], "the server is being drained");
    assert!(serving["cure"].as_str().unwrap().contains("frontdesk drain --cancel"), "{serving}");
}

#[test]
fn what_has_happened_is_counted_once_and_under_its_name() {
    let desk = Operated::new(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    desk.server.add_customer(BOB);
    let ada = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.create(ADA, json!({})).status, 400);
    assert_eq!(desk.server.create((ADA.0, "a guess"), json!({})).status, 401);
    assert_eq!(desk.server.create((BOB.0, "a guess"), json!({})).status, 401);
    assert_eq!(request(&desk.server, "NOBODY", BOB), 400);
    assert_eq!(desk.server.create(BOB, json!({})).status, 200);
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    assert_eq!(desk.server.initialise(ADA.0).status, 404);

    let seen = overview(&desk);

    assert_eq!((&seen["sessions"]["pending"], &seen["sessions"]["running"]), (&json!(1), &json!(1)));
    let hour = &seen["last_hour"];
    assert_eq!(hour["admitted"], 2);
    let refusals = hour["refusals"].as_array().unwrap();
    assert_eq!(refusals[0], json!({"reason": "invalid_email_or_password", "count": 2}));
    assert_eq!(refusals.len(), 3, "{refusals:?}");
    for reason in ["session_already_running", "invalid_request"] {
        assert!(refusals.contains(&json!({"reason": reason, "count": 1})), "{refusals:?}");
    }
    assert_eq!((&hour["starts"]["count"], &hour["starts"]["failures"]), (&json!(1), &json!(0)));
    let (half, nearly_all) = (&hour["starts"]["p50_seconds"], &hour["starts"]["p99_seconds"]);
    assert!(half.as_f64() > Some(0.0) && half.as_f64() <= nearly_all.as_f64(), "{hour}");
    let minute = hour["samples"].as_array().unwrap().last().unwrap();
    let last = ["pending", "running", "admitted", "refused", "starts"].map(|name| minute[name].clone());
    if hour["samples"].as_array().unwrap().len() == 1 {
        assert_eq!(last, [1, 1, 2, 4, 1].map(Value::from));
    }
    assert_eq!(
        (&seen["credential_server"]["checks"], &seen["credential_server"]["state"]),
        (&json!(6), &json!("well"))
    );

    assert_eq!(desk.server.stop(&ada.session_id(), &ada.token()).status, 202);
    until("the stop is counted", || overview(&desk)["last_hour"]["ended"]["stopped"] == 1);
    assert_eq!(overview(&desk)["sessions"]["running"], 0);
}

#[test]
fn a_persona_whose_agents_crash_and_the_session_that_suffers_are_named_with_the_reason() {
    let desk = Operated::new(Setup::with_config(&faulty(&["on-request"], "")));
    let ada = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    for _ in 0..2 {
        assert_eq!(desk.server.relay(ADA.0, &ada.token(), &json!({"do": "exit"})).status, 502);
        until("the agent is there again", || desk.server.relay(ADA.0, &ada.token(), &json!("hello")).status == 200);
    }

    let seen = overview(&desk);

    let personas = seen["troubled"]["personas"].as_array().unwrap();
    assert_eq!(personas.len(), 1, "{seen}");
    assert_eq!((&personas[0]["persona"], &personas[0]["restarts_10_min"]), (&json!("CUSTOMERS"), &json!(2)));
    assert!(personas[0]["last_reason"].as_str().unwrap().contains("no fuel"), "{seen}");
    let session = &seen["troubled"]["sessions"][0];
    assert_eq!((&session["id"], &session["email"]), (&json!(ada.session_id()), &json!(ADA.0)));
    assert_eq!((&session["trouble"], &session["phase"]), (&json!("unstable"), &json!("RUNNING")));
    assert!(
        session["reason"].as_str().unwrap().starts_with("its agent was lost 2 times within 10 minutes: "),
        "{seen}"
    );
    assert_eq!(seen["last_hour"]["restarts"], 2);
}

#[test]
fn a_session_whose_agent_does_not_start_is_in_trouble_while_it_waits() {
    let desk = Operated::new(Setup::with_config(&persona("CUSTOMERS", r#"["false"]"#, "")));
    desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 500);

    let seen = overview(&desk);

    let session = &seen["troubled"]["sessions"][0];
    assert_eq!((&session["trouble"], &session["phase"]), (&json!("start_failed"), &json!("PENDING")));
    assert!(session["reason"].as_str().unwrap().starts_with("its agent failed to start once: "), "{seen}");
    assert_eq!(seen["troubled"]["personas"][0]["start_failures_hour"], 1);
    assert_eq!(seen["last_hour"]["starts"]["failures"], 1);
}

#[test]
fn a_remote_credential_server_that_fails_is_named_with_the_reason_until_it_answers_again() {
    let stub = CredentialStub::start(Behaviour::Close);
    let desk = Operated::new(stub.setup(&persona("CUSTOMERS", ECHO, "")));
    assert_eq!(desk.server.create((ADA.0, "good"), json!({})).status, 500);

    let failing = overview(&desk)["credential_server"].clone();

    assert_eq!((&failing["kind"], &failing["state"]), (&json!("remote"), &json!("failing")));
    assert_eq!((&failing["checks"], &failing["failures"]), (&json!(1), &json!(1)));
    assert!(failing["last_failure"]["reason"].as_str().unwrap().contains("gave no answer"), "{failing}");
    stub.behave(Behaviour::Decide);
    assert_eq!(desk.server.create((ADA.0, "good"), json!({})).status, 200);
    assert_eq!(overview(&desk)["credential_server"]["state"], "well");
}

fn overview(desk: &Operated) -> Value {
    let answer = desk.call(Scope::SessionsRead, "GET", "/v1/overview", &Value::Null);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The status of a request for a session of a persona.
fn request(server: &Server, persona: &str, (email, password): (&str, &str)) -> u16 {
    let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": persona, "DATA": {}});
    let headers = [("Content-Type", "application/json")];
    server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes()).status
}
