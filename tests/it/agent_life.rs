//! The life of a session's agent as the personas' keys say it: starts, restarts, time limits, stops, room, environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::desk::{BOB, Desk, Opened, faulty, persona};
use crate::harness::{ADA, Server, Setup, repository, until};

const EVE: (&str, &str) = ("eve@example.org", "purple monkey");
const ECHO: &str = r#"["frontdesk", "agent", "echo"]"#;

#[test]
fn a_failed_start_leaves_the_session_pending_and_the_third_ends_it() {
    let desk = Desk::new(&persona("CUSTOMERS", r#"["/no/such/agent"]"#, ""));
    let ada = desk.request(ADA);

    for phase in ["PENDING", "PENDING", "ENDED"] {
        assert_eq!(desk.server.initialise(ADA.0).pair(), (500, "SESSION_CREATION_FAILED".into()));
        assert_eq!(desk.row(&ada).phase, phase);
    }

    let (outcome, reason) = desk.ending(&ada);
    assert_eq!(outcome, "failed");
    assert!(
        reason.starts_with(
            "gave up after 3 failed starts: the server could not run the agent; its command \"/no/such/agent\""
        ),
        "{reason}"
    );
    assert_eq!(desk.server.initialise(ADA.0).pair(), (404, "NO_SESSION_PENDING".into()));
}

#[test]
fn while_a_lost_agent_waits_for_its_restart_requests_are_told_when_to_come_back() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, ""));
    let ada = desk.open(ADA);

    // Each loss doubles the wait, so that one of them is long enough to be seen.
    until("a restart waits", || desk.ask(&ada, &json!({"exit": 9})).pair() == (503, "AGENT_RESTARTING".into()));

    let refused = desk.ask(&ada, &json!(1));
    if refused.status == 503 {
        assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    assert!(desk.epoch_when_answering(&ada) >= 2);
}

#[test]
fn a_session_that_waits_for_a_restart_can_be_stopped() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, ""));
    let ada = desk.open(ADA);
    until("a restart waits", || desk.ask(&ada, &json!({"exit": 9})).status == 503);
    desk.stop(&ada);
    assert_eq!(desk.ending(&ada).0, "stopped");
}

#[test]
fn an_idle_session_expires() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, "idle_timeout = \"300ms\""));
    let ada = desk.open(ADA);
    assert_eq!(desk.ending(&ada), ("expired".into(), "no request for 300ms".into()));
    assert!(desk.server.agents().is_empty());
}

#[test]
fn a_session_whose_agent_works_on_a_request_is_not_idle() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, "idle_timeout = \"2s\""));
    let ada = desk.open(ADA);
    assert_eq!(desk.ask(&ada, &json!({"sleep_ms": 4_000})).status, 200);
    assert_eq!(desk.ending(&ada), ("expired".into(), "no request for 2s".into()));
}

#[test]
fn a_session_expires_at_the_end_of_its_lifetime() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, "max_lifetime = \"300ms\""));
    let ada = desk.open(ADA);
    assert_eq!(desk.ending(&ada), ("expired".into(), "ran for its whole lifetime of 300ms".into()));
}

#[test]
fn a_session_that_nobody_initialises_expires() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, "pending_timeout = \"300ms\""));
    let ada = desk.request(ADA);
    assert_eq!(desk.ending(&ada), ("expired".into(), "no initialise within 300ms".into()));
}

#[test]
fn a_pending_session_can_be_stopped() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, ""));
    let ada = desk.request(ADA);
    assert_eq!(desk.server.stop(&ada.id, &ada.token).status, 200);
    assert_eq!(desk.ending(&ada).0, "stopped");
}

#[test]
fn a_starting_session_can_be_stopped_and_its_initialise_fails() {
    let desk = Desk::new(&faulty(&["at-start", "nothing"], "stop_grace = \"200ms\""));
    let ada = desk.request(ADA);
    let initialise = desk.initialise_aside(ADA.0);
    until("the agent is being started", || desk.row(&ada).phase == "STARTING");

    desk.stop(&ada);

    assert_eq!(initialise.join().unwrap().status, 500);
    assert!(desk.server.agents().is_empty());
}

#[test]
fn a_forced_stop_does_not_wait_for_the_grace_of_an_earlier_one() {
    let desk = Desk::new(&faulty(&["on-request"], "stop_grace = \"1h\""));
    let ada = desk.open(ADA);
    desk.ask(&ada, &json!({"do": "ignore-sigterm"}));
    assert_eq!(desk.server.stop(&ada.id, &ada.token).status, 202);
    assert_eq!(desk.row(&ada).phase, "STOPPING");

    desk.force(&ada);

    assert_eq!(desk.ending(&ada).0, "stopped");
}

