//! `GET /sessionSTATUS`: what it says in each phase, and the ways in which clients write the message.

use serde_json::json;

use crate::harness::{ADA, Server, Setup, percent, until};

const TWO_PERSONAS: &str = r#"
[personas.CUSTOMERS]
command = ["frontdesk", "agent", "echo"]
[personas.PARTNERS]
command = ["frontdesk", "agent", "echo"]
"#;

#[test]
fn the_status_is_that_of_the_live_session_of_exactly_that_persona() {
    let server = Server::start(Setup::with_config(TWO_PERSONAS));
    server.add_customer(ADA);
    let status = |persona: &str| {
        let message = json!({"PERSONA_TYPE": persona, "EMAIL": ADA.0}).to_string();
        server.send("GET", &format!("/sessionSTATUS?message={}", percent(&message)), &[], b"").pair()
    };
    let says = |word: &str| (200, word.to_owned());

    assert_eq!(status("CUSTOMERS"), says("IDLE"));
    let created = server.create(ADA, json!({}));
    assert_eq!(status("CUSTOMERS"), says("PENDING"));
    assert_eq!(status("PARTNERS"), says("IDLE"));
    server.initialise(ADA.0);
    assert_eq!(status("CUSTOMERS"), says("RUNNING"));
    assert_eq!(status("PARTNERS"), says("IDLE"));
    for unknown in ["customers", "CUSTOMERS ", "", "NOBODY"] {
        assert_eq!(status(unknown), (400, "INVALID_REQUEST".into()), "{unknown:?}");
    }
    server.stop(&created.session_id(), &created.token());
    until("the session has ended", || status("CUSTOMERS") == says("IDLE"));
}

#[test]
fn a_first_start_reads_pending() {
    let config = r#"
[personas.CUSTOMERS]
command = ["sleep", "60"]
start_attempts = 1
start_timeout = "3s"
"#;
    let server = Server::start(Setup::with_config(config));
    server.add_customer(ADA);
    server.create(ADA, json!({}));

    std::thread::scope(|scope| {
        let initialised = scope.spawn(|| server.initialise(ADA.0).pair());
        until("the agent is being started", || !server.agents().is_empty());
        assert_eq!(server.status(ADA.0), "PENDING");
        assert_eq!(initialised.join().unwrap(), (500, "SESSION_CREATION_FAILED".into()));
    });
}

#[test]
fn the_message_arrives_in_every_way_that_clients_encode_it() {
    let server = Server::start(Setup::default());
    let customer = ("zoë+1 x@example.org", "battery staple");
    server.add_customer(customer);
    server.create(customer, json!({}));
    let long = "x".repeat(8_000);
    let message = json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": customer.0, "MORE": long}).to_string();
    let form = percent(&message).replace("%20", "+");
    let raw = message.replace('+', "%2B").replace(' ', "%20").replace('"', "%22");
    let spaced_by_plus = raw.replace("%20", "+");
    let lower = percent(&message).replace("%C3%AB", "%c3%ab");

    for query in [
        format!("message={}", percent(&message)),
        format!("message={form}"),
        format!("message={raw}"),
        format!("message={spaced_by_plus}"),
        format!("message={lower}"),
        format!("other=1&message={form}&message=second"),
    ] {
        let answer = server.send("GET", &format!("/sessionSTATUS?{query}"), &[], b"");
        assert_eq!(answer.pair(), (200, "PENDING".into()), "{query}");
    }
}

#[test]
fn a_malformed_message_is_refused() {
    let server = Server::start(Setup::default());
    for query in [
        "",
        "?",
        "?message",
        "?message=",
        "?massage=%7B%7D",
        "?message=hello",
        "?message=%7B%7D",
        "?message=[%22CUSTOMERS%22,%22a%22]",
        "?message={%22EMAIL%22:%22a%22}",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22}",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22,%22EMAIL%22:1}",
        "?message={%22PERSONA_TYPE%22:null,%22EMAIL%22:%22a%22}",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22,%22EMAIL%22:%22%22}",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22,%22EMAIL%22:%22a%22}x",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22,%22EMAIL%22:%22a%22,%22EMAIL%22:%22a%22}",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22,%22EMAIL%22:%22%FF%22}",
        "?message={%22PERSONA_TYPE%22:%22CUSTOMERS%22,%22EMAIL%22:%22a%22%",
    ] {
        let answer = server.send("GET", &format!("/sessionSTATUS{query}"), &[], b"");
        assert_eq!(answer.pair(), (400, "INVALID_REQUEST".into()), "{query}");
    }
}

#[test]
fn a_token_reads_the_status_of_its_own_session_and_of_no_later_one() {
    let server = Server::start(Setup::default());
    let bob = ("bob@example.org", "battery staple");
    server.add_customer(ADA);
    server.add_customer(bob);
    let first = server.create(ADA, json!({}));
    let bobs = server.create(bob, json!({}));
    let status = |token: &str| {
        let message = json!({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": ADA.0}).to_string();
        let path = format!("/sessionSTATUS?message={}", percent(&message));
        server.send("GET", &path, &[("Authorization", &format!("bearer {token}"))], b"").pair()
    };

    assert_eq!(status(&first.token()), (200, "PENDING".into()));
    assert_eq!(status(&bobs.token()), (401, "TOKEN_REQUIRED".into()));
    assert_eq!(status("nonsense"), (401, "TOKEN_REQUIRED".into()));
    server.stop(&first.session_id(), &first.token());
    until("the session has ended", || server.status(ADA.0) == "IDLE");
    let second = server.create(ADA, json!({}));
    assert_eq!(status(&first.token()), (200, "IDLE".into()));
    assert_eq!(status(&second.token()), (200, "PENDING".into()));
}
