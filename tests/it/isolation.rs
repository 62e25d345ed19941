//! Agents of one persona against each other. A range in `user` gives each session a user of its own, which the kernel
//! keeps apart from the others, and which is given again only when nothing of the session is left.
//!
//! Only root can run agents as other users, so that these tests need root.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use frontdesk::shim::place::Place;
use frontdesk::shim::process_table;
use rustix::process::Signal;
use serde_json::json;

use crate::desk::{BOB, Desk, Opened, persona, response};
use crate::harness::{ADA, Server, Setup, signal, until};

/// What a command prints when the kernel refuses what it tries.
const REFUSED: &str = "refused";
/// What it prints otherwise.
const REACHED: &str = "reached";

#[test]
fn an_agent_of_a_range_can_neither_look_at_another_s_nor_touch_it() {
    let desk = with_user("3100000000-3100000063");
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    let bobs = desk.row(&bob).pid.unwrap();
    assert_eq!(run(&desk, &bob, "echo secret > file; echo done"), "done");

    for (what, command) in attacks(bobs) {
        assert_eq!(run(&desk, &ada, &command), REFUSED, "{what}");
    }
    // The same commands reach a process of the same user: what stops them above is the user.
    let own: u32 = run(&desk, &bob, "sleep 600 >/dev/null 2>&1 </dev/null & echo $!").parse().unwrap();
    for (what, command) in attacks(own).into_iter().filter(|(what, _)| !traces(what) || may_trace_siblings()) {
        assert_eq!(run(&desk, &bob, &command), REACHED, "{what}");
    }

    assert_eq!(run(&desk, &bob, "cat file"), "secret");
    assert_eq!(desk.row(&bob).epoch, 1);
    let [adas, bobs] = [&ada, &bob].map(|session| run(&desk, session, "echo $(id -u) $(id -g) $(id -G)"));
    assert_ne!(adas, bobs);
    for ids in [adas, bobs] {
        let ids: Vec<u32> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
        assert!((3_100_000_000..=3_100_000_063).contains(&ids[0]) && ids == [ids[0]; 3], "{ids:?}");
    }
}

#[test]
fn agents_of_one_user_reach_each_other_and_a_start_and_the_doctor_say_so() {
    let desk = with_user("nobody");
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    let bobs = desk.row(&bob).pid.unwrap();
    assert_eq!(run(&desk, &bob, "echo secret > file; echo done"), "done");

    let reached: Vec<_> =
        attacks(bobs).into_iter().filter(|(what, _)| ["directory", "signal"].contains(what)).collect();
    assert_eq!(reached.len(), 2);
    for (what, command) in reached {
        assert_ne!(run(&desk, &ada, &command), REFUSED, "{what}");
    }

    let said =
        desk.server.await_log("agents of these personas share one user and can reach each other: give `user` a range");
    assert_eq!(said["personas"], "CUSTOMERS");
    let (_, text, _) = desk.server.run(&["doctor"], "");
    assert!(text.contains("agents of CUSTOMERS share one user, so that each can reach the others"), "{text}");
}

#[test]
fn a_range_that_is_used_up_refuses_a_start_until_nothing_of_another_session_is_left() {
    let desk = with_user("3100000100-3100000100");
    let ada = desk.open(ADA);
    let leave = "setsid env -i sleep 600 >/dev/null 2>&1 </dev/null & \
                 echo left > /dev/shm/frontdesk-test-left; mkdir -p /tmp/frontdesk-test-left/below; \
                 ipcmk -M 4096 >/dev/null; ipcmk -Q >/dev/null; ipcs -m | grep -c $(id -u)";
    assert_eq!(run(&desk, &ada, leave), "1");
    let uid: u32 = run(&desk, &ada, "id -u").parse().unwrap();
    assert_eq!(uid, 3_100_000_100);
    let left = || ["/dev/shm/frontdesk-test-left", "/tmp/frontdesk-test-left"].map(|path| owner(path.as_ref()));
    assert_eq!(left(), [Some(uid); 2]);
    assert!(!std::fs::read_to_string("/proc/sysvipc/shm").unwrap().contains("3100000100"), "the agent has its own");

    let bob = desk.request(BOB);
    let refused = desk.server.initialise(bob.email);
    assert_eq!(refused.pair(), (503, "NO_CAPACITY".into()));
    desk.server.await_log("no agent started: every number in the `user` of its persona is in use");

    desk.stop(&ada);
    until("the number is free again", || desk.server.initialise(bob.email).pair().0 == 200);

    assert_eq!(run(&desk, &bob, "id -u"), uid.to_string());
    assert_eq!(left(), [None; 2]);
    // Its own shell, and the agent: nothing else runs as this user.
    let processes = run(&desk, &bob, "grep -l \"^Uid:.*$(id -u)\" /proc/[0-9]*/status 2>/dev/null | wc -l");
    assert!(processes.parse::<u32>().unwrap() <= 4, "{processes}");
    assert_eq!(users_of("sleep", uid), 0);
}

