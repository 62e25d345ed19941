//! `frontdesk session logs` and `session send --stream`: what an agent says while it works, as it comes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::Desk;
use crate::desk::persona;
use crate::harness::{ADA, Server, Setup, until};

/// What the server notes, and what the agent writes.
const LOG: &str = "--- agent 1 ---\none\ntwo\n";

/// An agent that writes lines to stderr before it is the echo agent.
fn desk() -> Desk {
    let binary = env!("CARGO_BIN_EXE_frontdesk");
    let command = format!(r#"["sh", "-c", "echo one >&2; echo two >&2; exec {binary} agent echo"]"#);
    let server = Server::start(Setup::with_config(&persona("CUSTOMERS", &command, "")));
    server.add_customer(ADA);
    Desk { url: format!("http://{}", server.address), server }
}

fn running(desk: &Desk) -> String {
    let token = desk.token();
    assert_eq!(desk.run(&["session", "initialize", ADA.0], "").0, 0);
    token
}

#[test]
fn a_log_is_read_on_the_server_s_machine_with_and_without_a_server() {
    let mut desk = desk();
    running(&desk);
    let log = ["session", "logs", "ADA@example.org"];
    until("the log is written", || desk.run(&log, "").1 == LOG);
    assert_eq!(desk.run(&["session", "logs", ADA.0, "--tail", "1"], ""), (0, "two\n".into(), String::new()));
    assert!(desk.server.terminate().success());
    assert_eq!(desk.run(&log, ""), (0, LOG.into(), String::new()));
    let (code, _, errors) = desk.run(&["session", "logs", "eve@example.org"], "");
    assert_eq!((code, errors.lines().count()), (1, 1), "{errors}");
}

#[test]
fn a_log_is_read_over_http_with_an_operator_s_token() {
    let desk = desk();
    running(&desk);
    let (_, made, _) = desk.run(&["token", "create", "mia", "--scope", "sessions:read"], "");
    let token = [("FRONTDESK_OPERATOR_TOKEN", made.trim())];
    // Nothing of the server is below the directory that is named.
    let log = |more: &[&str]| {
        let arguments = [&["session", "logs", ADA.0, "--data-dir", "nowhere"], more].concat();
        desk.run_with(&token, &arguments, "")
    };
    until("the log is written", || log(&[]).1 == LOG);
    assert_eq!(log(&["--tail", "1"]), (0, "two\n".into(), String::new()));
    let (code, _, errors) = desk.run_with(&token, &["session", "logs", "eve@example.org"], "");
    assert_eq!((code, errors.as_str()), (1, "error: there is no such session; `frontdesk session list` shows them\n"));
    let (code, _, errors) = desk.run_with(&[("FRONTDESK_OPERATOR_TOKEN", "fdo_x")], &["session", "logs", ADA.0], "");
    let said = "error: not a valid operator token: it is mistyped, was revoked or has expired; `frontdesk token create` makes \
                one\n";
    assert_eq!((code, errors.as_str()), (1, said));
}

#[test]
fn following_a_log_ends_with_its_session_which_takes_the_log_along() {
    let desk = desk();
    let token = running(&desk);
    let mut following = desk.server.command();
    following.args(["session", "logs", ADA.0, "--follow"]).stdout(Stdio::piped());
    let mut following = following.spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(LOG.lines().all(|line| lines.next().unwrap() == line));
    assert_eq!(desk.run_with(&[("FRONTDESK_TOKEN", &token)], &["session", "stop"], "").0, 0);
    assert_eq!(lines.next(), None);
    assert!(following.wait().unwrap().success());
    let (code, output, errors) = desk.run(&["session", "logs", ADA.0], "");
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.starts_with("error: the session has ended, and its log went with it"), "{errors}");
}

#[test]
fn parts_of_an_answer_are_printed_each_on_a_line() {
    let desk = desk();
    let token = running(&desk);
    let as_customer = [("FRONTDESK_TOKEN", token.as_str())];
    let request = r#"{"output": [1.0, {"b": [2]}]}"#;
    let send = ["session", "send", ADA.0, request, "--idempotency-key", "a"];
    let (code, whole, errors) = desk.run_with(&as_customer, &send, "");
    assert_eq!((code, errors.as_str(), whole.lines().count()), (0, "", 1));
    let (code, parts, errors) = desk.run_with(&as_customer, &[&send[..], &["--stream"]].concat(), "");
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(parts, format!("1.0\n{{\"b\":[2]}}\n{whole}"));
}
