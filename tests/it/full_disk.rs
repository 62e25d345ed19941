//! A disk without space refuses what is new in words, stores what ends, loses nothing, and works again when there is
//! space.
//!
//! It needs a small file system of its own, mounted where only the server sees it, and is skipped where that is not
//! allowed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::desk::{BOB, persona};
use crate::harness::{ADA, Answer, Server, Setup, signal, until};

/// A disk with a ballast of 4 MiB.
const SPACE: &str = "64m";
/// A disk that is too small for any.
const LITTLE_SPACE: &str = "1900k";

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn a_full_disk_is_an_answer_and_nothing_that_was_answered_before_is_lost() {
    if !can_mount() {
        println!("skipped: no private mount namespace here");
        return;
    }
    let mut server = Server::start(on_a_small_disk(SPACE));
    let (status, _, errors) = add_customer(&server, ADA);
    assert!(status.success(), "{errors}");
    let disk = disk_of(&server);
    let large = json!({"large": "x".repeat(100 << 10)});
    assert_eq!(server.create(ADA, large.clone()).status, 200);
    let filler = disk.join("filler");
    fill(&filler);

    let answers = use_up(&server);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 202 | 400 | 503)), "{answers:?}");
    let refused = server.create(ADA, large);
    assert_eq!(refused.pair(), (503, "NOT_READY".to_owned()));
    assert!(refused.json()["DETAIL"].as_str().unwrap().contains("disk is full"), "{refused:?}");
    let ready = server.send("GET", "/readyz", &[], b"");
    let store = &ready.json()["checks"][1];
    assert_eq!(ready.status, 503);
    let reason = store["reason"].as_str().unwrap();
    assert!(reason.contains("the disk is full; free some space") && reason.contains("`ballast`"), "{ready:?}");
    assert!(store["cure"].as_str().unwrap().starts_with("Free at least 16 MiB"), "{ready:?}");
    assert_eq!(server.send("GET", "/livez", &[], b"").status, 200);
    server.await_log("the disk is full; its reserve is released, and nothing new is taken");

    std::fs::remove_file(&filler).unwrap();
    until("the server is ready", || server.send("GET", "/readyz", &[], b"").status == 200);
    until("a session runs", || {
        let answer = server.create(ADA, json!({}));
        let _ = server.initialise(ADA.0);
        server.relay(ADA.0, &answer.token(), &json!(1)).status == 200
    });
    assert!(verify(&server).contains("nothing wrong"), "{}", verify(&server));
    assert!(server.terminate().success());
}

/// Fills the disk once it is told to.
const FILLS: &str =
    r#"["sh", "-c", "echo $$ > pid; while [ ! -e go ]; do sleep 0.05; done; cat /dev/zero > full; exec sleep 600"]"#;

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn an_agent_that_fills_the_disk_is_killed_by_a_forced_stop_and_its_session_ends() {
    if !can_mount() {
        println!("skipped: no private mount namespace here");
        return;
    }
    let mut setup = on_a_small_disk(LITTLE_SPACE);
    setup.config.push_str(&persona("CUSTOMERS", FILLS, "protocol = \"none\"\nown_directory = true"));
    let mut server = Server::start(setup);
    assert!(add_customer(&server, ADA).0.success() && add_customer(&server, BOB).0.success());
    let created = server.create(ADA, json!({}));
    assert_eq!(server.initialise(ADA.0).status, 200);
    let (id, token) = (created.session_id(), created.token());
    let work = disk_of(&server).join("data/agents").join(&id).join("work");
    let pid = || std::fs::read_to_string(work.join("pid")).unwrap_or_default().trim().to_owned();
    until("the agent runs", || !pid().is_empty());
    let pid = pid();
    std::fs::write(work.join("go"), "").unwrap();
    until("the disk is full and the store says so", || {
        let _ = server.create(BOB, json!({}));
        server.send("GET", "/readyz", &[], b"").status == 503
    });
    let bearer = format!("Bearer {token}");
    let authorization = [("Authorization", bearer.as_str())];
    let path = format!("/v1/sessions/{id}");

    let politely = server.send("DELETE", &path, &authorization, b"");
    assert_eq!(politely.status, 503, "{politely:?}");
    assert!(Path::new("/proc").join(&pid).exists(), "a polite stop that is not stored ended the agent");
    let killed = server.send("DELETE", &format!("{path}?force=true"), &authorization, b"");

    assert_eq!(killed.status, 503, "{killed:?}");
    assert!(killed.json()["detail"].as_str().unwrap().starts_with("The agent was killed"), "{killed:?}");
    until("the session has ended", || server.send("GET", &path, &authorization, b"").json()["phase"] == "ENDED");
    assert!(!Path::new("/proc").join(&pid).exists(), "the agent outlived its session");
    let ended = server.send("GET", &path, &authorization, b"").json();
    assert_eq!(
        (&ended["outcome"], &ended["reason"]),
        (&json!("stopped"), &json!("stopped by its customer")),
        "{ended}"
    );
    let data_dir = disk_of(&server).join("data");
    let (_, audit, _) = server.run(&["audit", "--data-dir", data_dir.to_str().unwrap()], "");
    assert_eq!(audit.matches("session.killed").count(), 1, "{audit}");
    assert!(verify(&server).contains("nothing wrong"), "{}", verify(&server));
    assert!(server.terminate().success());
}

