//! `POST /v1/sessions/{id}/initialize`.

use crate::desk::{BOB, persona};
use crate::harness::until;
use serde_json::json;

use super::{Opened, create, opened, problem, running, server};

/// An echo agent that is not ready before a file is there.
fn waiting(keys: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_frontdesk");
    let command = json!(["sh", "-c", "until [ -e go ]; do sleep 0.02; done; exec \"$0\" agent echo", binary]);
    persona("CUSTOMERS", &command.to_string(), keys)
}

#[test]
fn the_agent_is_started_once_however_many_ask_and_all_are_told() {
    let server = server(&waiting(""));
    let session = opened(&server);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..20).map(|_| scope.spawn(|| session.initialise(&server))).collect();
        until("it is being started", || session.see(&server)["phase"] == "STARTING");
        std::fs::write(server.path("go"), "").unwrap();
        for answer in asked.into_iter().map(|asked| asked.join().unwrap()) {
            assert_eq!((answer.status, &answer.json()["phase"]), (200, &json!("RUNNING")), "{answer:?}");
        }
    });
    let again = session.initialise(&server);
    assert_eq!((again.status, &again.json()["epoch"]), (200, &json!(1)));
    assert_eq!(server.agents().len(), 1);
}

#[test]
fn who_has_waited_long_enough_is_told_so_and_the_start_goes_on() {
    for keys in ["", "auto_initialize = true"] {
        let server = server(&waiting(keys));
        let session = opened(&server);
        let answer = session.call(&server, "POST", "/initialize?wait=0s", &[], b"");
        assert_eq!(answer.status, 202, "{answer:?}");
        session.call_and_hang_up(&server, "POST", "/initialize", "", b"");
        std::fs::write(server.path("go"), "").unwrap();
        assert_eq!(session.call(&server, "GET", "?wait=60s&until=RUNNING", &[], b"").json()["phase"], "RUNNING");
        let again = session.initialise(&server);
        assert_eq!((again.status, &again.json()["epoch"]), (200, &json!(1)));
        for wait in ["30", "6m", "x"] {
            let answer = session.call(&server, "POST", &format!("/initialize?wait={wait}"), &[], b"");
            assert_eq!(problem(&answer), (400, "invalid_request".into()), "{wait}");
        }
    }
}

#[test]
fn a_failed_start_says_why_and_may_be_tried_again_while_attempts_are_left() {
    let command = json!(["sh", "-c", "echo no such licence >&2; exit 3"]).to_string();
    let server = server(&persona("CUSTOMERS", &command, "start_attempts = 2"));
    let session = opened(&server);
    for phase in ["PENDING", "ENDED"] {
        let answer = session.initialise(&server);
        assert_eq!(problem(&answer), (502, "agent_not_started".into()));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("the agent exited with status 3 before it was ready"), "{detail}");
        assert_eq!(session.see(&server)["phase"], phase);
    }
    assert_eq!(problem(&session.initialise(&server)), (409, "wrong_phase".into()));
}

#[test]
fn a_session_that_is_stopping_or_over_is_not_started() {
    let server = server(&crate::desk::faulty(&["on-request"], "stop_grace = \"1m\""));
    let session = running(&server);
    assert_eq!(session.ask(&server, &[], &json!({"do": "ignore-sigterm"})).status, 200);
    assert_eq!(session.call(&server, "DELETE", "", &[], b"").status, 202);
    assert_eq!(problem(&session.initialise(&server)), (409, "wrong_phase".into()));
    session.end(&server);
    assert_eq!(problem(&session.initialise(&server)), (409, "wrong_phase".into()));
}

#[test]
fn without_room_for_an_agent_the_session_stays_pending() {
    let server = server("[limits]\nmax_running = 1\n");
    server.add_customer(BOB);
    let adas = running(&server);
    let bobs = json!({"email": BOB.0, "password": BOB.1, "persona": "CUSTOMERS"});
    let bobs = Opened::of(&create(&server, &[], &bobs));
    let refused = bobs.initialise(&server);
    assert_eq!(problem(&refused), (503, "no_capacity".into()));
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(bobs.see(&server)["phase"], "PENDING");
    adas.end(&server);
    until("there is room", || bobs.initialise(&server).status == 200);
}

#[test]
fn somebody_else_s_session_is_not_there() {
    let server = server("");
    server.add_customer(BOB);
    let adas = opened(&server);
    let bobs = json!({"email": BOB.0, "password": BOB.1, "persona": "CUSTOMERS"});
    let bobs = Opened::of(&create(&server, &[], &bobs));
    let mixed = Opened { id: adas.id.clone(), token: bobs.token };
    for answer in [mixed.initialise(&server), mixed.ask(&server, &[], &json!(1)), mixed.put_data(&server, b"{}")] {
        assert_eq!(problem(&answer), (404, "session_not_found".into()));
    }
    assert_eq!(adas.see(&server)["phase"], "PENDING");
}
