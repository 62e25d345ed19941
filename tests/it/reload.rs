//! The configuration is read again while the server runs: all that can change is in force, or nothing.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup, signal, until};

const ECHO: &str = "command = ['frontdesk', 'agent', 'echo']\n";

fn reload(server: &Server, config: &str) -> (Option<i32>, String, String) {
    std::fs::write(server.path("frontdesk.toml"), config).unwrap();
    let (status, output, errors) = server.run(&["reload"], "");
    (status.code(), output, errors)
}

fn create(server: &Server, persona: &str) -> Value {
    let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": persona, "DATA": {}});
    let headers = [("Content-Type", "application/json")];
    server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes()).json()
}

#[test]
fn what_can_change_is_in_force_at_once_and_what_needs_a_restart_is_listed() {
    let server = Server::start(Setup::with_config(&format!("[personas.OLD]\n{ECHO}")));
    server.add_customer(ADA);
    let old = create(&server, "OLD");
    assert_eq!(server.initialise(ADA.0).status, 200);

    let config = format!("events.keep = '1 MiB'\nhistory.keep = '1d'\nlimits.max_running = 1\n[personas.NEW]\n{ECHO}");
    let (code, output, errors) = reload(&server, &config);

    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for line in [
        "events.keep: \"16 MiB\" -> \"1 MiB\" (needs a restart)\n",
        "history.keep: \"30d\" -> \"1d\" (in force)\n",
        "limits.max_running: 2000 -> 1 (in force)\n",
        "personas.NEW: new (in force)\n",
        "personas.OLD: gone; its live sessions go on until the next start (in force)\n",
        "configuration read again: 4 changed and in force, 1 after a restart\n",
    ] {
        assert!(output.contains(line), "{line} is not in\n{output}");
    }
    // The session of the persona that is gone is served to its end.
    let token = old["TOKEN"].as_str().unwrap();
    assert_eq!(server.relay(ADA.0, token, &json!("hi")).message(), "REQUEST_HANDLED");
    server.stop(old["SESSION_ID"].as_str().unwrap(), token);
    until("it has ended", || server.run(&["session", "list"], "").1.is_empty());
    assert_eq!(create(&server, "OLD")["MESSAGE"], "INVALID_REQUEST");
    assert_eq!(create(&server, "NEW")["MESSAGE"], "SESSION_CREATION_REQUEST_ACCEPTED");
    assert_eq!(server.initialise(ADA.0).status, 200);
    let (_, node, _) = server.run(&["status", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&node).unwrap()["max_running"], json!(1));
}

#[test]
fn a_broken_configuration_changes_nothing_and_says_what_is_wrong() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    let (code, output, errors) = reload(&server, "limits.max_running = 1\nlissten = 1\nlog.level = 5\n");
    assert_eq!((code, output.as_str()), (Some(2), ""), "the command itself reads it first: {errors}");
    signal(server.pid(), Signal::HUP);
    let line = server.await_log("configuration refused; the one before stays in force");
    assert!(line["problem"].as_str().unwrap().contains("did you mean `listen`?"), "{line}");
    std::fs::write(server.path("frontdesk.toml"), "").unwrap();
    let (_, node, _) = server.run(&["status", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&node).unwrap()["max_running"], json!(2_000));
}

#[test]
fn a_hangup_reads_the_configuration_again_and_ends_nothing() {
    let server = Server::start(Setup::default());
    server.add_customer(ADA);
    create(&server, "CUSTOMERS");
    server.initialise(ADA.0);
    let agents = server.agents();
    std::fs::write(server.path("frontdesk.toml"), "log.level = 'debug'\n").unwrap();
    signal(server.pid(), Signal::HUP);
    let line = server.await_log("configuration changed");
    assert_eq!((&line["change"], &line["in_force"]), (&json!("log.level: \"info\" -> \"debug\""), &json!(true)));
    assert_eq!(server.await_log("configuration read again")["outcome"], "1 changed, all in force");
    assert_eq!(server.status(ADA.0), "RUNNING");
    assert_eq!(server.agents(), agents);
}

#[test]
fn more_room_starts_those_who_waited_for_it() {
    let persona = format!("[personas.CUSTOMERS]\n{ECHO}auto_initialize = true\n");
    let config = |most| format!("limits.max_running = {most}\n{persona}");
    let server = Server::start(Setup::with_config(&config(1)));
    let emails = ["a@example.org", "b@example.org"];
    for email in emails {
        server.add_customer((email, ADA.1));
        server.create((email, ADA.1), json!({}));
    }
    until("one runs", || server.agents().len() == 1);
    reload(&server, &config(2));
    until("both run", || emails.iter().all(|email| server.status(email) == "RUNNING"));
}

#[test]
fn a_service_manager_hears_of_the_start_the_reload_and_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let hear = |wanted: &str| loop {
        let mut text = [0; 1_024];
        let length = socket.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        if text.starts_with(wanted) {
            return text;
        }
    };
    let mut server = Server::start(Setup::default().env("NOTIFY_SOCKET", path.to_str().unwrap()));
    assert!(hear("READY=1").contains("STATUS=ready: version"));
    signal(server.pid(), Signal::HUP);
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(hear("READY=1").contains("nothing has changed"));
    assert!(server.terminate().success());
    hear("STOPPING=1");
}