#[test]
fn a_number_under_which_somebody_elses_process_runs_is_given_to_no_session() {
    let mut stranger = std::process::Command::new("sleep").arg("600").uid(3_100_000_500).spawn().unwrap();
    let desk = with_user("3100000500-3100000501");
    let ada = desk.open(ADA);
    let bob = desk.request(BOB);

    let refused = desk.server.initialise(bob.email);

    assert_ne!(refused.status, 200);
    assert_eq!(run(&desk, &ada, "id -u"), "3100000501");
    assert!(stranger.try_wait().unwrap().is_none(), "it is nobody's to end");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    until("the number is free", || desk.server.initialise(bob.email).status == 200);
    assert_eq!(run(&desk, &bob, "id -u"), "3100000500");
}

#[test]
fn a_session_that_waits_for_a_user_holds_up_nobody_of_another_persona() {
    const CARL: (&str, &str) = ("carl@example.org", "battery staple");
    let echo = persona(
        "OTHERS",
        &json!([env!("CARGO_BIN_EXE_frontdesk"), "agent", "echo"]).to_string(),
        "auto_initialize = true",
    );
    assert!(rustix::process::geteuid().is_root(), "only root can run agents as other users");
    let agent = std::fs::read_to_string(crate::harness::repository().join("tests/it/agents/shell.py")).unwrap();
    let keys = "user = \"3100000150-3100000150\"\nown_directory = true\nauto_initialize = true";
    let shell = persona("CUSTOMERS", &json!(["python3", "-c", agent]).to_string(), keys);
    let desk = Desk::new(&format!("{shell}{echo}"));
    for customer in [BOB, CARL] {
        desk.server.add_customer(customer);
    }
    let ada = desk.request(ADA);
    until("the first one has the only user", || desk.row(&ada).phase == "RUNNING");
    let bob = desk.request(BOB);
    let carl = desk.request_as("OTHERS", CARL, json!({}));

    until("the one behind runs", || desk.row(&carl).phase == "RUNNING");

    assert_eq!(desk.row(&bob).phase, "PENDING");
    desk.stop(&ada);
    until("the one before has the user", || desk.row(&bob).phase == "RUNNING");
}

#[test]
fn a_session_keeps_its_user_over_crashes_and_nobody_else_is_given_it() {
    let mut desk = with_user("3100000200-3100000201");
    let ada = desk.open(ADA);
    let uid = run(&desk, &ada, "echo kept > file; id -u");
    desk.server.kill();
    desk.server.start_again();

    let bob = desk.open(BOB);
    assert_eq!(run(&desk, &ada, "cat file; id -u"), format!("kept\n{uid}"));
    assert_ne!(run(&desk, &bob, "id -u"), uid);

    // Its next agent is the same user, in the same directory.
    signal(desk.row(&ada).pid.unwrap(), Signal::KILL);
    until("the next agent answers", || desk.row(&ada).epoch == 2 && desk.ask(&ada, &json!("true")).status == 200);
    assert_eq!(run(&desk, &ada, "cat file; id -u"), format!("kept\n{uid}"));

    // What a session that has ended meanwhile leaves is removed by the next start.
    desk.server.kill();
    assert!(desk.server.run(&["session", "stop", &bob.id], "").0.success());
    desk.server.start_again();
    until("the other number is free", || std::fs::read_dir(desk.server.data_dir().join("uids")).unwrap().count() == 1);
    assert_eq!(run(&desk, &ada, "id -u"), uid);
}

#[test]
fn what_a_killed_shim_leaves_of_a_session_with_a_user_of_its_own_is_gone_before_the_next_agent() {
    let desk = with_user("3100000300-3100000307");
    let ada = desk.open(ADA);
    let uid: u32 = run(&desk, &ada, &format!("{LEAVE} id -u")).parse().unwrap();
    until("what is to be left runs", || users_of("sleep", uid) == 1);
    signal(shim_of(&desk, &ada), Signal::KILL);

    until("the next agent answers", || desk.row(&ada).epoch == 2 && desk.ask(&ada, &json!("true")).status == 200);

    assert_eq!(users_of("sleep", uid), 0);
}

#[test]
fn a_range_that_holds_a_user_of_this_machine_is_refused() {
    let desk = with_user("3100000400-3100000407");
    let config = std::fs::read_to_string(desk.server.path("frontdesk.toml")).unwrap();
    std::fs::write(desk.server.path("frontdesk.toml"), config.replace("3100000400-3100000407", "1-70000")).unwrap();
    let (status, text, _) = desk.server.run(&["doctor"], "");
    assert!(!status.success());
    assert!(text.contains("choose numbers that no user and no group of this machine has"), "{text}");
}

