//! Agents that take more than they may, or misbehave in ways that a limit or a ping finds: each is ended, slowed or
//! refused as its persona says, the reason can be seen, and another session goes on.

use std::path::Path;

use frontdesk::clock::boot_time;
use frontdesk::control::SessionRow;
use serde_json::{Value, json};

use crate::desk::{BOB, Desk, Opened, faulty, goes_on, persona, response};
use crate::harness::{ADA, until};

/// A third customer.
const EVE: (&str, &str) = ("eve@example.org", "correct battery");

#[test]
fn an_agent_that_eats_memory_is_killed_and_started_again() {
    let (desk, ada, bob) = two_sessions("memory = \"120 MiB\"", "");
    desk.fails_with_its_agent(&ada, "eat-memory");
    is_started_again(&desk, &ada, "killed: over its memory limit of 120 MiB; its log is empty");
    goes_on(&desk, &bob);
}

#[test]
fn the_memory_of_all_processes_counts() {
    let (desk, ada, bob) = two_sessions("memory = \"120 MiB\"", "");
    desk.fails_with_its_agent(&ada, "eat-memory-in-children");
    is_started_again(&desk, &ada, "killed: over its memory limit of 120 MiB; its log is empty");
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_that_eats_time_is_killed_and_started_again() {
    let (desk, ada, bob) = two_sessions("cpu_time = \"3s\"", "");
    desk.fails_with_its_agent(&ada, "eat-time");
    is_started_again(&desk, &ada, "killed: over its CPU time of 3s; its log is empty");
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_that_forks_too_many_is_killed_with_all_of_them() {
    let (desk, ada, bob) = two_sessions("processes = 4", "");
    desk.fails_with_its_agent(&ada, "fork-many");
    is_started_again(&desk, &ada, "killed: over its limit of 4 processes; its log is empty");
    assert_eq!(desk.server.agents().len(), 2);
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_whose_own_directory_is_over_its_quota_is_ended_and_the_size_is_shown_before() {
    let writes = r#"["sh", "-c", "head -c 3000000 /dev/urandom > some; while [ ! -e go ]; do sleep 0.1; done; head -c 9000000 /dev/urandom > more; exec sleep 600"]"#;
    let keys = "protocol = \"none\"\nown_directory = true\nown_directory_quota = \"8 MiB\"";
    let (desk, _, bob) = two_sessions("", &persona("WRITERS", writes, keys));
    desk.server.add_customer(EVE);
    let eve = desk.request_as("WRITERS", EVE, json!({}));
    assert_eq!(desk.server.initialise(eve.email).pair(), (200, "SESSION_INITIALIZED".into()));
    let shown = || desk.row(&eve).usage.and_then(|usage| usage.own_directory);
    until("its size is shown", || shown().is_some_and(|bytes| (3_000_000..8 << 20).contains(&bytes)));

    std::fs::write(desk.server.data_dir().join("agents").join(&eve.id).join("work/go"), "").unwrap();

    let why = "killed: its own directory is over its quota of 8 MiB; its log is empty";
    assert_eq!(desk.ending(&eve), ("failed".into(), why.into()));
    goes_on(&desk, &bob);
}

#[test]
fn too_many_open_files_are_the_problem_of_the_agent_that_opens_them() {
    let (desk, ada, bob) = two_sessions("open_files = 32", "");
    assert_eq!(response(&desk, &ada, &json!({"do": "eat-files"})), "EMFILE");
    goes_on(&desk, &ada);
    goes_on(&desk, &bob);
}

#[test]
fn who_writes_faster_than_it_may_is_slowed_and_loses_nothing() {
    let (desk, ada, bob) = two_sessions("output_rate = \"256 KiB\"", "");
    let begin = boot_time();
    let answer = desk.ask_aside(&ada, &json!({"do": "answer-long"}));
    goes_on(&desk, &bob);

    let answer = answer.join().unwrap().json()["RESPONSE"].clone();

    assert_eq!(answer, "x".repeat(600_000));
    // One second's worth passes at once: the rest of the 586 KiB can't have come sooner.
    let took = boot_time().saturating_since(begin).as_secs_f64();
    assert!(took > (586.0 - 256.0) / 256.0 - 0.1, "{took} s");
    goes_on(&desk, &ada);
}

#[test]
fn a_flood_of_log_lines_fills_no_disk() {
    let (desk, ada, bob) = two_sessions("", "[limits]\nlog = \"64 KiB\"");
    assert_eq!(desk.ask(&ada, &json!({"do": "flood-stderr"})).status, 200);

    let directory = desk.server.data_dir().join("agents").join(&ada.id);
    let bytes = |name: &str| std::fs::metadata(directory.join(name)).unwrap().len();
    let (log, older) = (bytes("agent.log"), bytes("agent.log.1"));
    // A piece of up to 64 KiB is written as a whole.
    assert!(log <= 128 << 10 && older <= 128 << 10, "{log} and {older} bytes");
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_that_exits_after_it_has_answered_is_started_again() {
    let (desk, ada, bob) = two_sessions("", "");
    assert_eq!(response(&desk, &ada, &json!({"do": "exit-later"})), "soon");
    let why = "the agent exited with status 3 without sending `finished`; last lines of its log: no fuel";
    is_started_again(&desk, &ada, why);
    goes_on(&desk, &bob);
}

#[test]
fn an_agent_that_hangs_while_nobody_asks_is_found_by_a_ping_and_started_again() {
    let (desk, ada, bob) = two_sessions("ping_interval = \"1s\"\nping_timeout = \"2s\"", "");
    assert_eq!(response(&desk, &ada, &json!({"do": "hang-later"})), "soon");
    is_started_again(&desk, &ada, "no answer to ping in 2s, and nothing else either; its log is empty");
    goes_on(&desk, &bob);
}

#[test]
fn nothing_is_left_of_a_process_that_gave_up_its_parent_its_group_its_marks_and_sigterm() {
    let (desk, ada, bob) = two_sessions("", "");
    let pid = response(&desk, &ada, &json!({"do": "detach"}));
    let process = Path::new("/proc").join(pid.to_string());
    assert!(process.exists());

    desk.stop(&ada);

    assert!(!process.exists());
    goes_on(&desk, &bob);
}

#[test]
fn the_session_of_a_plain_command_ends_with_it_and_says_which_limit_it_was() {
    let command = r#"["python3", "-c", "eaten = bytearray(b'x') * 200_000_000; __import__('time').sleep(60)"]"#;
    let eater = persona("EATERS", command, "protocol = \"none\"\nmemory = \"120 MiB\"");
    let (desk, _, bob) = two_sessions("", &eater);
    desk.server.add_customer(EVE);

    let eve = desk.request_as("EATERS", EVE, json!({}));
    assert_eq!(desk.server.initialise(eve.email).pair(), (200, "SESSION_INITIALIZED".into()));

    let why = "killed: over its memory limit of 120 MiB; its log is empty";
    assert_eq!(desk.ending(&eve), ("failed".into(), why.into()));
    goes_on(&desk, &bob);
}

#[test]
fn operators_see_what_an_agent_takes_and_which_limits_are_in_force() {
    let (desk, ada, _) = two_sessions("memory = \"1 GiB\"\nopen_files = 64", "");
    until("the agent was looked at", || desk.row(&ada).usage.is_some());
    let SessionRow { usage, limits, .. } = desk.row(&ada);
    let usage = usage.unwrap();
    assert!(usage.memory > 1 << 20 && usage.processes == 1, "{usage:?}");
    assert!(limits.starts_with("memory 1 GiB (") && limits.ends_with("), 64 open files"), "{limits}");

    let (_, table, _) = desk.server.run(&["session", "list"], "");
    assert!(table.lines().next().unwrap().contains("  MEMORY  "), "{table}");
    let (_, rows, _) = desk.server.run(&["session", "list", "--json", "--customer", ADA.0], "");
    let row: Value = serde_json::from_str(&rows).unwrap();
    assert_eq!((row["usage"]["processes"].as_u64(), row["limits"].as_str()), (Some(1), Some(limits.as_str())));
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn an_agent_of_another_user_has_its_own_directory_and_no_reach_into_ours() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run agents as another user");
        return;
    }
    // Any program that the other user may not read would be in the way, so it is the shell.
    let script = r#"
while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case $line in
    *'"SESSION_DATA_FILE":'*) exit 1;;
    *'"method":"initialize"'*) result=ready;;
    *'"method":"shutdown"'*) exit;;
    *) echo own > file; result="$(id -u) $(cat file) $(ls .. 2>/dev/null || echo closed) $(cat ../lock 2>/dev/null || echo closed)";;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":"%s"}\n' "$id" "$result"
