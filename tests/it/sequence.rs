//! A session's sequence: its creation, its transitions and what its agents said, numbered from 1 without gaps, whatever
//! happens to servers, and ended by its end.

use std::time::Duration;

use frontdesk::control::{self, Command, EventRow, Reply};
use frontdesk::store::sqlite::inspect;
use frontdesk::verify::verify;
use serde_json::{Value, json};

use crate::desk::{BOB, Desk, persona};
use crate::harness::{ADA, Server, repository, try_send, until};

#[test]
fn a_session_s_sequence_tells_its_whole_life_in_order() {
    let desk = Desk::new("");
    let ada = desk.open(ADA);
    desk.ask(&ada, &json!({"event": {"n": 1}, "output": ["a", "b"]}));
    desk.server.kill_agents();
    until("the next agent answers", || desk.ask(&ada, &json!(1)).status == 200);
    desk.stop(&ada);

    let events = sequence(&desk.server, &ada.id);

    let told: Vec<_> =
        events.iter().map(|event| (event.kind.as_str(), event.epoch, body(event)["phase"].clone())).collect();
    let expected = [
        ("transition", 0, json!("PENDING")),
        ("transition", 1, json!("STARTING")),
        ("transition", 1, json!("RUNNING")),
        ("output", 1, Value::Null),
        ("event", 1, Value::Null),
        ("transition", 2, json!("STARTING")),
        ("transition", 2, json!("RUNNING")),
        ("transition", 2, json!("STOPPING")),
        ("transition", 2, json!("ENDED")),
    ];
    assert_eq!(told, expected);
    let ended = json!({
        "phase": "ENDED", "epoch": 2, "revision": 7, "outcome": "stopped", "reason": "stopped by its customer",
    });
    assert_eq!(body(events.last().unwrap()), ended);
}

#[test]
fn a_session_that_ends_without_an_agent_has_its_end_and_one_whose_start_failed_says_why() {
    let desk = Desk::new(&persona("CUSTOMERS", r#"["false"]"#, "start_attempts = 2"));
    let ada = desk.request(ADA);
    assert_eq!(desk.server.initialise(ADA.0).status, 500);
    let failed = sequence(&desk.server, &ada.id).pop().unwrap();
    assert_eq!(body(&failed)["phase"], "PENDING");
    assert!(body(&failed)["reason"].as_str().unwrap().contains("exited with status 1"), "{failed:?}");
    assert!(desk.server.stop(&ada.id, &ada.token).status < 300);
    assert_eq!(whole(&desk.server, &ada.id), ["PENDING", "STARTING", "PENDING", "ENDED"]);
}

#[test]
fn what_an_operator_stops_without_a_server_has_its_end_as_well() {
    let mut desk = Desk::new("");
    let ada = desk.open(ADA);
    desk.server.kill();
    let (status, _, errors) = desk.server.run(&["session", "stop", &ada.id], "");
    assert!(status.success(), "{errors}");
    let (status, shown, _) = desk.server.run(&["session", "events", &ada.id], "");
    assert!(status.success());
    let kinds: Vec<_> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(4)).collect();
    assert_eq!(kinds, ["PENDING", "STARTING", "RUNNING", "STOPPING:", "ENDED:"]);
    desk.server.start_again();
    assert_eq!(whole(&desk.server, &ada.id), ["PENDING", "STARTING", "RUNNING", "STOPPING", "ENDED"]);
}

#[test]
fn no_number_and_no_transition_is_missing_or_doubled_however_often_the_server_is_killed() {
    const ROUNDS: u64 = 12;
    let script = repository().join("tests/it/agents/counting.py");
    let keys = "stop_grace = \"1s\"";
    let mut desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", "-u", script]).to_string(), keys));
    desk.server.add_customer(BOB);
    for round in 0..ROUNDS {
        let working: Vec<_> = [ADA, BOB].map(|customer| live_aside(&desk, customer)).into();
        std::thread::sleep(Duration::from_millis(40 + round * 61 % 400));
        if round % 3 == 2 {
            desk.server.kill_agents();
        }
        desk.server.kill();
        working.into_iter().for_each(|working| working.join().unwrap());
        desk.server.start_again();
    }
    for customer in [ADA, BOB] {
        until("the customer has no session", || {
            let created = desk.server.create(customer, json!({}));
            desk.server.stop(&created.session_id(), &created.token());
            desk.server.status(customer.0) == "IDLE"
        });
    }
    let tables = inspect::read(&desk.server.data_dir().join("frontdesk.db")).unwrap();
    assert!(tables.live.is_empty() && !tables.history.is_empty());
    for row in tables.history {
        assert_eq!(whole(&desk.server, &row.id.to_string()).last().unwrap(), "ENDED");
    }
    let findings: Vec<_> = verify(&desk.server.data_dir()).unwrap().findings.into_iter().map(|f| f.sentence).collect();
    assert_eq!(findings, [""; 0]);
}

#[test]
fn a_session_s_end_is_there_also_for_who_reads_it_without_a_server_after_a_crash() {
    let mut desk = Desk::new("");
    let ada = desk.request(ADA);
    // As a crash between the step and its transition leaves it: no event at all.
    assert!(desk.server.stop(&ada.id, &ada.token).status < 300);
    desk.server.kill();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(desk.server.data_dir().join(format!("events.db{suffix}")));
    }
    let (status, shown, _) = desk.server.run(&["session", "events", &ada.id, "--json"], "");
    assert!(status.success());
    let events: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events[0]["number"].as_u64(), events[1]["number"].as_u64(), events.len()), (Some(1), Some(2), 2));
    assert_eq!(events[1]["body"]["phase"], "ENDED");
    desk.server.start_again();
    assert_eq!(whole(&desk.server, &ada.id), ["PENDING", "ENDED"]);
}