#[test]
fn the_exit_status_of_a_plain_command_is_the_outcome() {
    for (script, outcome, reason) in [
        ("exit 0", "completed", "the command exited with status 0"),
        ("echo no paper; exit 3", "failed", "the agent exited with status 3; last lines of its log: no paper"),
    ] {
        let command = json!(["sh", "-c", script]).to_string();
        let desk = Desk::new(&persona("CUSTOMERS", &command, "protocol = \"none\""));
        let ada = desk.request(ADA);
        assert_eq!(desk.server.initialise(ADA.0).pair(), (200, "SESSION_INITIALIZED".into()));
        assert_eq!(desk.ending(&ada), (outcome.into(), reason.into()));
    }
}

#[test]
fn a_plain_command_takes_no_requests_and_is_stopped_by_sigterm() {
    let desk = Desk::new(&persona("CUSTOMERS", r#"["sleep", "1000"]"#, "protocol = \"none\"\nstop_grace = \"1h\""));
    let ada = desk.open(ADA);
    assert_eq!(desk.ask(&ada, &json!(1)).pair(), (502, "AGENT_ERROR".into()));
    desk.stop(&ada);
    assert!(desk.server.agents().is_empty());
}

#[test]
fn of_many_callers_one_initialises_and_the_others_are_told_at_once_that_nothing_is_pending() {
    let desk = Desk::new(&persona("CUSTOMERS", ECHO, ""));
    desk.request(ADA);
    let callers: Vec<_> = (0..8).map(|_| desk.initialise_aside(ADA.0)).collect();
    let mut answers: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap().pair()).collect();
    answers.sort();
    assert_eq!(answers[0], (200, "SESSION_INITIALIZED".into()));
    assert!(answers[1..].iter().all(|answer| *answer == (404, "NO_SESSION_PENDING".into())), "{answers:?}");
}

#[test]
fn without_room_nothing_is_started_until_another_session_has_ended() {
    let desk = Desk::new(&format!("[limits]\nmax_running = 1\n{}", persona("CUSTOMERS", ECHO, "")));
    desk.server.add_customer(BOB);
    let ada = desk.open(ADA);
    let bob = desk.request(BOB);

    let refused = desk.server.initialise(BOB.0);
    assert_eq!(refused.pair(), (503, "NO_CAPACITY".into()));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(desk.row(&bob).phase, "PENDING");

    desk.stop(&ada);
    until("there is room", || desk.server.initialise(BOB.0).status == 200);
}

#[test]
fn auto_initialize_starts_sessions_in_order_of_arrival_and_initialise_waits_for_the_agent() {
    let persona = persona("CUSTOMERS", ECHO, "auto_initialize = true");
    let desk = Desk::new(&format!("[limits]\nmax_running = 1\n{persona}"));
    desk.server.add_customer(BOB);
    desk.server.add_customer(EVE);
    let (ada, bob, eve) = (desk.request(ADA), desk.request(BOB), desk.request(EVE));
    until("the first one runs", || desk.row(&ada).phase == "RUNNING");
    let waiting = [desk.initialise_aside(BOB.0), desk.initialise_aside(EVE.0), desk.initialise_aside(EVE.0)];

    desk.stop(&ada);
    until("the second one runs", || desk.row(&bob).phase == "RUNNING");
    assert_eq!(desk.row(&eve).phase, "PENDING");
    desk.stop(&bob);

    for caller in waiting {
        assert_eq!(caller.join().unwrap().pair(), (200, "SESSION_INITIALIZED".into()));
    }
    assert_eq!(desk.row(&eve).phase, "RUNNING");
}

#[test]
fn data_above_a_mebibyte_comes_as_a_file_wherever_the_agent_runs() {
    let desk = Desk::new(&faulty(&["on-request"], "working_directory = \"/\""));
    for (letters, from) in [(1_000, "line"), ((1 << 20) + 1, "file")] {
        let ada = desk.request_as("CUSTOMERS", ADA, json!({"x": "y".repeat(letters)}));
        assert_eq!(desk.server.initialise(ADA.0).status, 200);
        let seen = desk.ask(&ada, &json!({"do": "data"})).json()["RESPONSE"].clone();
        assert_eq!(seen, json!({"from": from, "bytes": letters + 9}));
        desk.stop(&ada);
    }
}

#[test]
fn an_agent_sees_the_allowed_variables_its_personas_and_its_marks_and_no_others() {
    let keys = "environment = { MODE = \"test\" }\ninherit_environment = [\"PATH\", \"ALLOWED\", \"MISSING\"]";
    let setup = Setup::with_config(&persona("CUSTOMERS", ECHO, keys)).env("ALLOWED", "yes").env("SECRET", "no");
    let desk = Desk { server: Server::start(setup) };
    desk.server.add_customer(ADA);
    let ada = desk.open(ADA);

    let environment = std::fs::read_to_string(format!("/proc/{}/environ", desk.row(&ada).pid.unwrap())).unwrap();
    let seen: BTreeMap<_, _> = environment.split_terminator('\0').map(|entry| entry.split_once('=').unwrap()).collect();

    let names: Vec<_> = seen.keys().copied().collect();
    assert_eq!(names, ["ALLOWED", "FRONTDESK_DESK", "FRONTDESK_EPOCH", "FRONTDESK_SESSION", "MODE", "PATH"]);
    assert_eq!(seen["FRONTDESK_SESSION"], ada.id);
    assert_eq!(seen["FRONTDESK_EPOCH"], "1");
    assert_eq!(seen["MODE"], "test");
}

#[test]
fn an_agent_inherits_its_three_streams_only_and_the_limit_that_the_server_was_started_with() {
    let limit = Rlimit { current: Some(512), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    // An agent that opens nothing itself; those on the module for authors keep stdout under another number.
    let script = repository().join("tests/it/agents/faulty.py");
    let desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", script, "on-request"]).to_string(), ""));
    desk.server.add_customer(BOB);
    desk.open(BOB);
    let ada = desk.open(ADA);
    let process = format!("/proc/{}", desk.row(&ada).pid.unwrap());

    // What this test was itself started with goes through the server to everybody.
    let outside = descriptors("/proc/self");
    let of_agent = descriptors(&process);
    let of_server: Vec<_> = of_agent.iter().filter(|descriptor| !outside.contains(descriptor)).collect();
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();

    assert_eq!(of_server.iter().map(|(number, _)| number.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(of_server.iter().all(|(_, file)| file.starts_with("pipe:")), "{of_server:?}");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("512"), "{open_files}");
}

#[test]
fn an_agent_runs_in_its_working_directory() {
    let directory = repository().join("tests/it/agents");
    let keys = format!("working_directory = {}", json!(directory));
    let desk = Desk::new(&persona("CUSTOMERS", r#"["python3", "faulty.py", "on-request"]"#, &keys));
    let ada = desk.open(ADA);
    assert_eq!(desk.ask(&ada, &json!({"do": "directory"})).json()["RESPONSE"], json!(directory));
}

#[test]
fn a_client_that_hangs_up_cancels_its_request_at_the_agent() {
    let desk = Desk::new(&faulty(&["on-request"], ""));
    let ada = desk.open(ADA);
    let client = wait_for_cancel(&desk, &ada);
    drop(client);
    until("the agent was told", || desk.ask(&ada, &json!({"do": "cancels"})).json()["RESPONSE"] == json!([2]));
}

#[test]
fn a_connection_that_is_reset_cancels_its_request_at_once() {
    let desk = Desk::new(&faulty(&["on-request"], ""));
    let ada = desk.open(ADA);
    let client = wait_for_cancel(&desk, &ada);
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    // Well below the five seconds of a client that may only have closed its sending half.
    let told = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        desk.ask(&ada, &json!({"do": "cancels"})).json()["RESPONSE"] == json!([2])
    });
    assert!(told, "two seconds have passed");
}

#[test]
fn a_client_that_closes_its_sending_half_gets_its_answer() {
    let desk = Desk::new(&faulty(&["on-request"], ""));
    let ada = desk.open(ADA);
    let body = json!({"EMAIL": ADA.0, "TOKEN": ada.token, "REQUEST": {"do": "directory"}}).to_string();
    let mut client = relay(&desk, &body);
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", answer.escape_ascii());
}

#[test]
fn a_client_that_closes_its_sending_half_may_take_its_time_to_read_a_long_answer() {
    let desk = Desk::new(&faulty(&["on-request"], ""));
    let ada = desk.open(ADA);
    // More than the system's buffers hold, so that most of it is written long after it was decided.
    let body = json!({"EMAIL": ADA.0, "TOKEN": ada.token, "REQUEST": {"do": "long-answer"}}).to_string();
    let mut client = relay(&desk, &body);
    assert_eq!(client.peek(&mut [0]).unwrap(), 1, "the answer has begun");
    client.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_secs(6));
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK") && answer.len() > 10_000_000, "{} bytes", answer.len());
}

/// Sends a relay that the agent does not answer, and returns once the agent has it.
fn wait_for_cancel(desk: &Desk, ada: &Opened) -> TcpStream {
    let body = json!({"EMAIL": ADA.0, "TOKEN": ada.token, "REQUEST": {"do": "wait-for-cancel"}}).to_string();
    let client = relay(desk, &body);
    until("the agent has the request", || desk.row(ada).reason.as_deref() == Some("waiting"));
    client
}

fn relay(desk: &Desk, body: &str) -> TcpStream {
    let mut client = TcpStream::connect(desk.server.address).unwrap();
    let length = body.len();
    let head = format!("PUT /handleSessionRequests HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(format!("{head}{body}").as_bytes()).unwrap();
    client
}

/// The open descriptors of a process, each with what it leads to.
fn descriptors(process: &str) -> BTreeSet<(String, String)> {
    let entries = std::fs::read_dir(format!("{process}/fd")).unwrap().map(|entry| entry.unwrap());
    // The one that lists them is gone when it is looked at.
    let known = entries.filter_map(|entry| Some((entry.file_name(), std::fs::read_link(entry.path()).ok()?)));
    known.map(|(number, file)| (number.into_string().unwrap(), file.to_str().unwrap().to_owned())).collect()
}
