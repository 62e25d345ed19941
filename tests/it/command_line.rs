//! The command line as people type it: what it does, what it prints, and what it says when it cannot.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup, until};

mod broken_file;
mod errors;
mod events;
mod first_start;
mod logs;
mod operators;
mod sessions;

/// A server, and the address that customers' commands are given.
struct Desk {
    server: Server,
    url: String,
}

impl Desk {
    fn start() -> Self {
        let server = Server::start(Setup::default());
        let url = format!("http://{}", server.address);
        Self { server, url }
    }

    /// Runs a command with this environment; returns its exit code, output and errors.
    fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.server.command();
        command.env("FRONTDESK_SERVER", &self.url).envs(environment.iter().copied());
        output(command.args(arguments), input)
    }

    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        self.run_with(&[], arguments, input)
    }

    fn token(&self) -> String {
        let arguments = ["session", "request", ADA.0, "--password-stdin", "--token-only"];
        let (code, token, errors) = self.run(&arguments, ADA.1);
        assert_eq!(code, 0, "{errors}");
        token.trim().to_owned()
    }
}

fn output(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no input may have ended before it is written.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The binary in a new directory in which nothing runs.
fn alone(arguments: &[&str], input: &str) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    output(frontdesk().current_dir(directory.path()).args(arguments), input)
}

fn frontdesk() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FRONTDESK_")) {
        command.env_remove(name);
    }
    // The help is wrapped to it.
    command.env("COLUMNS", "100");
    command
}

#[test]
fn a_session_lives_its_whole_life_by_commands() {
    let desk = Desk::start();
    desk.server.add_customer(ADA);
    assert_eq!(desk.run(&["session", "status", ADA.0], ""), (0, "IDLE\n".into(), String::new()));

    let request = ["session", "request", ADA.0, "--password-stdin", "--data", r#"{"theme":"dark"}"#, "--json"];
    let (code, printed, errors) = desk.run(&request, &format!("{}\n", ADA.1));
    assert_eq!((code, errors.as_str()), (0, ""));
    let opened: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(opened["already_running"], json!(false));
    let (id, token) = (opened["id"].as_str().unwrap(), opened["token"].as_str().unwrap());
    let as_customer = [("FRONTDESK_TOKEN", token)];

    assert_eq!(desk.run(&["session", "status", ADA.0], "").1, "PENDING\n");
    let started = desk.run_with(&as_customer, &["session", "initialize", ADA.0], "");
    assert_eq!(started, (0, "the session of ada@example.org is running\n".into(), String::new()));
    let (code, answer, errors) = desk.run_with(&as_customer, &["session", "send", ADA.0, "-"], "[1.000]");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(answer.starts_with(r#"{"echo":[1.000],"#), "{answer}");

    let (_, listed, _) = desk.run(&["session", "list", "--json"], "");
    let row: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((row["id"].as_str(), row["phase"].as_str()), (Some(id), Some("RUNNING")));
    assert_eq!(row["pid"], json!(desk.server.agents()[0]));
    let (_, table, _) = desk.run(&["session", "list", "--customer", "ADA@example.org"], "");
    let columns: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["ID", "PHASE", "CUSTOMER", "PERSONA", "AGE", "PID", "EPOCH", "REASON"]);
    assert_eq!(table.lines().count(), 2);

    let stopped = desk.run_with(&as_customer, &["session", "stop"], "");
    assert_eq!(stopped, (0, format!("session {id} is stopping\n"), String::new()));
    until("the session has ended", || desk.run(&["session", "list"], "").1.is_empty());
    let again = desk.run_with(&as_customer, &["session", "stop", id], "");
    assert_eq!(again, (0, format!("session {id} has ended: stopped\n"), String::new()));
    let (_, all, _) = desk.run(&["session", "list", "--all"], "");
    assert!(all.ends_with("stopped: stopped by its customer\n"), "{all}");
}

#[test]
fn a_customer_with_a_session_gets_a_fresh_token_of_it() {
    let desk = Desk::start();
    desk.server.add_customer(ADA);
    let first = desk.token();
    let arguments = ["session", "request", ADA.0, "--password-stdin", "--token-only", "--data", "{}"];
    let (code, second, note) = desk.run(&arguments, ADA.1);
    assert_eq!(code, 0);
    assert_ne!(first, second.trim());
    assert_eq!(note, "note: ada@example.org has a session already; this is a token of it; the data was not used\n");
    let started = desk.run_with(&[("FRONTDESK_TOKEN", second.trim())], &["session", "initialize", ADA.0], "");
    assert_eq!(started.0, 0);
}

#[test]
fn operators_commands_do_the_same_without_a_server() {
    let mut desk = Desk::start();
    desk.server.add_customer(ADA);
    let token = desk.token();
    desk.run_with(&[("FRONTDESK_TOKEN", &token)], &["session", "initialize", ADA.0], "");
    assert!(desk.server.terminate().success());

    let (_, customers, _) = desk.run(&["customer", "list", "--json"], "");
    let emails: Vec<_> =
        customers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["email"].clone()).collect();
    assert_eq!(emails, ["ada@example.org", "demo@example.com"]);
    let (_, listed, _) = desk.run(&["session", "list", "--json"], "");
    let row: Value = serde_json::from_str(&listed).unwrap();
    let id = row["id"].as_str().unwrap();
    let stopped = desk.run(&["session", "stop", id], "");
    assert_eq!(stopped, (0, format!("session {id} has ended: stopped\n"), String::new()));
    let changed = desk.run(&["customer", "passwd", "ADA@example.org", "--password-stdin"], "zither marmalade\r\n");
    assert_eq!(changed.0, 0, "{}", changed.2);

    desk.server.start_again();
    assert!(desk.server.agents().is_empty());
    assert_eq!(desk.server.create((ADA.0, "zither marmalade"), json!({})).status, 200);
}

#[test]
fn commands_that_find_the_directory_in_use_take_their_turn() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let path = directory.path();
            scope.spawn(move || {
                let email = format!("{number}@example.org");
                let mut add = frontdesk();
                add.current_dir(path).args(["customer", "add", &email, "--password-stdin"]);
                assert_eq!(output(&mut add, "correct horse"), (0, format!("added {email}\n"), String::new()));
            });
        }
    });
    let mut list = frontdesk();
    assert_eq!(
        output(list.current_dir(directory.path()).args(["customer", "list", "--json"]), "").1.lines().count(),
        8
    );
}

