//! The command line as people type it: what it does, what it prints, and what it says when it cannot.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{ADA, Server, Setup, until};

mod first_start;

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
    assert_eq!(columns, ["ID", "PHASE", "CUSTOMER", "PERSONA", "AGE", "PID", "REASON"]);
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
    assert_eq!(note, "note: ada@example.org has a session already, this is a token of it; the data was not used\n");
    let started = desk.run_with(&[("FRONTDESK_TOKEN", second.trim())], &["session", "initialize", ADA.0], "");
    assert_eq!(started.0, 0);
}

#[test]
fn what_a_customer_cannot_have_is_said_in_one_sentence() {
    let desk = Desk::start();
    desk.server.add_customer(ADA);
    let token = desk.token();
    let of_ada = [("FRONTDESK_TOKEN", token.as_str())];
    let request = ["session", "request", ADA.0, "--password-stdin"];
    for (environment, arguments, input, sentence) in [
        (
            &[][..],
            &request[..],
            "wrong",
            "the email or the password is wrong, or ada@example.org may not use this persona; `frontdesk customer \
             passwd ada@example.org` sets a new password",
        ),
        (
            &[],
            &["session", "request", ADA.0, "--password-stdin", "--persona", "SALES"],
            ADA.1,
            "this server has no persona SALES; name one of its personas with --persona",
        ),
        (
            &[],
            &["session", "initialize", "eve@example.org"],
            "",
            "no session of eve@example.org waits to be initialised; ask for one with `frontdesk session request \
             eve@example.org`, unless `frontdesk session status eve@example.org` says RUNNING",
        ),
        (
            &[],
            &["session", "send", ADA.0, "1"],
            "",
            "this needs the token of ada@example.org's session; set FRONTDESK_TOKEN to it, or ask for a fresh one with \
             `frontdesk session request ada@example.org`",
        ),
        (
            &of_ada,
            &["session", "send", "eve@example.org", "1"],
            "",
            "the token is not that of eve@example.org's session, or no longer; ask for a fresh one with `frontdesk \
             session request eve@example.org`, and correct or unset FRONTDESK_TOKEN",
        ),
        (
            &of_ada,
            &["session", "send", ADA.0, "1"],
            "",
            "no session of ada@example.org is running; start the requested one with `frontdesk session initialize \
             ada@example.org`, or ask for one with `frontdesk session request ada@example.org`",
        ),
        (
            &[],
            &["session", "stop", "01234567-89ab-7def-8123-456789abcdef"],
            "",
            "there is no session 01234567-89ab-7def-8123-456789abcdef; `frontdesk session list` shows them",
        ),
    ] {
        let said = desk.run_with(environment, arguments, input);
        assert_eq!(said, (1, String::new(), format!("error: {sentence}\n")), "{arguments:?}");
    }
}

#[test]
fn what_is_typed_wrongly_exits_with_two_and_what_is_missing_with_one() {
    let nobody = "http://127.0.0.1:9";
    for (arguments, code, sentence) in [
        (
            &["session", "status", "a@b.example", "--server", nobody][..],
            1,
            "no Frontdesk answers at http://127.0.0.1:9; start one with `frontdesk serve`, or name another with \
             --server",
        ),
        (
            &["session", "list"],
            1,
            "there is no data directory ./frontdesk-data; name the right one with --data-dir, or start `frontdesk \
             serve` once",
        ),
        (
            &["session", "stop"],
            2,
            "name the session by its id (`frontdesk session list` shows them), or set FRONTDESK_TOKEN to its token",
        ),
        (
            &["session", "stop", "--token", "abc"],
            2,
            "the token is none: it begins with fds_, as `frontdesk session request` printed it",
        ),
        (
            &["session", "request", "a@b.example"],
            2,
            "there is no terminal to ask for the password; use --password-stdin",
        ),
        (
            &["session", "request", "a@b.example", "--data", "[]", "--password-stdin"],
            2,
            r#"--data must be a JSON object such as {"theme": "dark"}"#,
        ),
        (
            &["config", "check", "--config", "none.toml"],
            2,
            "the configuration file none.toml does not exist: correct the path given by --config or FRONTDESK_CONFIG, \
             or leave it out to run with the defaults",
        ),
    ] {
        assert_eq!(alone(arguments, ""), (code, String::new(), format!("error: {sentence}\n")), "{arguments:?}");
    }
    let (code, _, errors) = alone(&["session", "status", "a@b.example", "--server", "localhost:5500"], "");
    assert_eq!(code, 2);
    assert!(errors.contains("write it as a URL such as http://127.0.0.1:5500"), "{errors}");
}

#[test]
fn another_server_is_not_mistaken_for_a_frontdesk() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4_096]);
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        std::io::Write::write_all(&mut stream, answer).unwrap();
    });
    let (code, _, errors) = alone(&["session", "status", "a@b.example", "--server", &url], "");
    answering.join().unwrap();
    let said = format!(
        "error: what answers at {url} is no Frontdesk (it said 404 Not Found); name the right address with --server\n"
    );
    assert_eq!((code, errors), (1, said));
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
    let changed = desk.run(&["customer", "passwd", "ADA@example.org", "--password-stdin"], "new\r\n");
    assert_eq!(changed.0, 0, "{}", changed.2);

    desk.server.start_again();
    assert!(desk.server.agents().is_empty());
    assert_eq!(desk.server.create((ADA.0, "new"), json!({})).status, 200);
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
    let mut list = server.command();
    list.env("FRONTDESK_DATA_DIR", &long).args(["customer", "list", "--json"]);
    let (code, listed, errors) = output(&mut list, "");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(listed.contains("demo@example.com"), "{listed}");
    let data = server.path(&long);
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("control.sock"), mode(""), mode("demo-password")), (0o600, 0o700, 0o600));
    assert!(server.terminate().success());
    assert!(!data.join("control.sock").exists());
}

#[test]
fn a_reader_that_has_seen_enough_and_a_full_disk_are_no_panic() {
    let mut child =
        frontdesk().args(["config", "example"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = frontdesk().args(["config", "example"]).stdout(full).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(said.starts_with("error: the output could not be written: "), "{said}");
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
    insta::assert_snapshot!("help_config", help(&["config", "--help"]));
}