done"#;
    let command = json!(["/bin/sh", "-c", script]).to_string();
    let keys = "user = \"nobody\"\nown_directory = true";
    let desk = Desk::new(&persona("CUSTOMERS", &command, keys));
    let ada = desk.request_as("CUSTOMERS", ADA, json!({"more than fits": "x".repeat(1_100_000)}));
    let initialised = desk.server.initialise(ada.email);
    assert_eq!(initialised.pair(), (200, "SESSION_INITIALIZED".into()), "{:?}", desk.row(&ada).reason);
    let uid = std::process::Command::new("id").args(["-u", "nobody"]).output().unwrap().stdout;
    let uid = String::from_utf8(uid).unwrap();
    assert_eq!(response(&desk, &ada, &json!("who?")), format!("{} own closed closed", uid.trim()));
}

/// A running session of Ada, whose agent is going to misbehave, and one of Bob.
fn two_sessions(keys: &str, config: &str) -> (Desk, Opened, Opened) {
    let desk = Desk::new(&format!("{config}\n{}", faulty(&["on-request"], keys)));
    desk.server.add_customer(BOB);
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    (desk, ada, bob)
}

/// The agent is lost for this reason, which operators see, and its successor answers.
fn is_started_again(desk: &Desk, session: &Opened, why: &str) {
    assert_eq!(desk.why_lost(), why);
    assert_eq!(desk.epoch_when_answering(session), 2);
    assert_eq!(desk.row(session).reason, Some(format!("an agent was lost: {why}")));
}
