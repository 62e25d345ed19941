//! A server that is stopped with SIGSTOP for longer than an answer may take: what came meanwhile still counts.

use std::path::PathBuf;
use std::time::Duration;

use frontdesk::clock::boot_time;
use rustix::process::Signal;
use serde_json::json;

use crate::desk::{Desk, Opened, faulty};
use crate::harness::{ADA, signal, until};
use crate::keyed_requests::{PARTS, has_said_a_part};

#[test]
fn an_answer_that_came_in_time_while_the_server_was_stopped_is_an_answer() {
    let desk = Desk::new(&format!("{PARTS}request_timeout = \"5s\"\n"));
    let ada = desk.open(ADA);
    let hold = desk.server.path("hold");
    let began = boot_time();
    let asked = desk.ask_aside(&ada, &json!({"parts": ["begun"], "hold": hold}));
    until("the agent works on it", || has_said_a_part(&desk, &ada));
    signal(desk.server.pid(), Signal::STOP);
    std::fs::write(hold, "").unwrap();
    until("the agent has answered", || {
        std::fs::read(spool(&desk, &ada)).is_ok_and(|said| String::from_utf8_lossy(&said).contains("\"result\": 1"))
    });
    until("the time for the answer is long over", || boot_time() >= began + Duration::from_secs(8));

    signal(desk.server.pid(), Signal::CONT);

    let answer = asked.join().unwrap();
    assert_eq!((answer.status, &answer.json()["RESPONSE"]), (200, &json!(1)), "{answer:?}");
}

#[test]
fn an_agent_that_answered_its_ping_while_the_server_was_stopped_is_kept() {
    let desk = Desk::new(&faulty(&["hold-ping"], "ping_interval = \"1s\"\nping_timeout = \"5s\""));
    let ada = desk.open(ADA);
    until("the agent is pinged", || desk.server.path("pinged").exists());
    let pinged = boot_time();
    signal(desk.server.pid(), Signal::STOP);
    let said = || std::fs::metadata(spool(&desk, &ada)).map_or(0, |spool| spool.len());
    let before = said();
    std::fs::write(desk.server.path("answer"), "").unwrap();
    until("the agent has answered", || said() > before);
    until("the time for its answer is long over", || boot_time() >= pinged + Duration::from_secs(8));

    signal(desk.server.pid(), Signal::CONT);

    assert_eq!(desk.ask(&ada, &json!("still there?")).status, 200);
    assert_eq!(desk.row(&ada).epoch, 1);
}

/// What the session's agent has said, as its shim keeps it.
fn spool(desk: &Desk, session: &Opened) -> PathBuf {
    desk.server.data_dir().join("agents").join(&session.id).join("spool")
}
