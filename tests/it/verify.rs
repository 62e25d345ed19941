//! `frontdesk verify` on real directories: silent on a sound one, in words on a damaged one.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup};

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
fn a_process_that_a_crash_left_is_told_and_gone_after_the_next_start() {
    let config = r#"
        [personas.CUSTOMERS]
        command = ["sleep", "600"]
        protocol = "none"
    "#;
    let mut server = Server::start(Setup::with_config(config));
    server.add_customer(ADA);
    let created = server.create(ADA, json!({}));
    server.initialise(ADA.0);
    let pid = server.agents()[0];
    server.kill();

    let sentence = format!("session {}: its process {pid} is left over; the next start ends it", created.session_id());
    let (code, text) = verify(&server);
    assert_eq!((code, text.lines().next()), (1, Some(sentence.as_str())));
    server.start_again();
    assert_eq!(verify(&server).0, 0);
    assert!(!server.agents().contains(&pid));
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
        "INSERT INTO sessions SELECT randomblob(16), customer, email, persona, created, origin, 0, phase, tokens, data FROM sessions",
    );
    break_it("UPDATE sessions SET phase = '{\"LIMBO\":{}}', data = x'5b5d' WHERE revision = 1");
    break_it("UPDATE customers SET password_hash = 'secret' WHERE key = 'ada@example.org'");
    drop(database);
    std::fs::write(server.data_dir().join("data").join(STRAY), "").unwrap();

    std::fs::write(server.data_dir().join("data/notes.txt"), "somebody's own").unwrap();

    let (code, text) = verify(&server);

    assert_eq!(code, 1);
    for expected in [
        "of the same customer ada@example.org; no server starts like this",
        &format!("session {id}: its phase can't be read"),
        &format!("session {id}: its DATA is damaged (it is JSON, but no object)"),
        "its revision is 0 and not at least 1",
        "customer ada@example.org: the stored password is no argon2id hash; set a new one",
        &format!("the file data/{STRAY} belongs to no live session's DATA; the next start removes it"),
        "checked 2 live sessions, 0 ended, 2 customers, 0 agent processes: 6 findings",
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
    assert_eq!(status.code(), Some(1));
    assert_eq!(report["customers"], 1);
    assert_eq!(report["findings"][0]["nature"], "leftover");
}

#[test]
fn a_path_that_is_no_data_directory_is_refused_with_exit_code_2() {
    let server = Server::start(Setup::default());
    for path in ["frontdesk-data/data", "no-such-path", "frontdesk.toml"] {
        let (status, _, errors) = server.run(&["verify", path], "");
        assert_eq!(status.code(), Some(2), "{path}");
        assert!(errors.contains("is no data directory of frontdesk"), "{errors}");
    }
}

fn verify(server: &Server) -> (i32, String) {
    let (status, text, errors) = server.run(&["verify", "frontdesk-data"], "");
    assert_eq!(errors, "");
    (status.code().unwrap(), text)
}

fn names(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.data_dir()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
