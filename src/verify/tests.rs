//! Each check on a snapshot made by hand: what is right passes, and one thing wrong is said.

use crate::agent::kept_logs::KeptLog;
use crate::clock::{Timestamp, WallTime};
use crate::id::{CustomerKey, Epoch, SessionId};
use crate::principal::{OperatorTokenId, Scope};
use crate::session::{Ending, Outcome, Phase, Reason, Start};
use crate::store::sqlite::inspect::{OperatorRows, SessionRow, VERSION};
use crate::store::{Customer, OperatorToken};
use crate::token::TokenHash;

use crate::events::inspect::{Inspected, Told};

use super::checks::running_on;
use super::{DataFile, Directory, Nature, Process, Server, Shim, Snapshot, check};

#[test]
fn a_sound_directory_has_no_findings() {
    assert_eq!(found(&sound()), [""; 0]);
}

#[test]
fn a_damaged_file_is_a_finding() {
    let snapshot = Snapshot { faults: vec!["page 7 is never used".into()], ..sound() };
    assert_found(
        &snapshot,
        "the store's file is damaged (page 7 is never used); restore the data directory from a backup",
    );
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
    without_agents(&mut snapshot);
    snapshot.directories.clear();
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
    let of_another = format!("{}.00000000000000aa.json", id(2));
    for (name, session, is_finished) in
        [(format!("{}.json", id(7)), id(7), true), (of_another, id(2), true), (format!("{}.part", id(1)), id(1), false)]
    {
        let mut snapshot = sound();
        snapshot.files.push(DataFile { name: name.clone(), session, is_finished, fault: None });
        snapshot.server = Server::Absent;
        assert_found(&snapshot, &format!("the file data/{name} belongs to no live session's DATA; the next start"));
        assert_eq!(check(&snapshot)[0].nature, Nature::Leftover);
    }
}

#[test]
fn what_a_running_server_receives_for_a_pending_session_is_in_order() {
    let receiving = |n| {
        let mut snapshot = sound();
        let name = format!("{}.00000000000000aa.part", id(n));
        snapshot.files.push(DataFile { name, session: id(n), is_finished: false, fault: None });
        snapshot
    };
    assert_eq!(found(&receiving(1)), [""; 0]);
    assert_found(&receiving(2), "belongs to no live session's DATA; the running server should have seen to it");
}

#[test]
fn a_customer_creates_one_session_with_one_key() {
    let with_key = |row: usize, key| {
        let mut snapshot = sound();
        snapshot.history[0].creation_key = Some([1; 32]);
        snapshot.live[row].creation_key = Some([key; 32]);
        snapshot
    };
    for sound in [with_key(0, 2), with_key(1, 1)] {
        assert_eq!(found(&sound), [""; 0]);
    }
    let what = format!("customer ada@example.org created it and session {} with one key", id(3));
    assert_found(&with_key(0, 1), &what);
}

#[test]
fn a_console_session_has_a_token_that_is_not_revoked() {
    let mut snapshot = sound();
    snapshot.operators.console[0] = OperatorTokenId::from_bytes([9; 16]);
    assert_found(&snapshot, "a console session was opened with a token that is not on record");
    let mut snapshot = sound();
    snapshot.operators.tokens[0].revoked = Some(WallTime::from_unix_millis(5));
    assert_found(&snapshot, "a console session goes on with the revoked token deploys");
}

#[test]
fn an_operator_s_token_allows_something() {
    let mut snapshot = sound();
    snapshot.operators.tokens[0].scopes.clear();
    assert_found(&snapshot, "operators' token deploys: it has no scope");
}

#[test]
fn the_audit_is_guarded_and_can_be_read() {
    let mut snapshot = sound();
    snapshot.operators.is_guarded = false;
    assert_found(&snapshot, "the audit can be changed");
    let mut snapshot = sound();
    snapshot.operators.strange_entries = 2;
    assert_found(&snapshot, "entries of the audit that can't be read: 2");
}

#[test]
fn an_ended_session_says_why() {
    let mut snapshot = sound();
    snapshot.history[0].phase = Ok(ended(" "));
    assert_found(&snapshot, "it has ended without a reason");
}

