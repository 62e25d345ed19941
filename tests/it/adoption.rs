//! Agents outlive their server, and the next one takes them up: whatever the server died of, and whoever else is gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use frontdesk::clock::boot_time;
use frontdesk::control;
use frontdesk::id::Epoch;
use frontdesk::session::Phase;
use frontdesk::shim::place::{Fence, Place};
use frontdesk::store::sqlite::inspect;
use rustix::process::Signal;
use serde_json::json;

use crate::desk::{BOB, Desk, Opened, faulty, persona};
use crate::harness::{ADA, Server, Setup, repository, signal, try_send, until};

const AGENTS: usize = 50;
const CLIENTS: usize = 4;
const ROUNDS: u32 = 5;
/// Answers that the clients wait for before a round's server is killed.
const ANSWERS_A_ROUND: u64 = 100;

#[test]
fn fifty_busy_agents_survive_five_servers_and_no_call_reaches_them_twice() {
    let script = repository().join("tests/it/agents/chatty.py");
    let mut desk = Desk::new(&persona("CUSTOMERS", &json!(["python3", script]).to_string(), ""));
    let sessions = open_many(&desk);
    let before = agents(&desk);
    assert_eq!(before.len(), AGENTS);
    let load =
        Load { address: Mutex::new(desk.server.address), stop: AtomicBool::new(false), answers: AtomicU64::new(0) };

    thread::scope(|scope| {
        for mine in sessions.chunks(AGENTS.div_ceil(CLIENTS)) {
            scope.spawn(|| load.ask_in_turns(mine));
        }
        for _ in 0..ROUNDS {
            let enough = load.answers.load(Ordering::SeqCst) + ANSWERS_A_ROUND;
            until("the clients are busy", || load.answers.load(Ordering::SeqCst) >= enough);
            desk.server.kill();
            desk.server.start_again();
            assert_eq!(agents(&desk), before, "an agent is another one, or of another epoch");
            *load.address.lock().unwrap_or_else(PoisonError::into_inner) = desk.server.address;
        }
        load.stop.store(true, Ordering::SeqCst);
    });

    for session in &sessions {
        let answer = desk.server.relay(&session.email, &session.token, &json!("last"));
        assert_eq!(answer.json()["RESPONSE"]["twice"], json!([]), "{answer:?}");
    }
    assert_eq!(desk.server.marked().len(), AGENTS);
    assert!(desk.server.interrupt().success());
    assert!(desk.server.agents().is_empty());
}

#[test]
fn a_binary_replaced_on_disk_takes_up_the_agents_of_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("frontdesk");
    install(&binary);
    let server = Server::start(Setup { binary: Some(binary.clone()), ..Setup::default() });
    server.add_customer(ADA);
    let mut desk = Desk { server };
    let ada = desk.open(ADA);
    let before = desk.server.marked();

    install(&binary);
    // The server that runs still starts agents, of its own version.
    desk.server.add_customer(BOB);
    let bob = desk.open(BOB);
    desk.server.kill();
    desk.server.start_again();

    for session in [&ada, &bob] {
        assert_eq!(desk.ask(session, &json!(1)).json()["RESPONSE"]["handled"], 1);
        assert_eq!(desk.row(session).epoch, 1);
    }
    assert!(before.iter().all(|agent| desk.server.marked().contains(agent)));
}

#[test]
fn a_shim_that_does_not_answer_is_ended_with_its_agent_and_the_others_are_taken_up() {
    let (mut desk, ada, bob) = two();
    let (adas, bobs) = (desk.row(&ada).pid.unwrap(), desk.row(&bob).pid);
    let shim = parent(adas);
    desk.server.kill();
    signal(shim, Signal::STOP);

    desk.server.start_again();

    assert_eq!((desk.row(&bob).pid, desk.row(&bob).epoch), (bobs, 1));
    assert_eq!(desk.ask(&bob, &json!(1)).json()["RESPONSE"]["handled"], 2);
    assert_eq!(desk.epoch_when_answering(&ada), 2);
    assert!(!desk.server.agents().contains(&adas));
    assert!(!desk.server.own_processes().contains(&shim));
}

