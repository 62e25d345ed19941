//! `frontdesk agent check` with good agents and careless ones: what it says.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{repository, signal};

#[test]
fn the_echo_agent_and_the_examples_are_good() {
    let (python, shell) = (example("agent.py"), example("agent.sh"));
    for command in [&["frontdesk", "agent", "echo"][..], &["python3", &python], &["sh", &shell]] {
        let checked = check(&[], command);
        assert_eq!(checked.code, 0, "{}", checked.text);
        for sentence in [
            "   ok it starts",
            "   ok it answers `initialize`",
            "   ok it answers `ping`",
            "   ok it answers an unknown call with error -32601",
            "   ok it ignores an unknown notification",
            "   ok it answers the request {\"hello\":\"world\"}",
            "   ok it answers two requests in flight, each by its `id`",
            "   ok it answers a request of 1 MiB with characters of all kinds",
            "   ok it goes on after the `cancel` of an open request",
            "   ok it ignores the `cancel` of a request that it does not have",
            "   ok it writes nothing but messages to stdout",
            "   ok it answers each call once",
            "   ok `shutdown` ends it",
            "   ok it leaves nothing behind",
            "   ok the end of stdin alone ends it",
            "   ok SIGTERM ends it",
            "Nothing is wrong.",
        ] {
            checked.says(sentence);
        }
    }
}

