//! Each check on a snapshot made by hand: what is right passes, and one thing wrong is said.

use crate::clock::{Timestamp, WallTime};
use crate::id::{CustomerKey, Epoch, SessionId};
use crate::session::{Ending, Outcome, Phase, Reason};
use crate::store::Customer;
use crate::store::sqlite::inspect::{SessionRow, VERSION};

use super::{DataFile, Nature, Process, Server, Snapshot, check};

#[test]
fn a_sound_directory_has_no_findings() {
    assert_eq!(found(&sound()), [""; 0]);
}

#[test]
fn a_damaged_file_is_a_finding() {
    let snapshot = Snapshot { faults: vec!["page 7 is never used".into()], ..sound() };
    assert_found(&snapshot, "the store's file is damaged (page 7 is never used); restore the directory from a backup");
}

#[test]
fn a_schema_of_a_newer_binary_is_a_finding() {
    let snapshot = Snapshot { version: VERSION + 1, ..sound() };
    assert_found(&snapshot, "verify it with the newer frontdesk");
}

#[test]
fn a_store_that_its_first_start_did_not_finish_is_left_to_the_next_start() {
    let snapshot = Snapshot { version: 0, server: Server::Absent, ..empty() };
    assert_found(&snapshot, "the next start brings it up to date");
    assert_eq!(check(&snapshot)[0].nature, Nature::Leftover);
}

#[test]
fn two_live_sessions_of_one_customer_are_a_finding() {
    let mut snapshot = sound();
    snapshot.live.push(SessionRow { id: id(9), ..snapshot.live[0].clone() });
    assert_found(&snapshot, &format!("session {}: it is live beside session {}", id(9), id(1)));
}

#[test]
fn a_session_both_live_and_in_the_history_is_a_finding() {
    let mut snapshot = sound();
    snapshot.history.push(SessionRow { id: id(1), ..snapshot.history[0].clone() });
    assert_found(&snapshot, "it is both live and in the history");
}

#[test]
fn a_phase_at_the_wrong_place_is_a_finding() {
    let mut snapshot = sound();
    let (live, ended) = (snapshot.live[0].phase.clone(), snapshot.history[0].phase.clone());
    snapshot.live[0].phase = ended;
    assert_found(&snapshot, "it is ENDED and still among the live ones");
    let mut snapshot = sound();
    snapshot.history[0].phase = live;
    assert_found(&snapshot, "it is in the history and still PENDING");
}

#[test]
fn a_phase_that_can_t_be_read_is_a_finding() {
    let mut snapshot = sound();
    snapshot.live[0].phase = Err("expected value".into());
    assert_found(&snapshot, "its phase can't be read (expected value)");
}

#[test]
fn a_session_beyond_pending_has_an_epoch() {
    let mut snapshot = sound();
    snapshot.live[1].phase = Ok(running(0));
    snapshot.processes.clear();
    snapshot.server = Server::Absent;
    assert_found(&snapshot, "it is RUNNING and has epoch 0");
}

#[test]
fn a_revision_below_one_is_a_finding() {
    let mut snapshot = sound();
    snapshot.live[0].revision = 0;
    assert_found(&snapshot, "its revision is 0");
}

#[test]
fn a_session_has_one_to_four_whole_tokens() {
    for token_bytes in [0, 31, 33, 160] {
        let mut snapshot = sound();
        snapshot.live[0].token_bytes = token_bytes;
        assert_found(&snapshot, &format!("it has {token_bytes} bytes of token hashes"));
    }
}

#[test]
fn data_that_is_no_object_or_missing_is_a_finding() {
    let mut snapshot = sound();
    snapshot.live[0].inline_data = Some(Err("it is JSON, but no object".into()));
    assert_found(&snapshot, "its DATA is damaged");
    let mut snapshot = sound();
    snapshot.files.clear();
    assert_found(&snapshot, "it has no DATA: neither its row nor a file holds any");
    let mut snapshot = sound();
    snapshot.files[0].fault = Some("EOF".into());
    assert_found(&snapshot, "is damaged (EOF)");
}

#[test]
fn a_file_that_no_session_means_is_left_to_the_next_start() {
    for (name, session) in [(format!("{}.json", id(7)), Some(id(7))), (format!("{}.part", id(1)), None)] {
        let mut snapshot = sound();
        snapshot.files.push(DataFile { name: name.clone(), session, fault: None });
        snapshot.server = Server::Absent;
        snapshot.processes.clear();
        assert_found(&snapshot, &format!("the file data/{name} belongs to no live session's DATA; the next start"));
        assert_eq!(check(&snapshot)[0].nature, Nature::Leftover);
    }
}

#[test]
fn an_ended_session_says_why() {
    let mut snapshot = sound();
    snapshot.history[0].phase = Ok(ended(" "));
    assert_found(&snapshot, "it has ended without a reason");
}

#[test]
fn a_customer_has_a_canonical_key_and_an_argon2id_hash() {
    let mut snapshot = sound();
    snapshot.customers[0].key = CustomerKey::new("Ada@example.org");
    assert_found(&snapshot, "the key is not the canonical form of the email");
    for hash in ["correct horse", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"] {
        let mut snapshot = sound();
        snapshot.customers[0].password_hash = hash.into();
        assert_found(&snapshot, "the stored password is no argon2id hash");
        assert!(!found(&snapshot)[0].contains(hash));
    }
}

