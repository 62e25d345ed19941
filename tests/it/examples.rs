//! The examples do what they say, started from the configuration that is beside them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::desk::{Desk, Opened};
use crate::harness::{ADA, repository, until};

#[test]
fn the_python_agent_answers_with_data_of_any_size_and_with_errors() {
    let desk = Desk::new(&configuration());
    for letters in [5, 1 << 20] {
        let data = json!({"note": "x".repeat(letters)});
        let ada = open(&desk, "PYTHON", data.clone());
        assert_eq!(response(&desk, &ada, &json!({"data": true})), data);
        let seen = response(&desk, &ada, &json!({"say": "hello"}));
        assert_eq!(seen, json!({"say": "hello", "handled": 1, "email": ADA.0}));
        let failed = desk.ask(&ada, &json!({"fail": "no such room"}));
        assert_eq!(failed.pair(), (502, "AGENT_ERROR".into()));
        assert_eq!(failed.json()["DETAIL"], "no such room");
        desk.stop(&ada);
    }
}

#[test]
fn the_python_agent_answers_while_it_counts_shows_its_progress_and_ends_with_its_own_reason() {
    let desk = Desk::new(&configuration());
    let ada = open(&desk, "PYTHON", json!({}));
    let counting = desk.ask_aside(&ada, &json!({"count_to": 2}));
    until("it shows its progress", || desk.row(&ada).reason.is_some_and(|text| text.ends_with(" of 2")));

    assert_eq!(response(&desk, &ada, &json!({"say": "meanwhile"}))["handled"], 1);
    assert_eq!(counting.join().unwrap().json()["RESPONSE"], json!({"counted_to": 2}));
    response(&desk, &ada, &json!({"finish": "all done"}));

    assert_eq!(desk.ending(&ada), ("completed".into(), "all done".into()));
}

#[test]
fn a_request_of_the_python_module_is_true_as_cancelled_only_once_it_is() {
    const AGENT: &str = r#"
from frontdesk_agent import Agent
agent = Agent("waiter")

@agent.request
def answer(request):
    before = request.cancelled
    request.output("waiting")
    return {"before": before, "woken": request.wait_cancelled(600), "after": request.cancelled}

agent.run()
"#;
    let mut agent = Command::new("python3")
        .args(["-c", AGENT])
        .env("PYTHONPATH", repository().join("examples"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, stdout) = (agent.stdin.take().unwrap(), BufReader::new(agent.stdout.take().unwrap()));
    let mut heard = stdout.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut say = |message: Value| writeln!(stdin, "{message}").unwrap();

    say(json!({"id": 2, "method": "request", "params": {"REQUEST": 1}}));
    assert_eq!(heard.next().unwrap()["params"]["PART"], "waiting");
    say(json!({"method": "cancel", "params": {"ID": 2}}));
    let answer = heard.next().unwrap();
    say(json!({"method": "shutdown"}));

    assert_eq!(answer["result"], json!({"before": false, "woken": true, "after": true}));
    assert!(agent.wait().unwrap().success());
}

#[test]
fn the_shell_agent_answers_with_the_request_whatever_stands_in_it() {
    let desk = Desk::new(&configuration());
    let ada = open(&desk, "SHELL", json!({"method": "shutdown"}));
    for request in [json!({"params": {"REQUEST": "}}"}}), json!([1, "\\n\"'$(id)", null]), json!("käse")] {
        assert_eq!(response(&desk, &ada, &request), request);
    }
    desk.stop(&ada);
    assert_eq!(desk.ending(&ada).0, "stopped");
}

#[test]
fn the_plain_command_starts_by_itself_and_completes() {
    let desk = Desk::new(&configuration());
    let ada = desk.request_as("PLAIN", ADA, json!({}));
    assert_eq!(desk.ending(&ada), ("completed".into(), "the command exited with status 0".into()));
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[test]
fn the_echo_agent_is_there_too() {
    let desk = Desk::new(&configuration());
    let ada = open(&desk, "CUSTOMERS", json!({}));
    assert_eq!(response(&desk, &ada, &json!(1))["echo"], 1);
}

/// The examples' configuration as it is, with their files where this server finds them.
fn configuration() -> String {
    let text = std::fs::read_to_string(repository().join("examples/frontdesk.toml")).unwrap();
    text.replace("\"examples/", &format!("\"{}/examples/", repository().display()))
}

fn open(desk: &Desk, persona: &str, data: Value) -> Opened {
    let session = desk.request_as(persona, ADA, data);
    assert_eq!(desk.server.initialise(ADA.0).pair(), (200, "SESSION_INITIALIZED".into()));
    session
}

fn response(desk: &Desk, session: &Opened, request: &Value) -> Value {
    let answer = desk.ask(session, request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["RESPONSE"].clone()
}
