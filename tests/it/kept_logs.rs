//! The log of a session that failed: it stays with the session's history, for operators alone, and goes with it.

use std::os::unix::fs::PermissionsExt;

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::persona;
use crate::harness::{ADA, Answer, Server, Setup, until};
use crate::operators::{Operated, problem};
use crate::stream::unchunked;

/// Says why before it fails.
const FAILS: &str = r#"["sh", "-c", "echo starting >&2; echo the key is wrong >&2; exit 3"]"#;
/// Says something, and has done its work.
const FINISHES: &str = r#"["sh", "-c", "echo starting >&2"]"#;
const LOG: &str = "--- agent 1 ---\nstarting\nthe key is wrong\n";

fn config(command: &str, more: &str) -> Setup {
    Setup::with_config(&format!("{more}\n{}", persona("CUSTOMERS", command, "protocol = \"none\"")))
}

/// A session that has ended, and whose agent's directory is gone.
fn ended(server: &Server) -> Answer {
    let created = server.create(ADA, json!({}));
    assert_eq!(created.status, 200, "{created:?}");
    let _ = server.initialise(ADA.0);
    let directory = server.data_dir().join("agents").join(created.session_id());
    until("the session has ended", || server.status(ADA.0) == "IDLE" && !directory.exists());
    created
}

#[test]
fn the_log_of_a_session_that_failed_is_read_by_operators_when_its_directory_is_gone() {
    let desk = Operated::new(config(FAILS, ""));
    let failed = ended(&desk.server);
    let (id, kept) = (failed.session_id(), desk.server.data_dir().join("logs"));

    let read = logs(&desk, &id, "");
    assert_eq!((read.status, unchunked(&read)), (200, LOG.to_owned()));
    assert_eq!(unchunked(&logs(&desk, &id, "?tail=1&follow=true")), "the key is wrong\n");
    let path = format!("/v1/sessions/{id}");
    let session = desk.call(Scope::SessionsRead, "GET", &path, &Value::Null).json();
    assert_eq!((&session["outcome"], &session["log_bytes"]), (&json!("failed"), &json!(LOG.len())));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(kept.clone()), mode(kept.join(format!("{id}.log")))), (0o700, 0o600));

    let customers = desk.call_with(&failed.token(), "GET", &format!("{path}/logs"), &Value::Null);
    assert_eq!(problem(&customers), (403, "scope_required".into()), "{customers:?}");
    let seen = desk.call_with(&failed.token(), "GET", &path, &Value::Null);
    assert_eq!((seen.status, seen.json().get("log_bytes")), (200, None), "{seen:?}");
}

#[test]
fn the_log_of_a_session_that_failed_is_printed_with_and_without_a_server_and_in_a_restored_desk() {
    let mut server = Server::start(config(FAILS, ""));
    server.add_customer(ADA);
    let id = ended(&server).session_id();
    let print = |server: &Server| server.run(&["session", "logs", ADA.0, "--tail", "2"], "").1;
    assert_eq!(print(&server), "starting\nthe key is wrong\n");
    let (_, shown, errors) = server.run(&["session", "show", &id], "");
    assert!(shown.contains(&format!("`frontdesk session logs {id}` prints it")), "{shown}{errors}");
    let (status, _, errors) = server.run(&["backup", "desk.tar"], "");
    assert!(status.success(), "{errors}");

    assert!(server.terminate().success());
    assert_eq!(print(&server), "starting\nthe key is wrong\n");
    server.start_again();
    assert_eq!(print(&server), "starting\nthe key is wrong\n");

    let restored = Server::restored(&server, "desk.tar");
    assert_eq!(restored.run(&["session", "logs", &id], "").1, LOG);
    for server in [&server, &restored] {
        let verified = server.run(&["verify"], "").1;
        assert!(verified.contains("nothing wrong"), "{verified}");
    }
}

#[test]
fn a_kept_log_that_somebody_deletes_is_a_note_and_the_session_is_as_it_was() {
    let desk = Operated::new(config(FAILS, ""));
    let id = ended(&desk.server).session_id();
    std::fs::remove_file(desk.server.data_dir().join(format!("logs/{id}.log"))).unwrap();
    assert_eq!(problem(&logs(&desk, &id, "")), (410, "logs_gone".into()));
    let (status, verified, _) = desk.server.run(&["verify"], "");
    assert!(status.success() && verified.contains("its file in logs/ is gone; nothing else is lost"), "{verified}");
    assert!(verified.contains(": 1 note"), "{verified}");
}

#[test]
fn nothing_is_kept_of_a_session_that_did_not_fail_nor_where_it_is_off() {
    for (command, more) in [(FINISHES, ""), (FAILS, "history.log = 'off'")] {
        let desk = Operated::new(config(command, more));
        let id = ended(&desk.server).session_id();
        assert_eq!(problem(&logs(&desk, &id, "")), (410, "logs_gone".into()));
        assert_eq!(std::fs::read_dir(desk.server.data_dir().join("logs")).unwrap().count(), 0);
        let (status, _, errors) = desk.server.run(&["session", "logs", &id], "");
        assert_eq!(status.code(), Some(1));
        assert!(errors.starts_with("error: the session has ended, and its log went with it"), "{errors}");
    }
}

#[test]
fn only_the_end_of_a_long_log_is_kept() {
    let long = r#"["sh", "-c", "seq 100000 >&2; exit 3"]"#;
    let desk = Operated::new(config(long, "history.log = '1 KiB'"));
    let id = ended(&desk.server).session_id();
    let read = unchunked(&logs(&desk, &id, "?tail=100000"));
    let lines: Vec<u32> = read.lines().map(|line| line.parse().unwrap()).collect();
    assert!(read.len() <= 1_024 && lines.len() > 140, "{} bytes", read.len());
    assert_eq!(lines, (100_001 - u32::try_from(lines.len()).unwrap()..=100_000).collect::<Vec<_>>());
}

fn logs(desk: &Operated, id: &str, query: &str) -> Answer {
    desk.call(Scope::SessionsRead, "GET", &format!("/v1/sessions/{id}/logs{query}"), &Value::Null)
}