#[test]
fn keyed_requests_go_with_their_session() {
    let mut snapshot = sound();
    snapshot.noted.push(id(9));
    assert_found(&snapshot, &format!("session {}: its keyed requests are on record, and it is not", id(9)));
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
    let stopped = Snapshot { now, server: Server::Absent, ..sound() };
    assert_eq!(found(&stopped), [""; 0]);
}

#[test]
fn agents_that_run_on_without_a_server_are_in_order_and_counted() {
    let mut snapshot = Snapshot { server: Server::Absent, ..sound() };
    assert_eq!((found(&snapshot), running_on(&snapshot)), (Vec::new(), 1));
    snapshot.server = Server::Serving;
    assert_eq!(running_on(&snapshot), 0);
}

#[test]
fn a_process_that_no_session_claims_is_a_finding() {
    let on = |change: fn(&mut Process)| {
        let mut snapshot = sound();
        change(&mut snapshot.processes[0]);
        snapshot
    };
    assert_found(&on(|process| process.session = id(7)), "its process 50 runs, and the session is not live");
    assert_found(&on(|process| process.session = id(1)), "its process 50 runs, and the session is PENDING");
    let older = on(|process| process.epoch = Some(Epoch(2)));
    assert_found(&older, "its process 50 is of epoch 2, and the session's is 3; the running server should have seen");
    assert_found(&on(|process| process.shim = None), "its process 50 runs without a shim");
    assert_eq!(found(&on(|process| process.epoch = None)), [""; 0]);
}

#[test]
fn what_a_crash_left_of_agents_is_left_to_the_next_start() {
    let without_row = |mut snapshot: Snapshot| {
        snapshot.live.remove(1);
        snapshot.files.clear();
        snapshot.noted.clear();
        snapshot.events.sessions.clear();
        snapshot.server = Server::Absent;
        snapshot
    };
    let snapshot = without_row(sound());
    assert_eq!(
        found(&snapshot),
        [
            format!(
                "session {0}: its directory agents/{0} is there, and the session is not live; the next start removes it",
                id(2)
            ),
            format!(
                "session {}: its shim, process 40, runs, and the session is not live; the next start ends it",
                id(2)
            ),
            format!("session {}: its process 50 runs, and the session is not live; the next start ends it", id(2)),
        ]
    );
    assert!(check(&snapshot).iter().all(|finding| finding.nature == Nature::Leftover));
    assert_eq!(running_on(&snapshot), 0);
}

#[test]
fn a_directory_is_of_its_session_s_epoch() {
    for epoch in [2, 4] {
        let mut snapshot = sound();
        snapshot.directories[0].epoch = Some(Epoch(epoch));
        assert_found(&snapshot, &format!("is of epoch {epoch}, and the session's is 3"));
    }
}

#[test]
fn a_start_under_way_may_have_anything_older_in_its_directory_and_nothing_newer() {
    let mut snapshot = sound();
    snapshot.live[1].phase = Ok(starting(4));
    snapshot.processes.clear();
    assert_eq!(found(&snapshot), [""; 0]);
    snapshot.shims.clear();
    assert_eq!(found(&snapshot), [""; 0]);
    snapshot.directories[0].epoch = Some(Epoch(5));
    assert_found(&snapshot, "is of epoch 5, and the session's is 4");
}

#[test]
fn a_running_server_readies_the_directory_of_a_start_that_is_about_to_be_stored() {
    let mut snapshot = sound();
    snapshot.directories.push(Directory {
        session: id(1),
        epoch: Some(Epoch(1)),
        named: None,
        ..snapshot.directories[0]
    });
    assert_eq!(found(&snapshot), [""; 0]);
    let crashed = Snapshot { server: Server::Absent, ..snapshot };
    assert!(check(&crashed).iter().any(|finding| finding.sentence.contains("is of epoch 1, and the session's is 0")));
    let mut beyond = Snapshot { server: Server::Serving, ..crashed };
    beyond.directories[1].epoch = Some(Epoch(2));
    assert_found(&beyond, "is of epoch 2, and the session's is 0");
}

#[test]
fn a_shim_of_an_older_epoch_is_left_to_the_next_start() {
    let mut snapshot = Snapshot { server: Server::Absent, ..sound() };
    snapshot.live[1].phase = Ok(starting(4));
    snapshot.processes.clear();
    assert_found(&snapshot, "its shim, process 40, is of epoch 3, and the session's is 4; the next start ends it");
    assert_eq!((check(&snapshot)[0].nature, running_on(&snapshot)), (Nature::Leftover, 0));
}

