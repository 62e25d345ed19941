//! The main job, as a new user sees it: a customer gets a session, from the request to its end.

use serde_json::json;

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
fn a_server_that_is_told_to_stop_ends_its_agents_and_starts_them_again_at_its_next_start() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    let created = server.create(ADA, json!({}));
    server.initialise(ADA.0);

    assert!(server.terminate().success());
    assert!(server.agents().is_empty());
    server.start_again();

    until("the session runs again", || server.relay(ADA.0, &created.token(), &json!(1)).status == 200);
    assert_eq!(server.agents().len(), 1);
}
