//! A launcher or a shim that was held up while its server died does nothing once a newer agent may act.

use std::thread;

use frontdesk::id::Epoch;
use serde_json::json;

use crate::desk::{Desk, Opened};
use crate::harness::{ADA, Server, Setup, try_send, until};

#[test]
fn a_launcher_that_was_late_starts_nothing_beside_a_newer_agent() {
    a_late_one_starts_nothing("launcher-before-fork");
}

#[test]
fn a_shim_that_was_late_starts_nothing_beside_a_newer_agent() {
    a_late_one_starts_nothing("shim-before-lock");
}

#[test]
fn a_shim_that_was_late_starts_nothing_after_a_newer_agent_has_ended() {
    let (desk, ada, late) = overtaken("shim-before-lock");
    desk.stop(&ada);
    resume(&desk);
    until("the late one is gone", || late.iter().all(|pid| !desk.server.own_processes().contains(pid)));
    assert!(desk.server.agents().is_empty());
}

fn a_late_one_starts_nothing(point: &str) {
    let (desk, ada, late) = overtaken(point);
    let agent = desk.server.marked();
    assert_eq!(agent.iter().map(|process| process.epoch).collect::<Vec<_>>(), [Some(Epoch(2))]);

    resume(&desk);

    until("the late one is gone", || {
        assert_eq!(desk.server.marked(), agent, "another agent was started");
        late.iter().all(|pid| !desk.server.own_processes().contains(pid))
    });
    // Whatever the launcher has forked meanwhile is gone, too: there are the server, its launcher and one shim.
    until("one shim is left", || desk.server.own_processes_at_work().len() == 3);
    assert_eq!(desk.server.marked(), agent);
    assert_eq!(desk.ask(&ada, &json!("still there?")).json()["RESPONSE"]["handled"], 2);
    assert_eq!(desk.row(&ada).epoch, 2);
}

/// A server whose agent has the epoch 2, and the processes that were to start that of the epoch 1 and stand at the point.
fn overtaken(point: &str) -> (Desk, Opened, Vec<u32>) {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    assert!(server.terminate().success());
    let (when, resume) = (server.path("when"), server.path("resume"));
    server.setup.environment = [
        ("FRONTDESK_FAILPOINT", format!("{point}=pause")),
        ("FRONTDESK_FAILPOINT_WHEN", when.display().to_string()),
        ("FRONTDESK_FAILPOINT_RESUME", resume.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec();
    server.start_again();
    let mut desk = Desk { server };
    let ada = desk.request(ADA);
    std::fs::write(&when, "").unwrap();
    let address = desk.server.address;
    let initialise = thread::spawn(move || {
        try_send(address, "POST", "/initializeSession", &[], json!({"EMAIL": ADA.0}).to_string().as_bytes())
    });
    until("the point is reached", || !when.exists());
    desk.server.kill();
    assert!(initialise.join().unwrap().is_err());
    until("only what is held up is left", || desk.server.own_processes().len() == 1);
    let late = desk.server.own_processes();

    desk.server.setup.environment.clear();
    desk.server.start_again();
    until("the session runs", || {
        let _ = desk.server.initialise(ADA.0);
        desk.row(&ada).phase == "RUNNING"
    });
    assert_eq!(desk.ask(&ada, &json!("first")).json()["RESPONSE"]["handled"], 1);
    (desk, ada, late)
}

fn resume(desk: &Desk) {
    std::fs::write(desk.server.path("resume"), "").unwrap();
}
