//! What agents say while servers are killed and started is kept once and in order.

use std::time::Duration;

use serde_json::json;

use crate::desk::{Desk, Opened, persona};
use crate::harness::{ADA, repository, until};
use crate::sequence::{body, sequence, whole};

const ROUNDS: usize = 4;
const CUSTOMERS: [(&str, &str); 4] = [
    ADA,
    ("bob@example.org", "battery staple"),
    ("eve@example.org", "correct staple"),
    ("sam@example.org", "a b c d e"),
];

#[test]
fn no_event_is_missing_or_doubled_however_often_the_server_is_killed() {
    let script = repository().join("tests/it/agents/counting.py");
    let mut desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", "-u", script]).to_string(), ""));
    for customer in &CUSTOMERS[1..] {
        desk.server.add_customer(*customer);
    }
    let sessions = CUSTOMERS.map(|customer| desk.open(customer));
    let pids = sessions.each_ref().map(|session| desk.row(session).pid);
    for round in 1..=ROUNDS {
        for session in &sessions {
            until("more events are kept", || said(&desk, session).len() > round * 40);
        }
        desk.server.kill();
        // They go on without anybody who listens.
        std::thread::sleep(Duration::from_millis(60));
        desk.server.start_again();
        assert_eq!(sessions.each_ref().map(|session| desk.row(session).pid), pids);
    }
    for session in &sessions {
        desk.stop(session);
        let said = said(&desk, session);
        assert!(said.iter().copied().eq(1..=said.len() as u64), "{said:?}");
        assert_eq!(whole(&desk.server, &session.id), ["PENDING", "STARTING", "RUNNING", "STOPPING", "ENDED"]);
    }
}

/// The numbers that the agent gave its events, as they are kept.
fn said(desk: &Desk, session: &Opened) -> Vec<u64> {
    let events = sequence(&desk.server, &session.id);
    let said = events.iter().filter(|event| event.kind == "event");
    said.map(|event| body(event)["N"].as_u64().unwrap()).collect()
}