#[test]
fn what_a_killed_shim_leaves_with_a_cleared_environment_is_gone_before_the_next_agent() {
    let desk = with_keys("");
    let ada = desk.open(ADA);
    let left: u32 = run(&desk, &ada, &format!("{LEAVE} echo $!")).parse().unwrap();
    signal(shim_of(&desk, &ada), Signal::KILL);

    until("the next agent answers", || desk.row(&ada).epoch == 2 && desk.ask(&ada, &json!("true")).status == 200);

    assert!(!is_alive(left));
}

#[test]
fn what_a_shim_that_was_killed_beside_its_server_leaves_is_told_by_verify_and_ended_by_the_next_start() {
    let mut desk = with_keys("");
    let ada = desk.open(ADA);
    let left: u32 = run(&desk, &ada, &format!("{LEAVE} echo $!")).parse().unwrap();
    let place = place(&desk, &ada);
    until("its shim has written it down", || place.tree().unwrap().iter().any(|process| process.pid == left));
    let (shim, agent) = (shim_of(&desk, &ada), desk.row(&ada).pid.unwrap());
    desk.server.kill();
    signal(shim, Signal::KILL);
    until("the agent is gone", || !is_alive(agent) && !is_alive(shim));
    assert!(is_alive(left));

    let (status, text, _) = desk.server.run(&["verify", "frontdesk-data"], "");
    let sentence = format!("session {}: its process {left} runs without a shim; the next start ends it", ada.id);
    assert!(status.success() && text.contains(&sentence) && !text.contains("nothing wrong"), "{text}");
    desk.server.start_again();

    assert!(!is_alive(left));
    until("the next agent answers", || desk.row(&ada).epoch == 2 && desk.ask(&ada, &json!("true")).status == 200);
    until("nothing is wrong", || desk.server.run(&["verify", "frontdesk-data"], "").0.success());
}

