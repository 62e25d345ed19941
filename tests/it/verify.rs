//! `frontdesk verify` on real directories: silent on a sound one, in words on a damaged one.

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup, signal, until};

/// The name of a data file that was never finished.
const STRAY: &str = "018bcfe5-6800-7000-8000-000000000000.part";

#[test]
fn a_running_server_and_a_stopped_one_verify_with_nothing_wrong() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({"large": "x".repeat(100 << 10)}));
    server.initialise(ADA.0);

    assert_eq!(
        verify(&server),
        (0, "checked 1 live session, 0 ended, 2 customers, 1 agent process: nothing wrong\n".into())
    );
    assert!(server.terminate().success());
    let before = names(&server);
    let summary = "checked 1 live session, 0 ended, 2 customers, 1 agent process: nothing wrong";
    assert_eq!(verify(&server), (0, format!("{summary}; 1 agent runs on without a server\n")));
    let (stopped, _, errors) = server.run(&["stop", "--agents"], "");
    assert!(stopped.success(), "{errors}");
    assert_eq!(
        verify(&server),
        (0, "checked 1 live session, 0 ended, 2 customers, 0 agent processes: nothing wrong\n".into())
    );
    assert_eq!(names(&server), before, "nothing is made beside what is there");
}

#[test]
fn a_killed_server_s_directory_is_read_with_its_log() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({}));
    server.kill();

    assert_eq!(verify(&server).0, 0);
    assert!(verify(&server).1.starts_with("checked 1 live session"), "{:?}", verify(&server));
}

#[test]
fn an_agent_that_runs_on_after_a_crash_is_in_order_and_taken_up_by_the_next_start() {
    let (mut server, _, pid) = with_plain_agent();
    server.kill();

    let (code, text) = verify(&server);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 agent runs on without a server"), "{text}");
    server.start_again();
    assert_eq!(verify(&server).0, 0);
    assert_eq!(server.agents(), [pid]);
}

#[test]
fn what_a_crash_left_of_an_agent_is_told_and_gone_after_the_next_start() {
    let (mut server, session, pid) = with_plain_agent();
    server.kill();
    let database = Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM sessions", []).unwrap(), 1);
    drop(database);

    let (code, text) = verify(&server);
    assert_eq!(code, 1);
    for expected in [
        format!(
            "session {session}: its directory agents/{session} is there, and the session is not live; the next start"
        ),
        format!("session {session}: its process {pid} runs, and the session is not live; the next start ends it"),
    ] {
        assert!(text.contains(&expected), "{expected} is not in\n{text}");
    }
    assert_eq!(text.lines().count(), 5, "directory, shim, process, events and summary: {text}");
    let events = Connection::open(server.data_dir().join("events.db")).unwrap();
    events.execute_batch("DELETE FROM events; DELETE FROM ledgers;").unwrap();
    drop(events);
    server.start_again();
    assert_eq!(verify(&server).0, 0, "{:?}", verify(&server));
    assert!(!server.agents().contains(&pid));
}

#[test]
fn a_running_session_whose_shim_was_killed_beside_its_server_is_left_to_the_next_start() {
    let (mut server, session, agent) = with_plain_agent();
    let place = frontdesk::shim::place::Place::new(&server.data_dir().join(format!("agents/{session}")));
    let (shim, _) = place.last_shim().unwrap().unwrap();
    server.kill();
    signal(shim.unsigned_abs(), Signal::KILL);
    // The agent goes with its shim, and the lock with both.
    until("the agent is gone", || !server.agents().contains(&agent));

    let sentence = format!(
        "session {session}: it is RUNNING under epoch 1, and its shim is gone without a word; the next start starts its \
         agent again"
    );
    let (code, text) = verify(&server);
    assert_eq!((code, text.lines().next()), (0, Some(format!("note: {sentence}").as_str())), "{text}");
    server.start_again();
    until("the agent is started again", || !server.agents().is_empty() && server.status(ADA.0) == "RUNNING");
    until("nothing is wrong any more", || verify(&server).0 == 0);
}