#[test]
fn each_request_is_sent_and_an_error_is_a_note() {
    let requests = ["--request", "[1]", "--request", r#"{"fail":"no such room"}"#];
    let checked = check(&requests, &["frontdesk", "agent", "echo"]);
    checked.says("   ok it answers the request [1]");
    checked.says(" note it answers the request {\"fail\":\"no such room\"} with an error: no such room");
    assert_eq!(checked.code, 0, "{}", checked.text);
}

#[test]
fn an_answer_that_waits_in_a_buffer_is_told_from_one_that_never_comes() {
    let checked = careless("unflushed", "2s");
    checked.says("WRONG its answer to `initialize` came only when stdin was closed");
    checked.says("to change: flush stdout after each line");
    careless("silent", "1s").says("WRONG no answer to `initialize` within 1s");
}

#[test]
fn stray_prints_are_quoted() {
    let checked = careless("prints", "10s");
    checked.says("WRONG it writes a line to stdout that is not a message: not a JSON object");
    checked.says("line: got {'hello': 'world'}");
    checked.says("to change: print to stderr, which is the agent's log, and only messages to stdout");
    assert!(!checked.text.contains("it writes nothing but messages"), "{}", checked.text);
}

#[test]
fn an_answer_under_another_id_is_quoted_and_the_right_one_missed() {
    let checked = careless("wrong-id", SLOW);
    checked.says("WRONG it answers 105, which it was never asked");
    checked.says(r#"line: {"jsonrpc": "2.0", "id": 105, "result": {"hello": "world"}}"#);
    checked.says("WRONG no answer to the request {\"hello\":\"world\"} within 5s");
    careless("text-id", SLOW).says("an answer's `id` is the request's");
}

#[test]
fn an_answer_that_comes_twice_is_wrong() {
    careless("twice", "10s").says("WRONG it answers 5 twice");
}

#[test]
fn an_unknown_call_is_not_to_be_answered_as_if_it_were_known() {
    careless("knows-everything", "10s").says("WRONG it answers an unknown call as if it knew it");
}

#[test]
fn an_agent_that_dies_is_told_with_its_log() {
    let checked = careless("dies", "10s");
    checked.says("WRONG it exited with status 1 before it answered the request {\"hello\":\"world\"}");
    checked.says("| ValueError: no such table");
    let checked = careless("crashes-at-start", "10s");
    checked.says("WRONG it exited with status 1 before it answered `initialize`");
    checked.says("| no configuration");
}

#[test]
fn a_command_that_is_not_there_is_told_as_such() {
    let checked = check(&[], &["./no-such-agent"]);
    checked.says("WRONG it can't be started: No such file or directory");
    assert_eq!(checked.code, 1);
}

#[test]
fn an_agent_that_does_not_end_is_wrong_and_ended_all_the_same() {
    let checked = careless("stays", SLOW);
    checked.says("WRONG `shutdown` does not end it within 5s");
    checked.says("WRONG the end of stdin alone does not end it within 5s");
    checked.says("   ok SIGTERM ends it");
    careless("deaf-to-sigterm", SLOW).says("WRONG SIGTERM does not end it within 5s");
}

#[test]
fn a_child_that_is_left_behind_is_named_and_ended() {
    let checked = careless("leaves-a-child", "10s");
    checked.says("WRONG it leaves processes behind: sleep (");
    let (_, rest) = checked.text.split_once("behind: sleep (").unwrap();
    let pid = rest.split_once(')').unwrap().0;
    assert!(!is_running(pid), "{pid} is still there");
}

#[test]
fn a_check_that_is_broken_off_ends_its_agent() {
    let agent = repository().join("tests/it/agents/careless.py");
    let mut check = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(["agent", "check", "--timeout", "10m", "--", "python3"])
        .args([agent.to_str().unwrap(), "silent"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(check.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pid = lines.find_map(|line| line.trim().strip_prefix("| ").map(str::to_owned)).unwrap();
    assert!(is_running(&pid));
    signal(check.id(), Signal::TERM);
    assert_eq!(check.wait().unwrap().code(), Some(130));
    assert!(!is_running(&pid));
}

#[test]
fn what_an_agent_on_the_python_module_prints_is_its_log() {
    let checked = check(&["--request", r#"{"log":"a stray print"}"#], &["python3", &example("agent.py")]);
    checked.says("| a stray print");
    checked.says("   ok it writes nothing but messages to stdout");
    assert_eq!(checked.code, 0, "{}", checked.text);
}

#[test]
fn requests_that_wait_for_each_other_are_noted() {
    let checked = careless("slow", "10s");
    checked.says(" note it serves one request after the other: a long one holds up the rest");
    assert_eq!(checked.code, 0, "{}", checked.text);
}

#[test]
fn machines_get_one_object() {
    let agent = repository().join("tests/it/agents/careless.py");
    let checked = check(&["--json"], &["python3", agent.to_str().unwrap(), "twice"]);
    let report: Value = serde_json::from_str(&checked.text).unwrap();
    assert_eq!((checked.code, &report["ok"]), (1, &Value::Bool(false)));
    let wrong = report["findings"].as_array().unwrap().iter().find(|finding| finding["mark"] == "wrong").unwrap();
    assert_eq!(wrong["sentence"], "it answers 5 twice");
    assert_eq!(wrong["asked"], "one answer to each call");
}

#[test]
fn what_is_typed_wrong_is_a_matter_of_usage() {
    for arguments in [&["--request", "{"][..], &["--data", "[1]"], &["--timeout", "10"]] {
        assert_eq!(check(arguments, &["true"]).code, 2, "{arguments:?}");
    }
}

struct Checked {
    code: i32,
    text: String,
}

impl Checked {
    fn says(&self, sentence: &str) {
        assert!(self.text.contains(sentence), "{sentence:?} is missing in:\n{}", self.text);
    }
}

/// Whether a process is there that has not ended.
fn is_running(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|command| !command.is_empty())
}

fn example(name: &str) -> String {
    repository().join("examples").join(name).to_str().unwrap().to_owned()
}

/// Long enough for Python to start on a busy machine, and waited for to the end where an agent does nothing.
const SLOW: &str = "5s";

fn careless(mistake: &str, timeout: &str) -> Checked {
    let agent = repository().join("tests/it/agents/careless.py");
    check(&["--timeout", timeout], &["python3", agent.to_str().unwrap(), mistake])
}

fn check(options: &[&str], command: &[&str]) -> Checked {
    let mut process = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    let output = process.args(["agent", "check"]).args(options).arg("--").args(command).output().unwrap();
    Checked { code: output.status.code().unwrap(), text: String::from_utf8(output.stdout).unwrap() }
}
