//! What agents say while servers are killed and started is kept once and in order.

use std::time::Duration;

use frontdesk::control::{self, Command, Reply};
use serde_json::json;

use crate::desk::{Desk, Opened, persona};
use crate::harness::{ADA, repository, until};

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
        let expected: Vec<_> = (1..=said.len() as u64).map(|number| (number, number)).collect();
        assert_eq!(said, expected);
    }
}

/// The number of each event that is kept, and the one that the agent gave it.
fn said(desk: &Desk, session: &Opened) -> Vec<(u64, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut said = Vec::new();
    loop {
        let after = said.last().map_or(0, |(number, _)| *number);
        let command = Command::ListEvents { session: session.id.clone(), after, most: 1_000 };
        let reply = runtime.block_on(control::send(&desk.server.data_dir(), &command)).unwrap().unwrap();
        let Reply::Events(page) = reply else { panic!("{reply:?}") };
        if page.events.is_empty() {
            return said;
        }
        said.extend(page.events.iter().map(|event| {
            let body: serde_json::Value = serde_json::from_str(event.body.get()).unwrap();
            (event.number, body["N"].as_u64().unwrap())
        }));
    }
}
