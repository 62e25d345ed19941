//! Agents that misbehave hurt themselves only: they are ended, the reason is kept, and another session goes on.

use serde_json::json;

use crate::desk::{BOB, Desk, Opened, faulty, goes_on, persona, response};
use crate::harness::{ADA, until};
use crate::sequence::sequence;

#[test]
fn an_agent_that_exits_fails_its_request_and_is_started_again_with_the_end_of_its_log_as_the_reason() {
    let (desk, ada, bob) = two_sessions("");

    desk.fails_with_its_agent(&ada, "exit");

    let reason = "the agent exited with status 3 without sending `finished`; last lines of its log: no fuel";
    assert_eq!(desk.why_lost(), reason);
    assert_eq!(desk.epoch_when_answering(&ada), 2);
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_that_is_killed_by_a_signal_is_said_to_be() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "crash");
    assert!(desk.why_lost().starts_with("the agent was killed by signal 11 "));
    goes_on(&desk, &bob);
}

#[test]
fn a_line_that_is_no_message_ends_the_agent_and_is_quoted_in_the_reason() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "junk");
    let why = desk.why_lost();
    assert!(why.contains("not a JSON-RPC message (not a JSON object): hello, I am not JSON"), "{why}");
    assert_eq!(desk.epoch_when_answering(&ada), 2);
    goes_on(&desk, &bob);
}

#[test]
fn a_line_that_is_not_utf8_ends_the_agent() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "not-utf8");
    assert_eq!(desk.why_lost(), "the agent broke the protocol; it wrote a line to stdout that is not UTF-8");
    goes_on(&desk, &bob);
}

#[test]
fn half_a_line_is_no_answer() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "half-a-line");
    assert!(desk.why_lost().starts_with("the agent exited with status 0 without sending `finished`"));
    goes_on(&desk, &bob);
}

#[test]
fn a_line_longer_than_the_limit_ends_the_agent_and_is_never_held_in_memory() {
    let (desk, ada, bob) = two_sessions("[limits]\nmessage = \"64 KiB\"");
    desk.fails_with_its_agent(&ada, "huge-line");
    assert_eq!(desk.why_lost(), "the agent broke the protocol; a line is longer than 65536 bytes");
    assert!(peak_kib(desk.server.pid()) < 95_000, "the server grew to {} KiB", peak_kib(desk.server.pid()));
    goes_on(&desk, &bob);
}

#[test]
fn a_persona_can_have_a_longest_line_of_its_own() {
    let (desk, ada, bob) = two_sessions_with("line = \"64 KiB\"", "");
    desk.fails_with_its_agent(&ada, "huge-line");
    assert_eq!(desk.why_lost(), "the agent broke the protocol; a line is longer than 65536 bytes");
    goes_on(&desk, &bob);
}

#[test]
fn an_answer_to_a_request_that_was_never_asked_ends_the_agent() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "answer-nobody");
    assert_eq!(desk.why_lost(), "it answered the request 4711, which it was never asked");
    goes_on(&desk, &bob);
}

#[test]
fn a_second_answer_to_one_request_is_ignored() {
    let (desk, ada, _) = two_sessions("");
    assert_eq!(response(&desk, &ada, &json!({"do": "answer-twice"})), "once");
    assert_eq!(response(&desk, &ada, &json!("next")), "next");
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[test]
fn messages_that_nest_too_deep_are_dropped_and_the_agent_goes_on() {
    let (desk, ada, _) = two_sessions("");
    let answer = desk.ask(&ada, &json!({"do": "nest-deeply"}));
    assert_eq!(answer.pair(), (502, "AGENT_ERROR".into()));
    assert_eq!(answer.json()["DETAIL"], "The agent's answer nests deeper than 500 levels.");
    assert_eq!(response(&desk, &ada, &json!("next")), "next");
    assert_eq!(desk.row(&ada).epoch, 1);
    let events = || {
        sequence(&desk.server, &ada.id)
            .into_iter()
            .filter(|event| ["event", "output", "progress"].contains(&event.kind.as_str()))
    };
    until("what is not too deep is kept", || events().next().is_some());
    let kinds: Vec<_> = events().map(|event| event.kind).collect();
    assert_eq!(kinds, ["event"], "of four messages three are too deep");
    let log = desk.server.data_dir().join("agents").join(&ada.id).join("agent.log");
    until("the log says so", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.matches("nests deeper than 500 levels").count() == 3)
    });
}

