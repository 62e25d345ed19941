//! `frontdesk drain`: nothing new is taken, what runs is served on, and it can be taken back.

use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup, until};

const BOB: (&str, &str) = ("bob@example.org", "another good password");

fn drain(server: &Server, arguments: &[&str]) -> (Option<i32>, String, String) {
    let (status, output, errors) = server.run(&[&["drain"], arguments].concat(), "");
    (status.code(), output, errors)
}

fn is_ready(server: &Server) -> bool {
    server.send("GET", "/readyz", &[], b"").status == 200
}

#[test]
fn a_drained_server_serves_what_runs_and_takes_nothing_new_until_that_is_over() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.add_customer(BOB);
    let ada = server.create(ADA, json!({})).json();
    let token = ada["TOKEN"].as_str().unwrap();
    server.initialise(ADA.0);

    let (code, output, errors) = drain(&server, &[]);
    assert_eq!(
        (code, output.as_str()),
        (Some(0), "draining: the server takes nothing new; 1 agent runs on\n"),
        "{errors}"
    );

    assert!(!is_ready(&server));
    assert_eq!(server.relay(ADA.0, token, &json!("hi")).message(), "REQUEST_HANDLED");
    let refused = server.create(BOB, json!({}));
    assert_eq!((refused.status, refused.message().as_str()), (503, "NOT_READY"));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(refused.json()["DETAIL"].as_str().unwrap().contains("is being drained"));
    // Who has a session gets a token of it: a lost answer locks nobody out.
    assert_eq!(server.create(ADA, json!({})).message(), "SESSION_ALREADY_RUNNING");
    let (status, text, _) = server.run(&["status"], "");
    assert_eq!(status.code(), Some(1));
    assert!(text.starts_with("not ready, it is being drained"), "{text}");

    assert_eq!(drain(&server, &["--cancel"]).0, Some(0));
    assert!(is_ready(&server));
    assert_eq!(server.create(BOB, json!({})).status, 200);
    assert_eq!(server.initialise(BOB.0).status, 200);
}

#[test]
fn pending_sessions_wait_and_say_why_and_start_once_the_drain_is_over() {
    let persona = "[personas.CUSTOMERS]\ncommand = ['frontdesk', 'agent', 'echo']\nauto_initialize = true\n";
    let server = Server::start(Setup::with_config(&format!("limits.max_running = 1\n{persona}")));
    server.add_customer(ADA);
    server.add_customer(BOB);
    let ada = server.create(ADA, json!({})).json();
    until("the first runs", || server.status(ADA.0) == "RUNNING");
    server.create(BOB, json!({}));
    drain(&server, &[]);
    server.stop(ada["SESSION_ID"].as_str().unwrap(), ada["TOKEN"].as_str().unwrap());
    let (code, output, errors) = drain(&server, &["--wait", "1m"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.ends_with("no agent runs: the server can be stopped\n"), "{output}");

    assert_eq!(server.status(BOB.0), "PENDING");
    let (_, listed, _) = server.run(&["session", "list", "--json"], "");
    let row: Value = serde_json::from_str(&listed).unwrap();
    assert!(row["reason"].as_str().unwrap().ends_with("the server is being drained and starts no agents"), "{row}");
    assert_eq!(server.initialise(BOB.0).message(), "NOT_READY");

    drain(&server, &["--cancel"]);
    until("the second runs", || server.status(BOB.0) == "RUNNING");
}

#[test]
fn waiting_ends_in_time_and_a_restart_ends_the_drain() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({}));
    server.initialise(ADA.0);
    let (code, _, errors) = drain(&server, &["--wait", "0s"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("1 agent still runs"), "{errors}");
    assert!(server.terminate().success());
    let (code, _, errors) = drain(&server, &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no server runs on ./frontdesk-data"), "{errors}");
    server.start_again();
    assert!(is_ready(&server));
}
