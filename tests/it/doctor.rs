//! `frontdesk doctor` on real set-ups: good ones end with 0, and what is broken is told with its cure.

use serde_json::Value;

use crate::credential_stub::{Behaviour, CredentialStub};
use crate::harness::{ADA, Server, Setup};

/// The exit code, and the findings that are no good news.
fn ask(server: &Server) -> (Option<i32>, Vec<Value>) {
    let (status, output, errors) = server.run(&["doctor", "--json", "--data-dir", "frontdesk-data"], "");
    assert_eq!(errors, "");
    let report: Value = serde_json::from_str(&output).unwrap();
    let findings = report["findings"].as_array().unwrap();
    (status.code(), findings.iter().filter(|finding| finding["level"] != "ok").cloned().collect())
}

fn errors(server: &Server) -> Vec<String> {
    let (_, found) = ask(server);
    let errors = found.iter().filter(|finding| finding["level"] == "error");
    errors.map(|finding| finding["sentence"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_running_server_and_a_stopped_one_are_found_well() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    let (code, found) = ask(&server);
    assert_eq!(code, Some(0), "{found:?}");
    let (_, text, _) = server.run(&["doctor"], "");
    assert!(
        text.contains(&format!("the server is ready: version {} on {};", env!("CARGO_PKG_VERSION"), server.address)),
        "{text}"
    );
    assert!(text.contains("the embedded credential server decides, and has 2 customers"), "{text}");
    assert!(server.terminate().success());
    assert_eq!(errors(&server), Vec::<String>::new());
}

#[test]
fn the_credential_server_that_the_running_server_asks_is_told_whatever_the_file_says() {
    let stub = CredentialStub::start(Behaviour::Decide);
    let server = Server::start(stub.setup(""));
    let mapping = server.path("ServiceURLMapping.json");
    let of_stub = std::fs::read(&mapping).unwrap();
    // A broken edit keeps the last good mapping in force.
    std::fs::write(&mapping, "{").unwrap();
    let (_, text, _) = server.run(&["doctor"], "");
    assert!(text.contains(" takes connections") && !text.contains("embedded credential server decides"), "{text}");

    // Elsewhere the file is not found, and the server goes by its own all the same.
    std::fs::write(&mapping, &of_stub).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let data_dir = server.data_dir();
    let mut doctor = server.command();
    doctor.current_dir(elsewhere.path()).args(["doctor", "--data-dir"]).arg(data_dir);
    let text = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(text.contains("warning service mapping: the running server asks "), "{text}");
    assert!(!text.contains("embedded credential server decides"), "{text}");
}

#[test]
fn each_part_of_a_broken_set_up_is_told_at_once() {
    let server = Server::start(Setup::default());
    let config = "[personas.ROBOTS]\ncommand = ['no-such-robot']\n[personas.AWAY]\nagent = 'http'\nservice = 'AWAY'\n";
    std::fs::write(server.path("frontdesk.toml"), config).unwrap();
    let mapping = r#"{"CREDENTIAL_SEVER": "127.0.0.1:1", "AWAY": "127.0.0.1:1"}"#;
    std::fs::write(server.path("ServiceURLMapping.json"), mapping).unwrap();

    let (code, found) = ask(&server);

    assert_eq!(code, Some(1));
    let text = found.iter().map(|finding| format!("{finding}\n")).collect::<String>();
    for expected in ["no such program in its PATH", "has CREDENTIAL_SEVER", "the agents of AWAY, can't be reached"] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn beside_a_wrong_configuration_the_server_and_what_it_stores_are_looked_at() {
    let server = Server::start(Setup::default());
    std::fs::write(server.path("frontdesk.toml"), "lissten = 1\n").unwrap();

    let (code, found) = ask(&server);
    let (_, text, _) = server.run(&["doctor"], "");

    assert_eq!(code, Some(1));
    assert!(found[0]["sentence"].as_str().unwrap().contains("did you mean `listen`?"));
    assert!(found[1]["sentence"].as_str().unwrap().starts_with("only the server, "), "{found:?}");
    for about in ["server: the server is ready", "data directory: ", "store: ", "machine: ", "clock: "] {
        assert!(text.contains(&format!(" {about}")), "{about} is not in\n{text}");
    }
}

#[test]
fn without_a_data_directory_that_can_be_made_out_only_the_configuration_is_told() {
    let server = Server::start(Setup::default());
    std::fs::write(server.path("frontdesk.toml"), "data_dir = 5\n").unwrap();
    let (status, text, _) = server.run(&["doctor"], "");
    assert_eq!((status.code(), text.lines().count()), (Some(1), 3), "{text}");
    assert!(text.contains("nothing else was looked at"), "{text}");
}

#[test]
fn a_damaged_store_and_a_taken_port_are_errors() {
    let mut server = Server::start(Setup::default());
    assert!(server.terminate().success());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = '{}'\n", taken.local_addr().unwrap());
    std::fs::write(server.path("frontdesk.toml"), listen).unwrap();
    let database = rusqlite::Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    database.execute("UPDATE customers SET password_hash = 'plain'", []).unwrap();
    drop(database);

    let found = errors(&server);

    assert!(found.iter().any(|sentence| sentence.contains("is no argon2id hash")), "{found:?}");
    assert!(found.iter().any(|sentence| sentence.ends_with("is taken")), "{found:?}");
}

#[test]
fn asking_changes_nothing() {
    let mut server = Server::start(Setup::default());
    assert!(server.terminate().success());
    let before = names(&server);
    ask(&server);
    assert_eq!(names(&server), before);
}

fn names(server: &Server) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(server.data_dir()).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}