#[test]
fn an_agent_that_closes_its_stdout_and_lives_on_is_ended() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "close-stdout");
    assert!(desk.why_lost().starts_with("it closed its stdout and went on running"));
    assert_eq!(desk.epoch_when_answering(&ada), 2);
    goes_on(&desk, &bob);
}

#[test]
fn a_flood_of_junk_ends_the_agent() {
    let (desk, ada, bob) = two_sessions("");
    desk.fails_with_its_agent(&ada, "flood-stdout");
    assert!(desk.why_lost().contains("this is no message"));
    goes_on(&desk, &bob);
}

#[test]
fn a_flood_of_progress_slows_nobody_and_the_agent_can_be_stopped() {
    // What the agent has said before its end is dealt with before that is: a million lines take their time.
    let limits = "[limits]\nmessage = \"64 KiB\"\nspool = \"1 MiB\"";
    let (desk, ada, bob) = two_sessions_with("request_timeout = \"5m\"\nstop_grace = \"200ms\"", limits);
    let flood = desk.ask_aside(&ada, &json!({"do": "flood-progress"}));
    until("the flood has come", || desk.row(&ada).reason.as_deref() == Some("busy"));

    goes_on(&desk, &bob);
    desk.stop(&ada);

    assert_eq!(flood.join().unwrap().status, 502);
    goes_on(&desk, &bob);
}

#[test]
fn a_flood_of_log_lines_is_drained_and_the_agent_goes_on() {
    let (desk, ada, bob) = two_sessions_with("request_timeout = \"60s\"", "");
    let flood = desk.ask_aside(&ada, &json!({"do": "flood-stderr"}));
    goes_on(&desk, &bob);
    assert_eq!(flood.join().unwrap().status, 200);
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[test]
fn an_agent_that_hangs_lets_its_requests_time_out_and_can_still_be_stopped() {
    let (desk, ada, bob) = two_sessions_with("request_timeout = \"2s\"\nstop_grace = \"300ms\"", "");

    for request in [json!({"do": "hang"}), json!("are you there?")] {
        assert_eq!(desk.ask(&ada, &request).pair(), (504, "AGENT_TIMEOUT".into()));
    }

    goes_on(&desk, &bob);
    desk.stop(&ada);
    assert_eq!(desk.server.agents(), [desk.row(&bob).pid.unwrap()]);
}

#[test]
fn requests_to_an_agent_that_never_reads_are_refused_above_the_bound_and_time_out_below() {
    let (desk, ada, bob) =
        two_sessions_with("request_timeout = \"3s\"\nstop_grace = \"200ms\"", "[limits]\nrequests_per_session = 4");
    assert_eq!(desk.ask(&ada, &json!({"do": "stop-reading"})).status, 504);

    let large = json!("x".repeat(200_000));
    let asked: Vec<_> = (0..12).map(|_| desk.ask_aside(&ada, &large)).collect();
    goes_on(&desk, &bob);
    let answers: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap().pair()).collect();

    let (timed_out, refused) = ((504, "AGENT_TIMEOUT".to_owned()), (503, "SERVER_BUSY".to_owned()));
    assert!(answers.iter().all(|answer| *answer == timed_out || *answer == refused), "{answers:?}");
    assert!(answers.iter().filter(|answer| **answer == timed_out).count() >= 4, "{answers:?}");
    assert!(answers.contains(&refused), "{answers:?}");
    desk.stop(&ada);
}

#[test]
fn nothing_is_left_of_an_agent_whose_children_detached_themselves() {
    let (desk, ada, bob) = two_sessions("");
    desk.ask(&ada, &json!({"do": "daemon"}));
    until("the daemon runs", || desk.server.agents().len() >= 3);

    desk.stop(&ada);

    assert_eq!(desk.server.agents(), [desk.row(&bob).pid.unwrap()]);
    goes_on(&desk, &bob);
}