#[test]
fn a_running_server_expires_what_is_overdue() {
    let now = Timestamp::from_micros(1_000_000_000);
    let overdue = Snapshot { now, ..sound() };
    assert_found(&overdue, "it is PENDING and expired more than a minute ago");
    let mut stopped = Snapshot { now, server: Server::Absent, ..sound() };
    stopped.processes.clear();
    assert_eq!(found(&stopped), [""; 0]);
}

#[test]
fn a_process_without_a_live_session_or_of_another_epoch_is_a_finding() {
    let mut snapshot = sound();
    snapshot.processes.push(Process { pid: 70, group: 70, session: id(7), ..snapshot.processes[0] });
    assert_found(&snapshot, "its process 70 runs, and the session is not live");
    let mut snapshot = sound();
    snapshot.processes[0].epoch = Some(Epoch(2));
    assert_found(&snapshot, "its process 50 is of epoch 2, and the session's is 3");
    let mut snapshot = sound();
    snapshot.processes.push(Process { pid: 71, group: 71, session: id(1), ..snapshot.processes[0] });
    assert_found(&snapshot, "its process 71 runs, and the session is PENDING");
}

#[test]
fn two_agents_of_one_session_are_a_finding_and_an_agent_s_children_are_none() {
    let mut snapshot = sound();
    let agent = snapshot.processes[0];
    snapshot.processes.push(Process { pid: 51, parent: 50, group: 50, ..agent });
    snapshot.processes.push(Process { pid: 52, parent: 50, group: 52, ..agent });
    snapshot.processes.push(Process { pid: 53, parent: 1, group: 53, ..agent });
    assert_eq!(found(&snapshot), [""; 0]);
    snapshot.processes.push(Process { pid: 60, group: 60, ..agent });
    assert_found(&snapshot, "two agents run for it: processes 50 and 60");
}

#[test]
fn a_running_session_has_a_process_while_a_server_serves() {
    let mut snapshot = sound();
    snapshot.processes.clear();
    assert_found(&snapshot, "it is RUNNING and no process of its agent is found");
    for server in [Server::Absent, Server::Settling] {
        snapshot.server = server;
        assert_eq!(found(&snapshot), [""; 0]);
    }
}

#[test]
fn a_process_that_outlived_its_server_is_left_to_the_next_start() {
    let snapshot = Snapshot { server: Server::Absent, ..sound() };
    assert_found(&snapshot, "its process 50 is left over; the next start ends it");
    assert_eq!(check(&snapshot)[0].nature, Nature::Leftover);
}

fn assert_found(snapshot: &Snapshot, sentence: &str) {
    let found = found(snapshot);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(sentence), "{found:?}");
}

fn found(snapshot: &Snapshot) -> Vec<String> {
    check(snapshot).into_iter().map(|finding| finding.sentence).collect()
}

fn id(n: u8) -> SessionId {
    SessionId::new(WallTime::from_unix_millis(1), [n; 10])
}

fn empty() -> Snapshot {
    Snapshot {
        server: Server::Serving,
        now: Timestamp::from_micros(0),
        faults: Vec::new(),
        version: VERSION,
        live: Vec::new(),
        history: Vec::new(),
        customers: Vec::new(),
        files: Vec::new(),
        processes: Vec::new(),
    }
}

/// A served directory with a pending session, a running one with large data and its agent, an ended one, a customer.
fn sound() -> Snapshot {
    let pending = Phase::admitted(Timestamp::from_micros(1_000));
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";
    Snapshot {
        live: vec![
            session(1, "ada@example.org", pending, Some(Ok(()))),
            session(2, "bob@example.org", running(3), None),
        ],
        history: vec![session(3, "ada@example.org", ended("stopped by its customer"), None)],
        customers: vec![Customer {
            key: CustomerKey::new("ada@example.org"),
            email: "Ada@example.org".into(),
            password_hash: hash.into(),
            created: WallTime::from_unix_millis(1),
        }],
        files: vec![DataFile { name: format!("{}.json", id(2)), session: Some(id(2)), fault: None }],
        processes: vec![Process { pid: 50, parent: 40, group: 50, session: id(2), epoch: Some(Epoch(3)) }],
        ..empty()
    }
}

fn session(n: u8, customer: &str, phase: Phase, inline_data: Option<Result<(), String>>) -> SessionRow {
    let customer = CustomerKey::new(customer);
    SessionRow { id: id(n), customer, revision: 2, phase: Ok(phase), token_bytes: 64, inline_data }
}

fn running(epoch: u32) -> Phase {
    let at = Timestamp::from_micros(5);
    Phase::Running { epoch: Epoch(epoch), since: at, first_ready: at, failures: Default::default() }
}

fn ended(reason: &str) -> Phase {
    Phase::Ended { epoch: Epoch(1), ending: Ending::new(Outcome::Stopped, Reason::new(reason)) }
}
