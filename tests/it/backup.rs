//! `frontdesk backup` of running servers, and `frontdesk restore` to another place.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup, until};

/// The sessions that a server or a directory has, as `session list` tells.
fn sessions(server: &Server, data_dir: &str) -> Vec<Value> {
    let (status, output, errors) = server.run(&["session", "list", "--all", "--json", "--data-dir", data_dir], "");
    assert!(status.success(), "{errors}");
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn back_up(server: &Server, target: &str) {
    let (status, _, errors) = server.run(&["backup", target], "");
    assert!(status.success(), "{errors}");
}

fn restore(server: &Server, file: &str, data_dir: &str) {
    let (status, _, errors) = server.run(&["restore", file, "--data-dir", data_dir], "");
    assert!(status.success(), "{errors}");
}

fn verify(server: &Server, data_dir: &str) -> String {
    server.run(&["verify", data_dir], "").1
}

#[test]
fn under_load_a_backup_has_every_session_that_was_answered_before_it_began() {
    let server = Server::start(Setup::with_config("throttle.enabled = false\n"));
    let customers: Vec<_> = (0..12).map(|number| format!("c{number}@example.org")).collect();
    for email in &customers {
        server.add_customer((email, ADA.1));
    }
    let large = json!({"large": "x".repeat(80 << 10)});
    let mut before: Vec<String> = Vec::new();
    for email in &customers[..6] {
        before.push(server.create((email, ADA.1), large.clone()).json()["SESSION_ID"].as_str().unwrap().to_owned());
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Sessions with files come and go, so that files are made and removed all the while.
        for email in &customers[6..] {
            let (server, large, is_over) = (&server, &large, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let created = server.create((email, ADA.1), large.clone()).json();
                    server.stop(created["SESSION_ID"].as_str().unwrap(), created["TOKEN"].as_str().unwrap());
                }
            });
        }
        for number in 0..3 {
            back_up(&server, &format!("backup-{number}.tar"));
        }
        is_over.store(true, Ordering::SeqCst);
    });

    for number in 0..3 {
        let place = format!("restored-{number}");
        restore(&server, &format!("backup-{number}.tar"), &place);
        let text = verify(&server, &place);
        assert!(text.contains(": nothing wrong"), "{text}");
        let there = sessions(&server, &place);
        for id in &before {
            assert!(there.iter().any(|row| row["id"] == id.as_str() && row["phase"] == "PENDING"), "{id}");
        }
    }
}

#[test]
fn a_restored_desk_goes_on_with_its_tokens_beside_the_one_it_comes_from() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let created = server.create(ADA, json!({})).json();
    let token = created["TOKEN"].as_str().unwrap();
    assert_eq!(server.initialise(ADA.0).message(), "SESSION_INITIALIZED");
    let pids = server.agents();
    back_up(&server, "a.tar");

    let other = Server::restored(&server, "a.tar");

    until("the restored session runs", || other.status(ADA.0) == "RUNNING" && other.agents().len() == 1);
    assert_eq!(server.agents(), pids, "the first desk keeps its agents");
    assert_ne!(other.agents(), pids);
    until("the restored agent answers", || other.relay(ADA.0, token, &json!("hi")).message() == "REQUEST_HANDLED");
    assert_eq!(server.relay(ADA.0, token, &json!("hi")).message(), "REQUEST_HANDLED");
    for desk in [&server, &other] {
        assert!(verify(desk, "frontdesk-data").contains(": nothing wrong"));
    }
}

#[test]
fn a_stopped_server_is_backed_up_as_well_and_a_directory_names_the_file_by_the_time() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({"large": "x".repeat(80 << 10)}));
    assert!(server.terminate().success());
    std::fs::create_dir(server.path("backups")).unwrap();
    let (status, output, errors) = server.run(&["backup", "backups"], "");
    assert!(status.success(), "{errors}");
    assert!(output.contains(": live sessions: 1, ended: 0, customers: 2 ("), "{output}");
    let name = std::fs::read_dir(server.path("backups")).unwrap().next().unwrap().unwrap().file_name();
    let name = name.into_string().unwrap();
    assert!(name.starts_with("frontdesk-20") && name.ends_with("Z.tar"), "{name}");
    restore(&server, &format!("backups/{name}"), "again");
    assert!(verify(&server, "again").starts_with("checked 1 live session, 0 ended, 2 customers"));
}

#[test]
fn a_damaged_backup_is_refused_with_a_sentence() {
    let server = Server::start(Setup::default());
    back_up(&server, "a.tar");
    let mut bytes = std::fs::read(server.path("a.tar")).unwrap();
    bytes[9_000] ^= 1;
    std::fs::write(server.path("a.tar"), bytes).unwrap();
    let (status, _, errors) = server.run(&["restore", "a.tar", "--data-dir", "again"], "");
    assert_eq!(status.code(), Some(1));
    assert!(
        errors.starts_with("error: a.tar is no whole backup: frontdesk.db is not what was put into it"),
        "{errors}"
    );
    assert!(!server.path("again").exists());
}

#[cfg(feature = "failpoints")]
#[test]
fn a_command_that_is_killed_leaves_nothing_under_the_final_name_and_is_in_nobody_s_way() {
    use frontdesk::failpoint::Failpoint;

    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({"large": "x".repeat(80 << 10)}));
    let killed = |point: Failpoint, arguments: &[&str]| {
        let mut command = server.command();
        let status = command.args(arguments).env("FRONTDESK_FAILPOINT", format!("{}=kill", point.name())).status();
        assert_eq!(status.unwrap().code(), None, "{} was not reached", point.name());
    };
    let [copied, before_place, restored] = Failpoint::OF_BACKUPS;
    for point in [copied, before_place] {
        killed(point, &["backup", "a.tar"]);
        assert!(!server.path("a.tar").exists(), "{}", point.name());
    }
    back_up(&server, "a.tar");
    killed(restored, &["restore", "a.tar", "--data-dir", "again"]);
    assert!(!server.path("again").exists());
    restore(&server, "a.tar", "again");
    let left: Vec<_> =
        std::fs::read_dir(server.directory()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{left:?}");
}

#[test]
fn a_backup_that_is_not_there_is_said_to_be_missing() {
    let server = Server::start(Setup::default());
    let (status, _, errors) = server.run(&["restore", "no-such.tar", "--data-dir", "again"], "");
    assert_eq!(status.code(), Some(2));
    assert!(errors.contains("there is no file no-such.tar; name the file that `frontdesk backup` wrote"), "{errors}");
    assert!(!server.path("again").exists());
}
