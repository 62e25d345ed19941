//! What customers' and operators' commands for sessions take and show.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Desk, alone, frontdesk, output};
use crate::desk::faulty;
use crate::harness::{ADA, Server, Setup, until};

#[test]
fn a_text_is_sent_as_a_text_and_a_slip_in_json_is_not() {
    let desk = Desk::start();
    let token = running(&desk);
    let send = |arguments: &[&str], input: &str| {
        let arguments = [&["session", "send", ADA.0], arguments].concat();
        let (code, answer, errors) = desk.run_with(&[("FRONTDESK_TOKEN", &token)], &arguments, input);
        let echo = serde_json::from_str::<Value>(&answer).map_or(Value::Null, |answer| answer["echo"].clone());
        (code, echo, errors)
    };
    let note = "note: the request is not JSON, so it is sent as a text (a JSON string)\n";

    assert_eq!(send(&["say hello"], ""), (0, json!("say hello"), note.into()));
    assert_eq!(send(&["-"], "two\nlines\n"), (0, json!("two\nlines"), note.into()));
    assert_eq!(send(&["--text", "{\"a\": 1}"], ""), (0, json!("{\"a\": 1}"), String::new()));
    assert_eq!(send(&["[1]"], ""), (0, json!([1]), String::new()));
    assert_eq!(send(&["7"], ""), (0, json!(7), String::new()));
    let (code, _, errors) = send(&["{\"say\": hello}"], "");
    assert!(
        code == 2 && errors.starts_with("error: the request looks like JSON and is not valid (expected"),
        "{errors}"
    );
}

#[test]
fn a_session_is_shown_whole_with_and_without_a_server() {
    let config = faulty(&["at-start", "exit"], "start_attempts = 1");
    let server = Server::start(Setup::with_config(&config));
    let mut desk = Desk { url: format!("http://{}", server.address), server };
    desk.server.add_customer(ADA);
    let token = desk.token();
    assert_eq!(desk.run_with(&[("FRONTDESK_TOKEN", &token)], &["session", "initialize", ADA.0], "").0, 1);

    let (code, shown, errors) = desk.run(&["session", "show", ADA.0], "");

    assert_eq!((code, errors.as_str()), (0, ""));
    let sentence = "gave up after 1 failed start: the agent exited with status 3 before it was ready";
    let log = "last lines of its log: no fuel";
    for line in
        ["phase      ENDED", "outcome    failed", &format!("reason     {sentence}"), &format!("detail     {log}")]
    {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(desk.server.terminate().success());
    let (code, json, note) = desk.run(&["session", "show", ADA.0, "--json"], "");
    let session: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &session["reason"], &session["reason_detail"]), (0, &json!(sentence), &json!(log)));
    assert!(note.starts_with("note: no server runs on "), "{note}");
    let (code, _, errors) = desk.run(&["session", "show", "eve@example.org"], "");
    assert!(code == 1 && errors.contains("there is no session eve@example.org"), "{errors}");
}

#[test]
fn a_token_is_taken_from_a_file_or_standard_input_and_among_the_arguments_with_a_warning() {
    let desk = Desk::start();
    let token = running(&desk);
    std::fs::write(desk.server.path("token"), format!("{token}\n")).unwrap();
    let status =
        |arguments: &[&str], input: &str| desk.run(&[&["session", "status", ADA.0], arguments].concat(), input);

    for (arguments, input) in [(["--token-file", "token"], ""), (["--token-file", "-"], token.as_str())] {
        assert_eq!(status(&arguments, input), (0, "RUNNING\n".into(), String::new()));
    }
    let (code, said, errors) = status(&["--token", &token], "");
    assert_eq!((code, said.as_str()), (0, "RUNNING\n"));
    assert!(
        errors.starts_with("note: other users of this machine can read what follows --token in the list"),
        "{errors}"
    );
    let (code, _, errors) = status(&["--token-file", "none"], "");
    assert!(code == 2 && errors.contains("it cannot be read: No such file"), "{errors}");

    let (_, made, _) = desk.run(&["token", "create", "mia", "--scope", "sessions:read"], "");
    let logs = ["session", "logs", ADA.0, "--data-dir", "nowhere", "--operator-token-file", "-"];
    assert_eq!(desk.run(&logs, &made), (0, String::new(), String::new()));
}

#[test]
fn what_is_no_token_is_said_to_be_none() {
    let said = alone(&["session", "stop", "--token-file", "-"], "abc");
    let sentence =
        "error: not a session token: session tokens begin with fds_; `frontdesk session request` prints one\n";
    assert_eq!(said, (2, String::new(), sentence.to_owned()));
}

#[test]
fn a_server_listens_on_localhost_and_minds_no_operators_token_in_its_environment() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = frontdesk();
    serve.current_dir(directory.path()).args(["serve", "--listen", "localhost:0"]);
    let mut server = serve
        .env("FRONTDESK_OPERATOR_TOKEN", "fdo_x")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = || output(frontdesk().current_dir(directory.path()).arg("status"), "");
    until("it serves, or has ended", || {
        status().0 == 0 || !std::path::Path::new(&format!("/proc/{}", server.id())).exists()
    });
    let (code, said, _) = status();
    assert!(code == 0 && said.contains(" on 127.0.0.1:"), "{said}");
    crate::harness::signal(server.id(), rustix::process::Signal::TERM);
    assert!(server.wait().unwrap().success());

    let (code, _, errors) = alone(&["serve", "--listen", "desk.example.org:5500"], "");
    assert!(code == 2 && errors.contains("such as 127.0.0.1:5500 or localhost:5500"), "{errors}");
}

/// A running session of Ada, and its token.
fn running(desk: &Desk) -> String {
    desk.server.add_customer(ADA);
    let token = desk.token();
    let (code, _, errors) = desk.run_with(&[("FRONTDESK_TOKEN", &token)], &["session", "initialize", ADA.0], "");
    assert_eq!(code, 0, "{errors}");
    token
}