#[test]
fn a_pending_session_may_have_the_directory_of_a_failed_start_and_no_shim() {
    let mut snapshot = sound();
    snapshot.directories.push(Directory { session: id(1), epoch: Some(Epoch(0)), ..snapshot.directories[0] });
    assert_eq!(found(&snapshot), [""; 0]);
    snapshot.shims.push(Shim { session: id(1), ..snapshot.shims[0] });
    assert_found(&snapshot, &format!("session {}: its shim, process 40, runs, and the session is PENDING", id(1)));
}

#[test]
fn a_session_has_one_shim_which_its_lock_names() {
    let mut snapshot = sound();
    snapshot.directories[0].named = Some(39);
    assert_found(&snapshot, "the lock of its directory names process 39, and its shim is process 40");
    snapshot.directories[0].named = None;
    snapshot.shims.push(Shim { pid: 41, ..snapshot.shims[0] });
    assert_found(&snapshot, "two shims have its directory: processes 40 and 41");
}

#[test]
fn a_shim_has_the_directory_that_is_there() {
    let mut snapshot = sound();
    snapshot.shims.push(Shim { pid: 41, is_in_place: false, ..snapshot.shims[0] });
    assert_found(&snapshot, "its shim, process 41, runs, and its directory is gone");
}

#[test]
fn a_lock_is_held_by_shims_only() {
    let mut snapshot = Snapshot { server: Server::Absent, ..sound() };
    snapshot.live[1].phase = Ok(starting(3));
    without_agents(&mut snapshot);
    snapshot.directories[0].stranger = Some(77);
    assert_found(&snapshot, "process 77 has the lock of its directory");
}

#[test]
fn a_running_session_s_directory_has_a_shim_and_that_an_agent() {
    let mut snapshot = sound();
    snapshot.shims[0].has_agent = false;
    assert_found(&snapshot, "it is RUNNING under epoch 3, and its shim, process 40, has no agent");
    without_agents(&mut snapshot);
    assert_found(&snapshot, "it is RUNNING under epoch 3, and no shim has its directory");
    snapshot.server = Server::Absent;
    assert_found(&snapshot, "its shim is gone without a word; the next start starts its agent again");
    snapshot.directories[0].ended = Some(Epoch(3));
    assert_eq!(found(&snapshot), [""; 0]);
}

#[test]
fn a_running_session_without_a_directory_may_be_a_service_s() {
    let mut snapshot = sound();
    without_agents(&mut snapshot);
    snapshot.directories.clear();
    for server in [Server::Serving, Server::Absent] {
        snapshot.server = server;
        assert_eq!(found(&snapshot), [""; 0]);
    }
}

#[test]
fn nothing_is_said_of_agents_while_a_server_settles_them_or_their_sessions_can_not_be_read() {
    let mut snapshot = sound();
    snapshot.shims[0].session = id(7);
    snapshot.server = Server::Settling;
    assert_eq!(found(&snapshot), [""; 0]);
    snapshot.server = Server::Serving;
    snapshot.faults.push("a row can't be read".into());
    assert_found(&snapshot, "the store's file is damaged");
}

#[test]
fn the_log_of_events_is_whole_and_of_known_sessions() {
    let mut snapshot = sound();
    snapshot.events.faults.push("page 3 is never used".into());
    assert_found(&snapshot, "the log of events is damaged (page 3 is never used); stop the server and move events.db");
    let mut snapshot = sound();
    snapshot.events.sessions.insert(id(3), Told { fault: Some("its events have no ledger".into()), revision: 0 });
    assert_found(&snapshot, "its log of events is damaged (its events have no ledger)");
    let mut snapshot = sound();
    snapshot.events.sessions.insert(id(3), Told { fault: None, revision: 3 });
    assert_found(&snapshot, "its events tell of revision 3, and it has come to revision 2 only");
    let mut snapshot = sound();
    snapshot.events.sessions.insert(id(9), Told::default());
    assert_found(&snapshot, "its events are kept, and the session is neither live nor in the history");
}

