//! The main job, as a new user sees it: a customer gets a session, from the request to its end.

use serde_json::json;

use crate::desk::{Desk, Opened};
use crate::harness::{ADA, Server, Setup, until};

#[test]
fn a_customer_gets_a_session_and_a_real_process_answers() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);

    assert_eq!(server.status(ADA.0), "IDLE");
    let created = server.create(ADA, json!({"theme": "dark"}));
    assert_eq!(created.pair(), (200, "SESSION_CREATION_REQUEST_ACCEPTED".into()));
    assert_eq!(server.status(ADA.0), "PENDING");

    assert_eq!(server.initialise(ADA.0).pair(), (200, "SESSION_INITIALIZED".into()));
    assert_eq!(server.status(ADA.0), "RUNNING");
    assert_eq!(server.agents().len(), 1);

    let answer = server.relay(ADA.0, &created.token(), &json!({"say": "hello"}));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["RESPONSE"]["echo"], json!({"say": "hello"}));

    assert_eq!(server.stop(&created.session_id(), &created.token()).status, 202);
    until("the session has ended", || server.status(ADA.0) == "IDLE");
    assert!(server.agents().is_empty());
    assert_eq!(server.relay(ADA.0, &created.token(), &json!(1)).pair(), (404, "NO_SESSION_RUNNING".into()));
}

#[test]
fn a_server_that_is_told_to_stop_leaves_its_agents_and_the_next_one_goes_on_with_them() {
    let (mut desk, ada) = running();
    let agent = desk.row(&ada).pid;

    assert!(desk.server.terminate().success());

    desk.server.await_log(LEFT);
    assert_eq!(desk.server.agents(), agent.into_iter().collect::<Vec<_>>());
    desk.server.start_again();
    assert_eq!(desk.ask(&ada, &json!(1)).json()["RESPONSE"]["handled"], 2);
    assert_eq!((desk.row(&ada).pid, desk.row(&ada).epoch), (agent, 1));
}

#[test]
fn frontdesk_stop_leaves_the_agents_too() {
    let (mut desk, ada) = running();
    let agent = desk.row(&ada).pid;

    let (status, output, errors) = desk.server.run(&["stop"], "");

    assert!(status.success(), "{errors}");
    assert_eq!(output, format!("stopping the server; its agents run on\n{LEFT}\n"));
    assert!(desk.server.wait().success());
    assert_eq!(desk.server.agents(), agent.into_iter().collect::<Vec<_>>());
    desk.server.start_again();
    assert_eq!(desk.ask(&ada, &json!(1)).json()["RESPONSE"]["handled"], 2);
}

#[test]
fn ctrl_c_ends_the_agents_and_the_next_start_brings_new_ones() {
    let (mut desk, ada) = running();

    assert!(desk.server.interrupt().success());

    assert!(desk.server.agents().is_empty());
    assert_starts_anew(&mut desk, &ada);
}

#[test]
fn frontdesk_stop_agents_ends_the_agents_and_the_next_start_brings_new_ones() {
    let (mut desk, ada) = running();

    let (status, output, errors) = desk.server.run(&["stop", "--agents"], "");

    assert!(status.success(), "{errors}");
    let ended = "stopped: every agent has ended, sessions that were running go on at the next start";
    assert_eq!(output, format!("stopping the server and its agents\n{ended}\n"));
    assert!(desk.server.wait().success());
    assert!(desk.server.agents().is_empty());
    assert_starts_anew(&mut desk, &ada);
}

#[test]
fn frontdesk_stop_agents_ends_what_a_server_that_was_stopped_before_has_left() {
    let (mut desk, ada) = running();
    assert!(desk.server.terminate().success());
    assert_eq!(desk.server.agents().len(), 1);

    let (status, output, errors) = desk.server.run(&["stop", "--agents"], "");

    assert!(status.success(), "{errors}");
    assert_eq!(output, "no server was running; ended 1 of its agents\n");
    assert!(desk.server.agents().is_empty());
    assert_starts_anew(&mut desk, &ada);
}

#[test]
fn frontdesk_stop_in_a_directory_that_is_none_of_ours_makes_nothing_there() {
    let (desk, _) = running();
    let elsewhere = tempfile::tempdir().unwrap();

    let (status, _, errors) = desk.server.run(&["stop", "--data-dir", elsewhere.path().to_str().unwrap()], "");

    assert!(!status.success() && errors.contains("is not a data directory"), "{errors}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

const LEFT: &str = "stopped: 1 agent runs on, and the next start takes it up; `frontdesk stop --agents` ends it";

/// A customer whose agent has answered once.
fn running() -> (Desk, Opened) {
    let desk = Desk::new("");
    let ada = desk.open(ADA);
    assert_eq!(desk.ask(&ada, &json!(1)).json()["RESPONSE"]["handled"], 1);
    (desk, ada)
}

/// Its agent was ended in order: another one comes at once, and no failure is counted.
fn assert_starts_anew(desk: &mut Desk, ada: &Opened) {
    desk.server.start_again();
    assert_eq!(desk.epoch_when_answering(ada), 2);
    assert_eq!(desk.server.agents(), [desk.row(ada).pid.unwrap()]);
}
