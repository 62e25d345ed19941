//! `POST /initializeSession`: one caller starts the agent, and what the others are told.

use serde_json::json;

use crate::harness::{ADA, Answer, Server, Setup, until};

const BOB: (&str, &str) = ("bob@example.org", "battery staple");

/// An echo agent that takes a while to be ready.
const SLOW: &str = r#"["sh", "-c", "sleep 1; exec \"$FRONTDESK\" agent echo"]"#;

#[test]
fn of_fifty_callers_one_starts_the_agent_and_the_others_get_404() {
    for (command, max_running) in [(r#"["frontdesk", "agent", "echo"]"#, 2_000), (SLOW, 1)] {
        let server = Server::start(slow_setup(command, max_running, false));
        server.add_customer(ADA);
        server.create(ADA, json!({}));

        let answers = at_once(50, || server.initialise(ADA.0));

        assert_eq!(count(&answers, 200, "SESSION_INITIALIZED"), 1);
        assert_eq!(count(&answers, 404, "NO_SESSION_PENDING"), 49);
        assert_eq!(server.agents().len(), 1);
        assert_eq!(server.status(ADA.0), "RUNNING");
        assert_eq!(server.initialise(ADA.0).pair(), (404, "NO_SESSION_PENDING".into()));
    }
}

#[test]
fn a_persona_that_starts_by_itself_answers_200_to_everyone_once_it_runs() {
    let server = Server::start(slow_setup(SLOW, 2_000, true));
    server.add_customer(ADA);
    assert_eq!(server.initialise(ADA.0).pair(), (404, "NO_SESSION_PENDING".into()));
    server.create(ADA, json!({}));

    let answers = at_once(10, || server.initialise(ADA.0));

    assert_eq!(count(&answers, 200, "SESSION_INITIALIZED"), 10);
    assert_eq!(server.initialise(ADA.0).pair(), (200, "SESSION_INITIALIZED".into()));
    assert_eq!(server.agents().len(), 1);
}

#[test]
fn a_failed_start_leaves_the_session_pending_while_attempts_are_left() {
    let config = r#"
[personas.CUSTOMERS]
command = ["false"]
start_attempts = 3
"#;
    let server = Server::start(Setup::with_config(config));
    server.add_customer(ADA);
    for _ in 0..5 {
        server.create(ADA, json!({}));
        for attempt in 1..=3 {
            assert_eq!(server.initialise(ADA.0).pair(), (500, "SESSION_CREATION_FAILED".into()), "{attempt}");
            if attempt < 3 {
                assert_eq!(server.status(ADA.0), "PENDING");
            }
        }
        until("the session has ended", || server.status(ADA.0) == "IDLE");
        assert_eq!(server.initialise(ADA.0).pair(), (404, "NO_SESSION_PENDING".into()));
    }
}

#[test]
fn without_room_for_an_agent_the_session_stays_pending_until_there_is_some() {
    let server = Server::start(Setup::with_config("[limits]\nmax_running = 1\n"));
    server.add_customer(ADA);
    server.add_customer(BOB);
    let adas = server.create(ADA, json!({}));
    server.create(BOB, json!({}));
    assert_eq!(server.initialise(ADA.0).status, 200);

    let refused = server.initialise(BOB.0);

    assert_eq!(refused.pair(), (503, "NO_CAPACITY".into()));
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(server.status(BOB.0), "PENDING");
    server.stop(&adas.session_id(), &adas.token());
    until("there is room", || server.initialise(BOB.0).status == 200);
}

#[test]
fn what_initialise_reads_and_refuses() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.add_customer(BOB);
    let send = |headers: &[(&str, &str)], body: &str| {
        server.send("POST", "/initializeSession", headers, body.as_bytes()).pair()
    };
    let ended = server.create(ADA, json!({}));
    server.stop(&ended.session_id(), &ended.token());
    until("the session has ended", || server.status(ADA.0) == "IDLE");
    server.create(ADA, json!({}));
    let bobs = server.create(BOB, json!({}));
    let email = ADA.0;

    for body in ["", "{}", "[\"ada@example.org\"]", r#"{"EMAIL":1}"#, r#"{"EMAIL":""}"#, r#"{"EMAIL":"a","TOKEN":1}"#] {
        assert_eq!(send(&[], body), (400, "INVALID_REQUEST".into()), "{body}");
    }
    let encoded = send(&[("Content-Encoding", "gzip")], &json!({"EMAIL": email}).to_string());
    assert_eq!(encoded, (415, "UNSUPPORTED_CONTENT_TYPE".into()));
    for token in [bobs.token(), "nonsense".into(), String::new()] {
        let body = json!({"EMAIL": email, "TOKEN": token}).to_string();
        assert_eq!(send(&[], &body), (401, "TOKEN_REQUIRED".into()), "{token}");
        let header = format!("Bearer {token}");
        assert_eq!(send(&[("Authorization", &header)], &body), (401, "TOKEN_REQUIRED".into()), "{token}");
    }
    let body = json!({"EMAIL": email, "TOKEN": ended.token()}).to_string();
    assert_eq!(send(&[], &body), (404, "NO_SESSION_PENDING".into()));
    assert_eq!(server.status(email), "PENDING");

    let body = json!({"EMAIL": email, "TOKEN": null, "MORE": 1}).to_string();
    assert_eq!(send(&[("Content-Type", "text/plain")], &body), (200, "SESSION_INITIALIZED".into()));
    let body = json!({"EMAIL": BOB.0, "TOKEN": bobs.token()}).to_string();
    assert_eq!(send(&[("Content-Type", "application/bytes")], &body), (200, "SESSION_INITIALIZED".into()));
}

fn slow_setup(command: &str, max_running: u32, auto_initialize: bool) -> Setup {
    let binary = env!("CARGO_BIN_EXE_frontdesk");
    Setup::with_config(&format!(
        "[limits]\nmax_running = {max_running}\n[personas.CUSTOMERS]\ncommand = {command}\n\
         environment = {{ FRONTDESK = \"{binary}\" }}\nauto_initialize = {auto_initialize}\n"
    ))
}

fn at_once(callers: usize, call: impl Fn() -> Answer + Sync) -> Vec<Answer> {
    let ready = std::sync::Barrier::new(callers);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    call()
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

fn count(answers: &[Answer], status: u16, message: &str) -> usize {
    answers.iter().filter(|answer| answer.pair() == (status, message.into())).count()
}