#[test]
fn a_kept_log_belongs_to_a_session_that_failed_and_whatever_is_wrong_with_it_is_a_note() {
    let mut snapshot = sound();
    let ending = Ending::new(Outcome::Failed, Reason::new("it broke"));
    snapshot.history[0].phase = Ok(Phase::Ended { epoch: Epoch(1), ending, log_bytes: 9 });
    assert_found(&snapshot, "its agent's log was kept, and its file in logs/ is gone; nothing else is lost");
    assert!(check(&snapshot)[0].is_note());
    snapshot.logs.push(kept_log(3, "log"));
    assert_eq!(found(&snapshot), [""; 0]);
    // The end of a session that lives may be about to be stored; without a server nobody stores it.
    snapshot.logs.push(kept_log(2, "log"));
    assert_eq!(found(&snapshot), [""; 0]);
    without_agents(&mut snapshot);
    snapshot.server = Server::Absent;
    for (session, extension) in [(2, "log"), (3, "part"), (9, "log")] {
        snapshot.logs[1] = kept_log(session, extension);
        let name = format!("{}.{extension}", id(session));
        let sentence = format!("the file logs/{name} is the log of no session that failed; the next start removes it");
        assert!(found(&snapshot).contains(&sentence), "{:?}", found(&snapshot));
        assert!(check(&snapshot).iter().all(super::Finding::is_note));
    }
}

fn kept_log(session: u8, extension: &str) -> KeptLog {
    KeptLog::of(format!("logs/{}.{extension}", id(session)).into()).unwrap()
}

/// Ends all agents and their shims.
fn without_agents(snapshot: &mut Snapshot) {
    snapshot.shims.clear();
    snapshot.processes.clear();
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
        noted: Vec::new(),
        customers: Vec::new(),
        operators: OperatorRows { is_guarded: true, ..OperatorRows::default() },
        files: Vec::new(),
        logs: Vec::new(),
        directories: Vec::new(),
        shims: Vec::new(),
        processes: Vec::new(),
        events: Inspected::default(),
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
        noted: vec![id(2)],
        customers: vec![Customer {
            key: CustomerKey::new("ada@example.org"),
            email: "Ada@example.org".into(),
            password_hash: hash.into(),
            created: WallTime::from_unix_millis(1),
            disabled: None,
        }],
        operators: OperatorRows {
            tokens: vec![OperatorToken {
                id: OperatorTokenId::from_bytes([1; 16]),
                name: "deploys".into(),
                scopes: vec![Scope::SessionsRead],
                hash: TokenHash([1; 32]),
                created: WallTime::from_unix_millis(1),
                expires: None,
                revoked: None,
            }],
            console: vec![OperatorTokenId::from_bytes([1; 16])],
            strange_entries: 0,
            is_guarded: true,
        },
        files: vec![DataFile { name: format!("{}.json", id(2)), session: id(2), is_finished: true, fault: None }],
        directories: vec![Directory {
            session: id(2),
            epoch: Some(Epoch(3)),
            ended: None,
            named: Some(40),
            stranger: None,
        }],
        shims: vec![Shim { pid: 40, session: id(2), is_in_place: true, has_agent: true }],
        processes: vec![Process { pid: 50, session: id(2), epoch: Some(Epoch(3)), shim: Some(40) }],
        events: Inspected {
            sessions: [(id(2), Told::default()), (id(3), Told::default())].into(),
            ..Inspected::default()
        },
        ..empty()
    }
}

fn session(n: u8, customer: &str, phase: Phase, inline_data: Option<Result<(), String>>) -> SessionRow {
    let customer = CustomerKey::new(customer);
    let data_file = (phase.is_live() && inline_data.is_none()).then(|| format!("{}.json", id(n)));
    let phase = Ok(phase);
    SessionRow { id: id(n), customer, revision: 2, phase, token_bytes: 64, inline_data, data_file, creation_key: None }
}

fn running(epoch: u32) -> Phase {
    let at = Timestamp::from_micros(5);
    Phase::Running { epoch: Epoch(epoch), since: at, first_ready: at, failures: Default::default() }
}

fn starting(epoch: u32) -> Phase {
    let at = Timestamp::from_micros(5);
    Phase::Starting {
        epoch: Epoch(epoch),
        not_before: at,
        deadline: at,
        start: Start::First { failed_starts: 0, last_failure: None },
    }
}

fn ended(reason: &str) -> Phase {
    Phase::Ended { epoch: Epoch(1), ending: Ending::new(Outcome::Stopped, Reason::new(reason)), log_bytes: 0 }
}