#[test]
fn nothing_is_left_of_an_agent_that_keeps_forking_and_others_end_meanwhile() {
    let (desk, ada, bob) = two_sessions("");
    desk.ask(&ada, &json!({"do": "fork-again-and-again"}));

    desk.stop(&ada);
    desk.stop(&bob);

    assert!(desk.server.agents().is_empty());
}

#[test]
fn an_agent_that_ignores_shutdown_and_sigterm_is_killed_after_the_grace() {
    let (desk, ada, bob) = two_sessions_with("stop_grace = \"400ms\"", "");
    assert_eq!(desk.ask(&ada, &json!({"do": "ignore-sigterm"})).status, 200);
    desk.stop(&ada);
    assert_eq!(desk.server.agents(), [desk.row(&bob).pid.unwrap()]);
}

#[test]
fn an_agent_that_never_gets_ready_fails_its_start_when_the_time_is_over() {
    let desk = Desk::new(&faulty(&["at-start", "nothing"], "start_timeout = \"2s\""));
    let why = failed_start(&desk);
    assert_eq!(why, "no answer to initialize in 2s; its log is empty");
}

#[test]
fn an_agent_that_exits_before_it_is_ready_fails_its_start_with_the_end_of_its_log() {
    let desk = Desk::new(&faulty(&["at-start", "exit"], ""));
    let why = failed_start(&desk);
    assert_eq!(why, "the agent exited with status 3 before it was ready; last lines of its log: no fuel");
}

#[test]
fn a_command_that_does_not_exist_fails_the_start_and_is_named() {
    let desk = Desk::new(&persona("CUSTOMERS", r#"["no-such-agent"]"#, ""));
    let why = failed_start(&desk);
    let expected =
        r#"the server could not run the agent; its command "no-such-agent" could not be started: No such file"#;
    assert!(why.starts_with(expected), "{why}");
}

#[test]
fn a_command_that_is_not_executable_fails_the_start_and_is_named() {
    let desk = Desk::new(&persona("CUSTOMERS", r#"["/etc/passwd"]"#, ""));
    let why = failed_start(&desk);
    let expected = r#"the server could not run the agent; its command "/etc/passwd" could not be started: Permission"#;
    assert!(why.starts_with(expected), "{why}");
}

#[test]
fn a_working_directory_that_does_not_exist_fails_the_start_and_is_named() {
    let desk = Desk::new(&faulty(&["on-request"], "working_directory = \"/nowhere\""));
    let why = failed_start(&desk);
    assert_eq!(why, "the server could not run the agent; its working_directory /nowhere is no directory");
}

#[test]
fn an_agent_that_says_that_it_has_finished_and_exits_at_once_is_believed() {
    let (desk, ada, bob) = two_sessions("");
    assert_eq!(response(&desk, &ada, &json!({"do": "finish-and-exit"})), "last");
    assert_eq!(desk.ending(&ada), ("completed".into(), "all done".into()));
    assert_eq!(desk.row(&ada).epoch, 1);
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_that_has_finished_is_told_to_shut_down_and_its_words_are_the_reason() {
    let (desk, ada, _) = two_sessions("");
    assert_eq!(response(&desk, &ada, &json!({"do": "finish-and-linger"})), "last");
    assert_eq!(desk.ending(&ada), ("failed".into(), "out of fuel".into()));
}

fn two_sessions(config: &str) -> (Desk, Opened, Opened) {
    two_sessions_with("", config)
}

/// A running session of Ada, whose agent is going to misbehave, and one of Bob.
fn two_sessions_with(keys: &str, config: &str) -> (Desk, Opened, Opened) {
    let desk = Desk::new(&format!("{config}\n{}", faulty(&["on-request"], keys)));
    desk.server.add_customer(BOB);
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    (desk, ada, bob)
}

/// Fails to initialise, and returns the reason that the pending session keeps.
fn failed_start(desk: &Desk) -> String {
    let ada = desk.request(ADA);
    assert_eq!(desk.server.initialise(ADA.0).pair(), (500, "SESSION_CREATION_FAILED".into()));
    let row = desk.row(&ada);
    assert_eq!(row.phase, "PENDING");
    assert!(desk.server.agents().is_empty());
    row.reason.unwrap()
}

/// The most memory that the process has used, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
