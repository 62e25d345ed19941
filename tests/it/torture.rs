//! `frontdesk torture`, in short: the real binary against itself.

use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::harness::{signal, until};

#[test]
fn a_server_under_torture_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    let output = torture(directory.path(), &["--sessions", "60", "--for", "8s"]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("nothing was stuck, doubled, lost or orphaned"), "{text}");
    // What makes no call and kills nobody proves nothing.
    let happened = String::from_utf8_lossy(&output.stdout);
    for nothing in [" 0 answered", " 0 initialised", " 0 servers", " 0 shims", " 0 agents"] {
        assert!(!happened.contains(nothing), "{happened}");
    }
    assert_eq!(entries(directory.path()), 0, "it left its directory behind");
}

#[test]
fn agents_that_answer_for_others_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let agent = directory.path().join("agent");
    // It says of every request that it was the same one.
    let script = r#"#!/bin/sh
while read -r line; do
    case $line in
        *'"shutdown"'*) exit ;;
        *'"id":'*) id=${line#*'"id":'}; echo "{\"jsonrpc\":\"2.0\",\"id\":${id%%[!0-9]*},\"result\":{\"handled\":1}}" ;;
    esac
done
"#;
    std::fs::write(&agent, script).unwrap();
    let agents = format!("sh {}", agent.display());
    let options = ["--sessions", "8", "--for", "3s", "--agents", &agents];
    let output = torture(directory.path(), &options).output().unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("has the number of the request before it"), "{text}");
}

#[test]
fn an_interrupted_run_ends_everything_and_removes_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let child = torture(directory.path(), &["--sessions", "8", "--for", "10m"]).spawn().unwrap();
    let name = || std::fs::read_dir(directory.path()).unwrap().next().map(|entry| entry.unwrap().path());
    until("agents run", || {
        let agents = name().map(|path| path.join("frontdesk-data/agents"));
        agents.is_some_and(|agents| agents.exists() && entries(&agents) > 0)
    });
    let desk = frontdesk::store::sqlite::desk_id(&name().unwrap().join("frontdesk-data")).unwrap();

    signal(child.id(), Signal::INT);
    let output = child.wait_with_output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("interrupted"), "{}", text(&output));
    assert!(frontdesk::agent::leftovers::marked(&desk).is_empty());
    assert_eq!(entries(directory.path()), 0, "it left its directory behind");
}

fn torture(directory: &std::path::Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    command.arg("torture").args(options).env("TMPDIR", directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn entries(directory: &std::path::Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}
