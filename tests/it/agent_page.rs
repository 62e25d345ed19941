//! docs/AGENT-PROTOCOL.md says what the code does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use frontdesk::agent::{leftovers, rpc};
use frontdesk::config::Persona;
use serde_json::{Value, json};

use crate::desk::{Desk, persona};
use crate::harness::{ADA, repository};

#[test]
fn every_method_variable_and_field_stands_in_the_page() {
    let page = page();
    let methods =
        ["initialize", "request", "cancel", "ping", "shutdown", "progress", "event", "log", "output", "finished"];
    let fields = ["META_DATA", "EMAIL", "PERSONA_TYPE", "SESSION_ID", "EPOCH", "SESSION_DATA", "SESSION_DATA_FILE"];
    let variables = [leftovers::DESK_VARIABLE, leftovers::SESSION_VARIABLE, leftovers::EPOCH_VARIABLE];
    let inherited = Persona::default().inherit_environment;
    let inherited = inherited.iter().map(String::as_str);
    for name in
        methods.into_iter().chain(fields).chain(variables).chain(inherited).chain(["REQUEST", "ID", "TEXT", "PART"])
    {
        assert!(page.contains(&format!("`{name}`")), "`{name}` is missing");
    }
}

#[tokio::test]
async fn every_message_in_the_page_is_valid_and_on_the_side_that_sends_it() {
    let page = page();
    let mut seen = BTreeSet::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("--> ") {
            let message: Value = serde_json::from_str(text).unwrap();
            assert_eq!(message["jsonrpc"], "2.0", "{text}");
            let (method, params) = (message["method"].as_str().unwrap(), message["params"].to_string());
            seen.insert(method.to_owned());
            // What the desk would write, up to the order of the fields of `params`.
            let written = match message["id"].as_u64() {
                Some(id) => rpc::request(id, method, &[params.as_bytes()]).await,
                None => rpc::notify(method, params.as_bytes()),
            };
            assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), message);
        } else if let Some(text) = line.strip_prefix("<-- ") {
            rpc::read(text.as_bytes()).unwrap();
            let message: Value = serde_json::from_str(text).unwrap();
            seen.extend(message["method"].as_str().map(str::to_owned));
        }
    }
    let all = ["cancel", "event", "finished", "initialize", "log", "output", "ping", "progress", "request", "shutdown"];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn the_minimal_agent_of_the_page_is_fifteen_lines_at_most_and_works() {
    let page = page();
    let (_, rest) = page.split_once("```python\n").unwrap();
    let (code, _) = rest.split_once("```").unwrap();
    assert!(code.lines().count() <= 15, "{}", code.lines().count());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("minimal.py");
    std::fs::write(&file, code).unwrap();
    let desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", file]).to_string(), ""));
    let ada = desk.open(ADA);

    let answer = desk.ask(&ada, &json!({"say": "hello"}));

    assert_eq!(answer.json()["RESPONSE"], json!({"you said": {"say": "hello"}}));
    desk.stop(&ada);
}

#[test]
fn the_transcript_of_the_page_is_what_the_example_says() {
    let page = page();
    let (_, transcript) = page.split_once("## A transcript").unwrap();
    let mut agent = Command::new("python3")
        .arg(repository().join("examples/agent.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = agent.stdin.take().unwrap();
    let mut output = BufReader::new(agent.stdout.take().unwrap()).lines();
    let mut heard = 0;
    for line in transcript.lines() {
        if let Some(text) = line.strip_prefix("--> ") {
            writeln!(input, "{text}").unwrap();
        } else if let Some(text) = line.strip_prefix("<-- ") {
            assert_eq!(output.next().unwrap().unwrap(), text);
            heard += 1;
        }
    }
    drop(input);
    assert!(output.next().is_none());
    assert!(agent.wait().unwrap().success());
    assert!(heard > 10, "{heard}");
}

#[test]
fn the_check_of_the_page_is_what_the_command_says() {
    let page = page();
    let (_, rest) = page.split_once("$ frontdesk agent check -- python3 my_agent.py\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(["agent", "check", "--", "python3", "my_agent.py"])
        .current_dir(repository().join("tests/it/agents"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shown);
}

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/AGENT-PROTOCOL.md")).unwrap()
}