#[test]
fn the_socket_of_a_server_that_crashed_is_in_nobodys_way() {
    let mut desk = Desk::start();
    desk.server.kill();
    assert!(desk.server.data_dir().join("control.sock").exists());
    assert_eq!(desk.run(&["customer", "remove", "demo@example.com"], "").1, "removed demo@example.com\n");
    desk.server.start_again();
    assert_eq!(desk.run(&["customer", "list"], "").0, 0);
}

#[test]
fn removing_a_customer_stops_its_session() {
    let desk = Desk::start();
    desk.server.add_customer(ADA);
    let token = desk.token();
    desk.run_with(&[("FRONTDESK_TOKEN", &token)], &["session", "initialize", ADA.0], "");
    let removed = desk.run(&["customer", "remove", ADA.0], "");
    assert_eq!(removed, (0, "removed ada@example.org and stopped its session\n".into(), String::new()));
    until("its agent is gone", || desk.server.agents().is_empty());
    let (code, _, errors) = desk.run(&["customer", "remove", ADA.0], "");
    let said = "error: there is no customer ada@example.org; `frontdesk customer list` shows them\n";
    assert_eq!((code, errors.as_str()), (1, said));
}

#[test]
fn the_control_socket_is_private_and_works_in_a_directory_with_a_long_path() {
    let long = ["d".repeat(90), "e".repeat(90), "f".repeat(90)].join("/");
    let mut server = Server::start(Setup::default().env("FRONTDESK_DATA_DIR", &long));
    let mut add = server.command();
    add.env("FRONTDESK_DATA_DIR", &long).args(["customer", "add", ADA.0, "--password-stdin"]);
    assert_eq!(output(&mut add, ADA.1).0, 0);
    let mut list = server.command();
    list.env("FRONTDESK_DATA_DIR", &long).args(["customer", "list", "--json"]);
    let (code, listed, errors) = output(&mut list, "");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(listed.contains(ADA.0) && !listed.contains("demo@example.com"), "{listed}");
    let data = server.path(&long);
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("control.sock"), mode("")), (0o600, 0o700));
    assert!(server.terminate().success());
    assert!(!data.join("control.sock").exists());
}

#[test]
fn the_configuration_is_checked_and_shown_without_a_server() {
    let (code, said, _) = alone(&["config", "check"], "");
    let good = "no frontdesk.toml here, the defaults are good: 1 persona (CUSTOMERS), listens on 127.0.0.1:5500, data \
                in ./frontdesk-data\n";
    assert_eq!((code, said.as_str()), (0, good));

    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| output(frontdesk().current_dir(directory.path()).args(arguments), "");
    let (_, example, _) = run(&["config", "example"]);
    std::fs::write(directory.path().join("frontdesk.toml"), example).unwrap();
    assert!(run(&["config", "check"]).1.starts_with("frontdesk.toml is good: 1 persona (CUSTOMERS)"));
    std::fs::write(directory.path().join("shown.toml"), run(&["config", "show"]).1).unwrap();
    assert_eq!(run(&["config", "check", "--config", "shown.toml"]).0, 0);

    std::fs::write(directory.path().join("frontdesk.toml"), "listn = 1\nbehind_proxy = 2\n").unwrap();
    let (code, _, errors) = run(&["config", "check"]);
    assert_eq!(code, 2);
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(errors.starts_with("error: frontdesk.toml:1: unknown key `listn`; did you mean `listen`?\n"), "{errors}");
    assert_eq!(run(&["customer", "add", ADA.0]).2, errors);
    assert!(!directory.path().join("frontdesk-data").exists());
}

#[test]
fn every_shell_gets_its_completions() {
    let scripts: BTreeMap<_, _> =
        ["bash", "zsh", "fish"].map(|shell| (shell, alone(&["completions", shell], "").1)).into();
    for (shell, script) in &scripts {
        assert!(script.contains("completions") && script.contains("token-only"), "{shell}");
    }
    assert_eq!(alone(&["completions", "tcsh"], "").0, 2);
}

#[test]
fn the_help_reads_well() {
    let help = |arguments: &[&str]| {
        let (code, text, errors) = alone(arguments, "");
        assert_eq!((code, errors.as_str()), (0, ""));
        text
    };
    insta::assert_snapshot!("help", help(&["--help"]));
    insta::assert_snapshot!("help_session", help(&["session", "--help"]));
    insta::assert_snapshot!("help_session_request", help(&["session", "request", "--help"]));
    insta::assert_snapshot!("help_session_stop", help(&["session", "stop", "--help"]));
    insta::assert_snapshot!("help_agent_check", help(&["agent", "check", "--help"]));
    insta::assert_snapshot!("help_token_create", help(&["token", "create", "--help"]));
    insta::assert_snapshot!("help_audit", help(&["audit", "--help"]));
    insta::assert_snapshot!("help_config", help(&["config", "--help"]));
}
