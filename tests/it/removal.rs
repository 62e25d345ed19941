//! Whatever an agent makes of its directory, the server removes it, lives on and starts again.

use std::path::PathBuf;

use serde_json::json;

use crate::desk::{BOB, Desk, faulty, goes_on, response};
use crate::harness::{ADA, until};

#[test]
fn an_agent_that_nests_directories_deeper_than_any_stack_costs_nobody_the_server() {
    let mut desk = Desk::new(&faulty(&["on-request"], "own_directory = true"));
    desk.server.add_customer(BOB);
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    assert_eq!(response(&desk, &ada, &json!({"do": "nest-directories"})), "nested");

    desk.stop(&ada);

    goes_on(&desk, &bob);
    until("the directory is removed", || removed(&desk).read_dir().is_ok_and(|mut left| left.next().is_none()));
    assert!(desk.server.terminate().success());
}

#[test]
fn a_start_removes_deep_directories_of_sessions_that_it_does_not_go_on_with() {
    let mut desk = Desk::new(&faulty(&["on-request"], "own_directory = true"));
    let ada = desk.open(ADA);
    assert_eq!(response(&desk, &ada, &json!({"do": "nest-directories"})), "nested");
    desk.server.kill();
    desk.server.setup.config = "[personas.OTHERS]\ncommand = [\"frontdesk\", \"agent\", \"echo\"]\n".into();

    desk.server.start_again();

    let place = desk.server.data_dir().join("agents").join(&ada.id);
    until("the session has ended", || !place.exists());
    until("the directory is removed", || removed(&desk).read_dir().is_ok_and(|mut left| left.next().is_none()));
    assert!(desk.server.terminate().success());
}

fn removed(desk: &Desk) -> PathBuf {
    desk.server.data_dir().join("agents/.removed")
}