const EVE: (&str, &str) = ("eve@example.org", "correct battery");

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn while_what_an_agent_wrote_fills_the_disk_what_ends_is_stored_and_events_take_no_room_from_it() {
    if !can_mount() {
        println!("skipped: no private mount namespace here");
        return;
    }
    let mut setup = on_a_small_disk(SPACE);
    setup.config.push_str(&persona("FILLERS", FILLS, "protocol = \"none\"\nown_directory = true"));
    setup.config.push_str(&persona("CUSTOMERS", r#"["frontdesk", "agent", "echo"]"#, ""));
    let mut server = Server::start(setup);
    for customer in [ADA, BOB, EVE] {
        assert!(add_customer(&server, customer).0.success());
    }
    let data = disk_of(&server).join("data");
    let opened = |persona: &str, customer: (&str, &str)| {
        let created = create_as(&server, persona, customer);
        assert_eq!(created.status, 200, "{created:?}");
        assert_eq!(server.initialise(customer.0).status, 200);
        created
    };
    let (filler, bob, ada) = (opened("FILLERS", EVE), opened("CUSTOMERS", BOB), opened("CUSTOMERS", ADA));
    let work = data.join("agents").join(filler.session_id()).join("work");
    let pid = || std::fs::read_to_string(work.join("pid")).unwrap_or_default().trim().to_owned();
    until("the agent runs", || !pid().is_empty());
    std::fs::write(work.join("go"), "").unwrap();
    let command = Path::new("/proc").join(pid()).join("comm");
    until("the agent has filled the disk", || std::fs::read_to_string(&command).unwrap().trim() == "sleep");
    assert!(work.join("full").metadata().unwrap().len() > 40 << 20);
    let ballast = || data.join("ballast").metadata().map_or(0, |file| file.blocks() * 512);

    // Tokens are what a customer with a session is still given, and they are written.
    let ada = std::cell::RefCell::new(ada);
    until("the store says that the disk is full", || {
        let given = server.create(ADA, json!({}));
        if given.message() == "SESSION_ALREADY_RUNNING" {
            ada.replace(given);
        }
        is_short(&server)
    });
    let ada = ada.into_inner();
    assert!(ballast() < 4 << 20, "{} bytes of it are left", ballast());
    let events =
        || ["events.db", "events.db-wal"].map(|name| data.join(name).metadata().map_or(0, |file| file.blocks()));
    let before = events();

    let stopped = server.stop(&bob.session_id(), &bob.token());
    assert_eq!(stopped.status, 202, "{stopped:?}");
    until("the polite stop is stored", || seen(&server, &bob)["phase"] == "ENDED");
    assert_eq!(seen(&server, &bob)["outcome"], "stopped");
    let revision = seen(&server, &ada)["revision"].as_u64().unwrap();
    kill_agent(&server, &ada);
    until("the loss of an agent is stored", || seen(&server, &ada)["revision"].as_u64().unwrap() > revision);
    let refused = server.create(BOB, json!({}));
    assert_eq!(refused.pair(), (503, "NOT_READY".to_owned()), "{refused:?}");
    assert_eq!(events(), before, "events took room of those that end");

    let killed = server.stop(&format!("{}?force=true", filler.session_id()), &filler.token());
    assert_eq!(killed.status, 202, "{killed:?}");
    until("the server is ready again", || server.send("GET", "/readyz", &[], b"").status == 200);
    assert_eq!(ballast(), 4 << 20);
    assert_eq!(server.create(BOB, json!({})).status, 200);
    assert_eq!(seen(&server, &filler)["phase"], "ENDED");
    assert!(verify(&server).contains("nothing wrong"), "{}", verify(&server));
    assert!(server.terminate().success());
}

/// A server whose data directory is a file system of a few megabytes that goes with the server's process.
fn on_a_small_disk(space: &str) -> Setup {
    let script = format!("mkdir -p disk && mount -t tmpfs -o size={space} tmpfs disk && exec \"$@\"");
    let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let mut setup = Setup::with_config("data_dir = \"disk/data\"\n");
    setup.wrapper = wrapper.map(str::to_owned).to_vec();
    setup
}

fn can_mount() -> bool {
    let probe =
        std::process::Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// The disk as seen from outside the server's mount namespace.
fn disk_of(server: &Server) -> PathBuf {
    let inside = server.path("disk");
    Path::new(&format!("/proc/{}/root", server.pid())).join(inside.strip_prefix("/").unwrap())
}

/// Adds the customer through the server's socket, which is on its disk.
fn add_customer(server: &Server, (email, password): (&str, &str)) -> (std::process::ExitStatus, String, String) {
    let data_dir = disk_of(server).join("data");
    server.run(&["customer", "add", email, "--password-stdin", "--data-dir", data_dir.to_str().unwrap()], password)
}

/// What `frontdesk verify` says where the server's disk is seen.
fn verify(server: &Server) -> String {
    let output = std::process::Command::new("nsenter")
        .args(["--mount", "--target", &server.pid().to_string(), env!("CARGO_BIN_EXE_frontdesk"), "verify"])
        .arg(server.path("disk/data"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

/// Changes the store until it says that its disk is full; returns the answers.
fn use_up(server: &Server) -> Vec<Answer> {
    let answers = std::cell::RefCell::new(Vec::new());
    until("the store says that the disk is full", || {
        let created = server.create(ADA, json!({"some": "x".repeat(50_000)}));
        if matches!(created.status, 200 | 400) {
            answers.borrow_mut().push(server.stop(&created.session_id(), &created.token()));
        }
        answers.borrow_mut().push(created);
        is_short(server)
    });
    answers.into_inner()
}

fn is_short(server: &Server) -> bool {
    let checks = server.send("GET", "/readyz", &[], b"").json()["checks"].clone();
    checks[1]["reason"].as_str().is_some_and(|reason| reason.contains("`ballast`"))
}

fn create_as(server: &Server, persona: &str, (email, password): (&str, &str)) -> Answer {
    let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": persona, "DATA": {}});
    let headers = [("Content-Type", "application/json")];
    server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes())
}

/// Kills a session's agent, as one that has nothing to do with the server would.
fn kill_agent(server: &Server, session: &Answer) {
    let data_dir = disk_of(server).join("data");
    let id = session.session_id();
    let arguments = ["session", "show", &id, "--json", "--data-dir", data_dir.to_str().unwrap()];
    let (status, output, errors) = server.run(&arguments, "");
    assert!(status.success(), "{errors}");
    let shown: Value = serde_json::from_str(&output).unwrap();
    signal(u32::try_from(shown["pid"].as_u64().unwrap()).unwrap(), Signal::KILL);
}

/// A session as its customer sees it.
fn seen(server: &Server, session: &Answer) -> Value {
    let authorization = format!("Bearer {}", session.token());
    let headers = [("Authorization", authorization.as_str())];
    server.send("GET", &format!("/v1/sessions/{}", session.session_id()), &headers, b"").json()
}