#[test]
fn what_somebody_broke_is_said_a_sentence_each() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    let id = server.create(ADA, json!({})).session_id();
    assert!(server.terminate().success());
    let database = Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    let break_it = |sql: &str| assert_eq!(database.execute(sql, []).unwrap(), 1, "{sql}");
    break_it(
        "INSERT INTO sessions (id, customer, email, persona, created, origin, revision, phase, tokens, data)
         SELECT randomblob(16), customer, email, persona, created, origin, 0, phase, tokens, data FROM sessions",
    );
    break_it("UPDATE sessions SET phase = '{\"LIMBO\":{}}', data = x'5b5d' WHERE revision = 1");
    break_it("UPDATE customers SET password_hash = 'secret' WHERE key = 'ada@example.org'");
    break_it("INSERT INTO console_sessions VALUES (randomblob(32), randomblob(16), 1, 1)");
    database.execute_batch("DROP TRIGGER audit_is_not_deleted").unwrap();
    drop(database);
    std::fs::write(server.data_dir().join("data").join(STRAY), "").unwrap();

    std::fs::write(server.data_dir().join("data/notes.txt"), "somebody's own").unwrap();

    let (code, text) = verify(&server);

    assert_eq!(code, 1);
    for expected in [
        "of the same customer ada@example.org; restore the data directory from a backup with `frontdesk restore`",
        &format!("session {id}: its phase can't be read"),
        &format!("session {id}: its DATA is damaged (it is JSON, but no object)"),
        "its revision is 0 and not at least 1",
        "customer ada@example.org: the stored password is no argon2id hash; set a new one",
        "a console session was opened with a token that is not on record",
        "the audit can be changed: the triggers that guard it are gone",
        &format!("the file data/{STRAY} belongs to no live session's DATA; the next start removes it"),
        "checked 2 live sessions, 0 ended, 2 customers, 0 agent processes: 7 findings; 1 note on what the next start settles",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn programs_read_the_findings_as_json() {
    let mut server = Server::start(Setup::default());
    assert!(server.terminate().success());
    std::fs::write(server.data_dir().join("data").join(STRAY), "").unwrap();

    let (status, text, _) = server.run(&["verify", "--json", "frontdesk-data"], "");

    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status.code(), Some(0), "what the next start settles is a note");
    assert_eq!(report["customers"], 1);
    assert_eq!(report["findings"][0]["nature"], "leftover");
    let (_, text, _) = server.run(&["verify"], "");
    assert!(text.starts_with("note: the file data/"), "{text}");
    assert!(text.contains(": 1 note on what the next start settles"), "{text}");
}

#[test]
fn a_path_that_is_no_data_directory_is_refused_with_exit_code_2() {
    let server = Server::start(Setup::default());
    for path in ["frontdesk-data/data", "no-such-path", "frontdesk.toml"] {
        let (status, _, errors) = server.run(&["verify", path], "");
        assert_eq!(status.code(), Some(2), "{path}");
        assert!(errors.contains("is not a data directory of frontdesk"), "{errors}");
    }
}

#[test]
fn the_directory_is_found_as_other_commands_find_it() {
    let mut server = Server::start(Setup::default());
    assert!(server.terminate().success());
    let place = server.data_dir().display().to_string();
    for arguments in [&["verify"][..], &["verify", "--data-dir", &place], &["verify", &place]] {
        let (status, text, errors) = server.run(arguments, "");
        assert_eq!((status.code(), text.contains(": nothing wrong")), (Some(0), true), "{arguments:?} {errors}");
    }
    let (status, _, errors) = server.run(&["verify", "--data-dir", &place, &place], "");
    assert_eq!(status.code(), Some(2), "{errors}");
}

/// A server with one session, which is RUNNING; its id, and its agent's process.
fn with_plain_agent() -> (Server, String, u32) {
    let config = r#"
        [personas.CUSTOMERS]
        command = ["sleep", "600"]
        protocol = "none"
    "#;
    let server = Server::start(Setup::with_config(config));
    server.add_customer(ADA);
    let session = server.create(ADA, json!({})).session_id();
    server.initialise(ADA.0);
    let pid = server.agents()[0];
    (server, session, pid)
}

fn verify(server: &Server) -> (i32, String) {
    let (status, text, errors) = server.run(&["verify", "frontdesk-data"], "");
    // It looks twice where something is wrong, and says so after a second.
    assert!(errors.lines().all(|line| line.starts_with("verifying, ")), "{errors}");
    (status.code().unwrap(), text)
}

fn names(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.data_dir()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
