//! An operator has a session go on with another agent.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::{Desk, Opened, faulty, persona};
use crate::harness::{ADA, Answer, Setup, until};
use crate::operators::{Operated, problem};
use crate::sequence::sequence;

const READ: Scope = Scope::SessionsRead;
const WRITE: Scope = Scope::SessionsWrite;

#[test]
fn the_next_agent_answers_after_a_restart_and_the_sequence_says_who_wanted_it() {
    let desk = Operated::new(Setup::default());
    let session = running(&desk);
    let before = desk.server.agents();

    let answer = restart(&desk, &session, "?epoch=1");

    assert_eq!((answer.status, &answer.json()["phase"]), (202, &json!("STARTING")), "{answer:?}");
    assert_eq!(answer.json()["reason"], "restarted by the operator sessions:write");
    until("the next agent answers", || desk.server.relay(ADA.0, &session.token, &json!(1)).status == 200);
    assert!(before.iter().all(|pid| !desk.server.agents().contains(pid)), "the first agent is still there");
    until("all is told", || sequence(&desk.server, &session.id).len() >= 6);
    let told: Vec<_> = sequence(&desk.server, &session.id)
        .iter()
        .map(|event| serde_json::from_str::<Value>(event.body.get()).unwrap())
        .map(|body| (body["phase"].clone(), body["epoch"].clone(), body["reason"].clone()))
        .collect();
    let reason = json!("restarted by the operator sessions:write");
    assert_eq!(
        told[2..],
        [
            (json!("RUNNING"), json!(1), Value::Null),
            (json!("STARTING"), json!(1), reason.clone()),
            (json!("STARTING"), json!(2), reason),
            (json!("RUNNING"), json!(2), Value::Null),
        ]
    );
}

#[test]
fn a_restart_that_names_the_epoch_is_done_once_however_often_it_is_sent() {
    let desk = Operated::new(Setup::default());
    let session = running(&desk);

    let first = restart(&desk, &session, "?epoch=1");
    until("the next agent answers", || desk.server.relay(ADA.0, &session.token, &json!(1)).status == 200);
    let again = restart(&desk, &session, "?epoch=1");

    assert_eq!((first.status, again.status), (202, 200), "{again:?}");
    assert_eq!((&again.json()["phase"], &again.json()["epoch"]), (&json!("RUNNING"), &json!(2)));
    let noted = desk.audited("session.restarted");
    assert_eq!((noted.len(), &noted[0]["session"], &noted[0]["customer"]), (1, &json!(session.id), &json!(ADA.0)));
    assert_eq!(problem(&restart(&desk, &session, "?epoch=3")), (409, "wrong_phase".into()));
    assert_eq!(problem(&restart(&desk, &session, "?epoch=first")), (400, "invalid_request".into()));
}

#[test]
fn only_a_session_with_an_agent_is_restarted() {
    let desk = Operated::new(Setup::default());
    let opened = desk.server.create(ADA, json!({}));
    let session = Opened { email: ADA.0, id: opened.session_id(), token: opened.token() };

    assert_eq!(problem(&restart(&desk, &session, "")), (409, "wrong_phase".into()));
    // Nobody who initialises meanwhile is told that there is nothing to initialise.
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    assert!(desk.server.stop(&session.id, &session.token).status < 300);
    until("it has ended", || desk.server.status(ADA.0) == "IDLE");

    assert_eq!(problem(&restart(&desk, &session, "")), (409, "wrong_phase".into()));
    assert_eq!(desk.audited("session.restarted").len(), 0);
}

#[test]
fn requests_to_an_agent_that_is_being_replaced_are_to_be_sent_again_soon() {
    let config = faulty(&["on-request"], "stop_grace = \"1h\"");
    let desk = Operated::new(Setup::with_config(&config));
    let session = running(&desk);

    deafen(&desk, &session);

    assert_eq!(restart(&desk, &session, "").status, 202);

    let answer = desk.server.relay(ADA.0, &session.token, &json!(1));
    assert_eq!((answer.pair(), answer.header("retry-after")), ((503, "AGENT_RESTARTING".into()), "1"));
    assert_eq!(desk.server.status(ADA.0), "RUNNING");
    // It does not go by itself, and the operator has not all day.
    let path = format!("/v1/sessions/{}?force=true", session.id);
    assert!(desk.call(WRITE, "DELETE", &path, &Value::Null).status < 300);
    until("it has ended", || desk.server.status(ADA.0) == "IDLE");
    until("no agent is left", || desk.server.agents().is_empty());
}

#[test]
fn a_session_that_waits_to_start_its_agent_again_starts_at_once() {
    // The first agent marks that it was there; each later one fails, until the other mark is made.
    let script = "test ! -e was_here || test -e go || exit 3; touch was_here; exec \"$0\" agent echo";
    let command = json!(["sh", "-c", script, env!("CARGO_BIN_EXE_frontdesk")]).to_string();
    let directory = tempfile::tempdir().unwrap();
    let keys = format!("working_directory = {}", json!(directory.path()));
    let desk = Desk::new(&persona("CUSTOMERS", &command, &keys));
    let ada = desk.open(ADA);
    desk.ask(&ada, &json!({"exit": 1}));
    // By then it waits for almost five seconds and more.
    until("it has failed often", || desk.row(&ada).epoch >= 7);
    std::fs::write(directory.path().join("go"), "").unwrap();

    let (status, said, errors) = desk.server.run(&["session", "restart", ADA.0], "");

    assert!(status.success(), "{errors}");
    assert!(said.contains("is restarting"), "{said}");
    assert!(desk.epoch_when_answering(&ada) >= 8);
    let told = sequence(&desk.server, &ada.id);
    assert!(told.iter().any(|event| event.body.get().contains("restarted by an operator")), "{told:?}");
}

#[test]
fn a_restart_outlives_the_server_that_was_to_do_it() {
    let config = faulty(&["on-request"], "stop_grace = \"1h\"");
    let mut desk = Operated::new(Setup::with_config(&config));
    let session = running(&desk);
    deafen(&desk, &session);
    let agent = desk.server.agents();
    assert_eq!(restart(&desk, &session, "").status, 202);
    desk.server.kill();

    desk.server.start_again();

    assert_eq!(desk.server.agents(), agent);
    let seen = desk.call(READ, "GET", &format!("/v1/sessions/{}", session.id), &Value::Null).json();
    assert_eq!((&seen["phase"], &seen["epoch"]), (&json!("STARTING"), &json!(1)));
    desk.server.kill_agents();
    until("the next agent answers", || desk.server.relay(ADA.0, &session.token, &json!(1)).status == 200);
    let seen = desk.call(READ, "GET", &format!("/v1/sessions/{}", session.id), &Value::Null).json();
    assert_eq!((&seen["phase"], &seen["epoch"]), (&json!("RUNNING"), &json!(2)));
}

/// A running session of Ada's.
fn running(desk: &Operated) -> Opened {
    let opened = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    Opened { email: ADA.0, id: opened.session_id(), token: opened.token() }
}

/// Makes the session's agent one that does not end when it is asked to.
fn deafen(desk: &Operated, session: &Opened) {
    let answer = desk.server.relay(ADA.0, &session.token, &json!({"do": "ignore-sigterm"}));
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn restart(desk: &Operated, session: &Opened, query: &str) -> Answer {
    desk.call(WRITE, "POST", &format!("/v1/sessions/{}/restart{query}", session.id), &Value::Null)
}