#[test]
fn a_process_that_got_a_shim_s_pid_since_is_left_alone() {
    let (mut desk, ada, _) = two();
    let place = place(&desk, &ada);
    desk.server.kill();
    desk.server.kill_agents();
    until("the shims are gone", || desk.server.own_processes().is_empty());
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(place.root().join("lock"), stranger.id().to_string()).unwrap();

    desk.server.start_again();

    assert_eq!(desk.epoch_when_answering(&ada), 2);
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn after_a_reboot_agents_start_again_and_no_failure_is_counted() {
    let (mut desk, ada, bob) = two();
    desk.server.kill();
    let places = [place(&desk, &ada), place(&desk, &bob)];
    for shim in desk.server.own_processes() {
        signal(shim, Signal::KILL);
    }
    until("the agents are gone with their shims", || desk.server.agents().is_empty());
    for place in &places {
        place.write_fence(&Fence { epoch: Epoch(1), boot: "the boot before".into() }).unwrap();
    }

    desk.server.start_again();

    for session in [&ada, &bob] {
        assert_eq!(desk.epoch_when_answering(session), 2);
        assert_eq!(failures(&desk, session), 0);
    }
    assert_eq!(desk.server.agents().len(), 2);
}

#[test]
fn a_restart_takes_no_session_for_idle() {
    let mut desk = Desk::new(&faulty(&["on-request"], "idle_timeout = \"4s\""));
    let ada = desk.open(ADA);
    // Asked all the time, for longer than it may be idle.
    let opened = boot_time();
    while boot_time().saturating_since(opened) < Duration::from_millis(4_400) {
        assert_eq!(desk.ask(&ada, &json!(1)).status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(desk.server.terminate().success());
    desk.server.start_again();

    assert_eq!((desk.ask(&ada, &json!(1)).status, desk.row(&ada).epoch), (200, 1));
    assert_eq!(desk.ending(&ada), ("expired".into(), "no request for 4s".into()));
}

#[test]
fn a_line_that_a_shim_can_not_keep_fails_that_request_only() {
    let (desk, ada, bob) = two();
    let pid = desk.row(&ada).pid;
    // Where the shim keeps a long line until it is complete there is something else.
    std::fs::create_dir(place(&desk, &ada).root().join("line")).unwrap();

    assert_eq!(desk.ask(&ada, &json!("x".repeat(100_000))).pair(), (502, "AGENT_ERROR".into()));

    for session in [&ada, &bob] {
        assert_eq!(desk.ask(session, &json!(1)).json()["RESPONSE"]["handled"], 2);
    }
    assert_eq!((desk.row(&ada).pid, desk.row(&ada).epoch), (pid, 1));
}

#[test]
fn agents_that_were_ended_with_their_server_start_again_and_no_failure_is_counted() {
    let (mut desk, ada, _) = two();
    assert!(desk.server.interrupt().success());
    desk.server.start_again();
    assert_eq!(desk.epoch_when_answering(&ada), 2);
    assert_eq!(failures(&desk, &ada), 0);
}

#[test]
fn a_plain_command_that_was_ended_with_its_server_starts_again() {
    let mut desk = Desk::new(&persona("CUSTOMERS", r#"["sleep", "600"]"#, "protocol = \"none\""));
    let ada = desk.open(ADA);
    assert!(desk.server.interrupt().success());
    desk.server.start_again();
    // One look at both: before it is started again, the session is for a moment RUNNING with the epoch that it had.
    until("it runs again", || {
        let row = desk.row(&ada);
        row.phase == "RUNNING" && row.epoch == 2
    });
    assert_eq!(failures(&desk, &ada), 0);
}

#[test]
fn an_agent_that_was_killed_while_no_server_ran_is_a_loss_like_any_other() {
    let (mut desk, ada, bob) = two();
    let adas = desk.row(&ada).pid.unwrap();
    desk.server.kill();
    signal(adas, Signal::KILL);
    until("its shim has noted the end", || place(&desk, &ada).end().unwrap().is_some());

    desk.server.start_again();

    assert_eq!(desk.epoch_when_answering(&ada), 2);
    assert_eq!((failures(&desk, &ada), failures(&desk, &bob)), (1, 0));
    assert_eq!(desk.row(&bob).epoch, 1);
}

#[test]
fn directories_of_no_session_and_agents_of_older_epochs_are_ended() {
    let (mut desk, ada, bob) = two();
    assert!(desk.server.terminate().success());
    // The session ends while no server runs, and its agent runs on.
    assert!(desk.server.run(&["session", "stop", &ada.id], "").0.success());
    // The store is of a later time than the agent.
    let place = place(&desk, &bob);
    let unknown = place.root().with_file_name("01a204e7-68c9-7181-a185-5ee6960c463f");
    std::fs::create_dir(&unknown).unwrap();
    std::fs::write(unknown.join("epoch"), "half").unwrap();
    let fence = place.fence().unwrap().unwrap();
    place.write_fence(&Fence { epoch: Epoch(0), ..fence }).unwrap();

    desk.server.start_again();

    assert!(!unknown.exists());
    assert_eq!(desk.epoch_when_answering(&bob), 2);
    assert_eq!(desk.server.agents(), [desk.row(&bob).pid.unwrap()]);
}

#[test]
fn a_server_is_ready_only_when_the_agents_that_it_found_dead_are_stored_as_lost() {
    let mut desk = Desk::new("");
    let sessions = open_many(&desk);
    desk.server.kill();
    desk.server.kill_agents();
    until("their shims are gone, too", || desk.server.own_processes().is_empty());

    desk.server.start_again();

    let stored = inspect::read(&desk.server.data_dir().join("frontdesk.db")).unwrap().live;
    assert_eq!(stored.len(), sessions.len());
    for row in stored {
        let phase = row.phase.unwrap();
        assert!(!matches!(phase, Phase::Running { epoch: Epoch(1), .. }), "{phase:?}");
    }
}

#[test]
fn a_start_that_a_crash_cut_off_goes_on_with_the_same_agent() {
    let mut desk = Desk::new(&persona("CUSTOMERS", &slow_starter(), ""));
    let ada = desk.request(ADA);
    let initialise = initialise(desk.server.address);
    until("the agent is told of its session", || desk.server.path("told").exists());
    let before = desk.server.marked();
    desk.server.kill();
    assert!(initialise.join().unwrap().is_none());

    desk.server.start_again();
    assert_eq!((desk.row(&ada).phase.as_str(), desk.row(&ada).epoch), ("STARTING", 1));
    std::fs::write(desk.server.path("go"), "").unwrap();

    until("the session runs", || desk.row(&ada).phase == "RUNNING");
    assert_eq!(desk.row(&ada).epoch, 1);
    assert!(before.contains(&desk.server.marked()[0]));
    assert_eq!(desk.ask(&ada, &json!(7)).json()["RESPONSE"], json!(7));
}

#[test]
fn a_stop_that_a_crash_cut_off_goes_on() {
    let mut desk = Desk::new(&faulty(&["on-request"], "stop_grace = \"3s\""));
    let ada = desk.open(ADA);
    assert_eq!(desk.ask(&ada, &json!({"do": "ignore-sigterm"})).status, 200);
    assert_eq!(desk.server.stop(&ada.id, &ada.token).status, 202);
    until("it is being stopped", || desk.row(&ada).phase == "STOPPING");
    desk.server.kill();

    desk.server.start_again();

    assert_eq!(desk.ending(&ada).0, "stopped");
    assert!(desk.server.agents().is_empty());
}

/// A session of one of many customers.
struct Session {
    email: String,
    token: String,
}

/// What the clients of many sessions share.
struct Load {
    address: Mutex<SocketAddr>,
    stop: AtomicBool,
    answers: AtomicU64,
}

impl Load {
    /// Asks each of the sessions in turn, each time with a number of its own, until it is time to stop. The agents'
    /// counters go on without a repeated number.
    fn ask_in_turns(&self, sessions: &[Session]) {
        let (mut counters, mut asked) = (vec![0; sessions.len()], 0);
        while !self.stop.load(Ordering::SeqCst) {
            for (session, counter) in sessions.iter().zip(&mut counters) {
                asked += 1;
                let address = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
                let body = json!({"EMAIL": session.email, "REQUEST": asked, "TOKEN": session.token}).to_string();
                let Ok(answer) = try_send(address, "PUT", "/handleSessionRequests", &[], body.as_bytes()) else {
                    // No server: there is nothing to do but to come back.
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                assert_eq!(answer.status, 200, "{answer:?}");
                let handled = answer.json()["RESPONSE"]["handled"].as_u64().unwrap();
                assert!(handled > *counter, "the agent was started anew, or a number was repeated");
                *counter = handled;
                self.answers.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

fn open_many(desk: &Desk) -> Vec<Session> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = |number: usize| {
        let (email, password) = (format!("customer{number}@example.org"), "correct horse".to_owned());
        let add = control::Command::AddCustomer { email: email.clone(), password: password.clone() };
        runtime.block_on(control::send(&desk.server.data_dir(), &add)).unwrap().unwrap();
        let token = desk.server.create((&email, &password), json!({})).token();
        assert_eq!(desk.server.initialise(&email).status, 200);
        Session { email, token }
    };
    (0..AGENTS).map(open).collect()
}

#[test]
fn a_start_that_has_too_few_descriptors_for_the_agents_says_how_many_and_ends_none() {
    let mut desk = Desk::new(&persona("CUSTOMERS", "['sleep', '1000']", "protocol = 'none'"));
    open_many(&desk);
    let before = agents(&desk);
    desk.server.kill();

    let output = Command::new("prlimit")
        .args(["--nofile=100:100", env!("CARGO_BIN_EXE_frontdesk"), "serve", "--listen", "127.0.0.1:0"])
        .current_dir(desk.server.directory())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("50 agents of an earlier server run, and taking them up needs"), "{errors}");
    assert!(errors.contains("more open files than the 100"), "{errors}");
    assert!(errors.lines().count() < 20, "{errors}");
    desk.server.start_again();
    assert_eq!(agents(&desk), before);
}

/// Each session's agent: its process and its epoch.
fn agents(desk: &Desk) -> BTreeMap<String, (u32, u32)> {
    desk.rows().into_iter().map(|row| (row.id.to_string(), (row.pid.unwrap(), row.epoch))).collect()
}

/// Ada and Bob with an agent each, which has answered once.
fn two() -> (Desk, Opened, Opened) {
    let desk = Desk::new("");
    desk.server.add_customer(BOB);
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    for session in [&ada, &bob] {
        assert_eq!(desk.ask(session, &json!(1)).json()["RESPONSE"]["handled"], 1);
    }
    (desk, ada, bob)
}

/// Puts a copy of the binary in the place of what is there.
fn install(binary: &Path) {
    let copy = binary.with_extension("new");
    std::fs::copy(env!("CARGO_BIN_EXE_frontdesk"), &copy).unwrap();
    std::fs::rename(copy, binary).unwrap();
}

fn place(desk: &Desk, session: &Opened) -> Place {
    Place::new(&desk.server.data_dir().join("agents").join(&session.id))
}

fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// How many losses of the running session's agents are counted.
fn failures(desk: &Desk, session: &Opened) -> u32 {
    let tables = frontdesk::store::sqlite::inspect::read(&desk.server.data_dir().join("frontdesk.db")).unwrap();
    let row = tables.live.into_iter().find(|row| row.id.to_string() == session.id).unwrap();
    let phase = row.phase.unwrap();
    let frontdesk::session::Phase::Running { failures, .. } = phase else { panic!("{phase:?}") };
    failures.streak()
}

/// An agent that says in the file `told` of the server's directory, where it runs, that it was told of its session, and answers only once the file `go` is there.
fn slow_starter() -> String {
    let script = r#"
import json, os, sys, time
for line in sys.stdin:
    message = json.loads(line)
    result = {}
    if message["method"] == "initialize":
        open("told", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    if message["method"] == "request":
        result = message["params"]["REQUEST"]
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;
    json!(["python3", "-c", script]).to_string()
}

fn initialise(address: SocketAddr) -> thread::JoinHandle<Option<u16>> {
    thread::spawn(move || {
        let body = json!({"EMAIL": ADA.0}).to_string();
        try_send(address, "POST", "/initializeSession", &[], body.as_bytes()).ok().map(|answer| answer.status)
    })
}