#[test]
fn marks_that_an_agent_sets_in_its_children_end_none_of_them_and_nobody_else() {
    let mut desk = with_keys("");
    let (ada, bob) = (desk.open(ADA), desk.open(BOB));
    let unknown = "01a204e7-68c9-7181-a185-5ee6960c463f";
    let marked = |session: &str| {
        let command = format!("FRONTDESK_SESSION={session} setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!");
        run(&desk, &ada, &command).parse::<u32>().unwrap()
    };
    let children = [marked(unknown), marked(&bob.id)];
    let before = [&ada, &bob].map(|session| desk.row(session).pid.unwrap());

    // A sweep for the one session, and then one for all.
    signal(shim_of(&desk, &bob), Signal::KILL);
    until("the next agent answers", || desk.row(&bob).epoch == 2 && desk.ask(&bob, &json!("true")).status == 200);
    assert!(children.iter().all(|pid| is_alive(*pid)));
    desk.server.kill();
    desk.server.start_again();

    assert!(children.iter().all(|pid| is_alive(*pid)), "they are below the shim of Ada's agent, which runs on");
    assert_eq!((desk.row(&ada).pid, desk.row(&ada).epoch), (Some(before[0]), 1));
    assert_eq!(desk.row(&bob).epoch, 2);
    desk.stop(&ada);
    until("they have ended with their agent", || children.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn our_processes_are_closed_to_their_own_user_and_adoption_and_verify_do_without_a_look_into_them() {
    const USER: u32 = 3_200_000_000;
    assert!(rustix::process::geteuid().is_root(), "only root can run a server as another user");
    let config = "[personas.CUSTOMERS]\ncommand = [\"sleep\", \"600\"]\nprotocol = \"none\"\n";
    let server = Server::start(Setup { user: Some(USER), ..Setup::with_config(config) });
    server.add_customer(ADA);
    let mut desk = Desk { server };
    let ada = desk.open(ADA);
    let (agent, shim) = (listed(&desk).0.unwrap(), shim_of(&desk, &ada));
    // The kernel gives the files of a process that is not dumpable to root.
    let user_of = |pid: u32| owner(format!("/proc/{pid}/environ").as_ref());
    assert_eq!([agent, shim, desk.server.pid()].map(user_of), [Some(USER), Some(0), Some(0)]);
    let ours = desk.server.own_processes();
    let launcher = process_table::row(shim).unwrap().parent;
    assert!([shim, launcher, desk.server.pid()].iter().all(|pid| ours.contains(pid)), "{ours:?}");
    assert!(ours.iter().all(|pid| user_of(*pid) == Some(0)), "{ours:?}");
    for pid in [&[agent][..], &ours].concat() {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{pid}");
    }
    let verify = |desk: &Desk| desk.server.run(&["verify", "frontdesk-data"], "").1;
    assert_eq!(verify(&desk), "checked 1 live session, 0 ended, 1 customer, 1 agent process: nothing wrong\n");

    desk.server.kill();
    assert!(verify(&desk).ends_with("nothing wrong; 1 agent runs on without a server\n"), "{}", verify(&desk));
    desk.server.start_again();
    assert_eq!(listed(&desk), (Some(agent), 1));

    // One that does not answer is killed by the next start, which has to know that it is the shim.
    desk.server.kill();
    signal(shim, Signal::STOP);
    desk.server.start_again();
    until("another agent runs", || matches!(listed(&desk), (Some(_), 2)));
    assert!(!is_alive(shim) && !is_alive(agent));
    until("nothing is wrong", || verify(&desk).ends_with("nothing wrong\n"));
}

/// What one agent may try against the agent with this process. Each prints [`REFUSED`] if the kernel does not let it.
fn attacks(pid: u32) -> Vec<(&'static str, String)> {
    let shell = |command: &str| format!("{{ {command}; }} >/dev/null 2>&1 && echo {REACHED} || echo {REFUSED}");
    let python = |code: &str| {
        let code = format!(
            "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef call(*a): assert libc.syscall(*a) >= 0\n{code}"
        );
        shell(&format!("python3 -c '{code}'"))
    };
    vec![
        ("memory", python(&format!("os.close(os.open(\"/proc/{pid}/mem\", os.O_RDONLY))"))),
        ("directory", shell(&format!("cat /proc/{pid}/cwd/file"))),
        ("environment", shell(&format!("cat /proc/{pid}/environ"))),
        ("descriptors", shell(&format!("ls /proc/{pid}/fd/"))),
        ("signal", shell(&format!("kill -0 {pid}"))),
        ("trace", python(&format!("assert libc.ptrace(16, {pid}, 0, 0) >= 0"))),
        ("its answers", python(&format!("call(438, os.pidfd_open({pid}), 1, 0)"))),
        ("kill", shell(&format!("kill -9 {pid}"))),
    ]
}

/// Whether an attack takes the right to trace.
fn traces(what: &str) -> bool {
    ["memory", "trace", "its answers"].contains(&what)
}

/// Whether this kernel lets a process trace others of its user than its own children.
fn may_trace_siblings() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.map_or(true, |scope| scope.trim() == "0")
}

/// Leaves a process that nothing in its environment, its session or its parents tells as the agent's.
const LEAVE: &str = "setsid env -i sleep 600 >/dev/null 2>&1 </dev/null &";

fn with_user(user: &str) -> Desk {
    assert!(rustix::process::geteuid().is_root(), "only root can run agents as other users");
    with_keys(&format!("user = \"{user}\""))
}

fn with_keys(keys: &str) -> Desk {
    let agent = std::fs::read_to_string(crate::harness::repository().join("tests/it/agents/shell.py")).unwrap();
    // By its text: the agent's user may not be able to read the repository.
    let command = json!(["python3", "-c", agent]).to_string();
    let desk = Desk::new(&persona("CUSTOMERS", &command, &format!("{keys}\nown_directory = true")));
    desk.server.add_customer(BOB);
    desk
}

/// What the command prints when the session's agent runs it.
fn run(desk: &Desk, session: &Opened, command: &str) -> String {
    let printed = response(desk, session, &json!(command));
    printed.as_str().unwrap().to_owned()
}

/// The process and the epoch of Ada's agent, as an operator of the server's own user sees them.
fn listed(desk: &Desk) -> (Option<u32>, u64) {
    let (_, row, _) = desk.server.run(&["session", "list", "--json", "--customer", ADA.0], "");
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    (row["pid"].as_u64().map(|pid| pid.try_into().unwrap()), row["epoch"].as_u64().unwrap())
}

fn place(desk: &Desk, session: &Opened) -> Place {
    Place::new(&desk.server.data_dir().join("agents").join(&session.id))
}

fn shim_of(desk: &Desk, session: &Opened) -> u32 {
    place(desk, session).last_shim().unwrap().unwrap().0.unsigned_abs()
}

fn is_alive(pid: u32) -> bool {
    process_table::row(pid).is_some()
}

fn owner(path: &Path) -> Option<u32> {
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.uid())
}

/// How many processes of this name run as the user.
fn users_of(name: &str, uid: u32) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        std::fs::read_to_string(entry.path().join("status")).ok()
    });
    let is_it = |status: &String| {
        status.starts_with(&format!("Name:\t{name}\n"))
            && status.contains(&format!("\nUid:\t{uid}\t"))
            && !status.contains("\nState:\tZ")
    };
    processes.filter(is_it).count()
}