/// Creates, initialises and stops in turns, until the server is gone.
fn live_aside(desk: &Desk, (email, password): (&'static str, &'static str)) -> std::thread::JoinHandle<()> {
    let address = desk.server.address;
    std::thread::spawn(move || {
        let send = |method: &str, path: &str, headers: &[(&str, &str)], body: &Value| {
            try_send(address, method, path, headers, body.to_string().as_bytes()).ok()
        };
        let create = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": "CUSTOMERS", "DATA": {}});
        loop {
            let headers = [("Content-Type", "application/json")];
            let Some(created) = send("POST", "/requestSessionCreation", &headers, &create) else { return };
            if send("POST", "/initializeSession", &[], &json!({"EMAIL": email})).is_none() {
                return;
            }
            let authorization = format!("Bearer {}", created.token());
            let path = format!("/v1/sessions/{}", created.session_id());
            if send("DELETE", &path, &[("Authorization", &authorization)], &Value::Null).is_none() {
                return;
            }
        }
    })
}

/// Everything that a session's sequence holds.
pub(crate) fn sequence(server: &Server, session: &str) -> Vec<EventRow> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut events: Vec<EventRow> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.number);
        let command = Command::ListEvents { session: session.to_owned(), after, most: 1_000 };
        let reply = runtime.block_on(control::send(&server.data_dir(), &command)).unwrap().unwrap();
        let Reply::Events(page) = reply else { panic!("{reply:?}") };
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
    }
}

/// The phases that a session's sequence tells of; fails the test unless its numbers have no gap, each revision is there
/// once and nothing follows its end.
pub(crate) fn whole(server: &Server, session: &str) -> Vec<String> {
    let events = sequence(server, session);
    assert!(events.iter().map(|event| event.number).eq(1..=events.len() as u64), "{events:?}");
    let steps: Vec<_> = events.iter().filter(|event| event.kind == "transition").map(body).collect();
    let revisions: Vec<_> = steps.iter().map(|step| step["revision"].as_u64().unwrap()).collect();
    assert!(revisions.iter().copied().eq(1..=revisions.len() as u64), "{steps:?}");
    let phases: Vec<_> = steps.iter().map(|step| step["phase"].as_str().unwrap().to_owned()).collect();
    if let Some(end) = events.iter().position(|event| body(event)["phase"] == "ENDED") {
        assert_eq!(end + 1, events.len(), "{events:?}");
    }
    phases
}

/// What an event says.
pub(crate) fn body(event: &EventRow) -> Value {
    serde_json::from_str(event.body.get()).unwrap()
}
