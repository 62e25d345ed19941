//! A disk without space refuses changes in words, loses nothing, and works again when there is space.
//!
//! It needs a small file system of its own, mounted where only the server sees it, and is skipped where that is not
//! allowed.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::desk::persona;
use crate::harness::{ADA, Server, Setup, until};

const SPACE: &str = "2m";

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn a_full_disk_is_an_answer_and_nothing_that_was_answered_before_is_lost() {
    if !can_mount() {
        println!("skipped: no private mount namespace here");
        return;
    }
    let mut server = Server::start(on_a_small_disk());
    let (status, _, errors) = add_customer(&server, ADA);
    assert!(status.success(), "{errors}");
    let disk = disk_of(&server);
    let large = json!({"large": "x".repeat(100 << 10)});
    let created = server.create(ADA, large.clone());
    assert_eq!(created.status, 200);
    let ballast = disk.join("ballast");
    fill(&ballast);

    let stopped = server.stop(&created.session_id(), &created.token());
    let refused = std::cell::RefCell::new(vec![stopped.status]);
    until("the server says that it is not ready", || {
        let answer = server.create(ADA, large.clone());
        refused.borrow_mut().push(answer.status);
        answer.status == 503 && answer.message() == "NOT_READY"
    });
    until("it says so to whoever asks", || {
        let _ = server.create(ADA, large.clone());
        server.send("GET", "/readyz", &[], b"").status == 503
    });
    until("the reason is that the disk is full, for as long as it is", || {
        let _ = server.create(ADA, large.clone());
        let checks = server.send("GET", "/readyz", &[], b"").json()["checks"].clone();
        checks[1]["reason"].as_str().is_some_and(|why| why.contains("the disk is full; free some space"))
    });
    assert_eq!(server.send("GET", "/livez", &[], b"").status, 200);
    until("the log says in words what is wrong and what to do", || {
        let sentence = "the disk is full; free some space, nothing that was acknowledged is lost";
        server.log_lines().iter().any(|line| line["error"].as_str().is_some_and(|error| error.contains(sentence)))
    });
    assert!(refused.borrow().iter().all(|status| matches!(status, 202 | 200 | 400 | 503)), "{refused:?}");

    std::fs::remove_file(&ballast).unwrap();
    until("the store is back", || matches!(server.create(ADA, json!({})).status, 200 | 400));
    assert_eq!(server.send("GET", "/readyz", &[], b"").status, 200);
    until("a session runs", || {
        let answer = server.create(ADA, json!({}));
        let _ = server.initialise(ADA.0);
        server.relay(ADA.0, &answer.token(), &json!(1)).status == 200
    });
    assert!(verify(&server).contains("nothing wrong"), "{}", verify(&server));
    assert!(server.terminate().success());
}

const BOB: (&str, &str) = ("bob@example.org", "battery staple");
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
    let mut setup = on_a_small_disk();
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

/// A server whose data directory is a file system of a few megabytes that goes with the server's process.
fn on_a_small_disk() -> Setup {
    let script = format!("mkdir -p disk && mount -t tmpfs -o size={SPACE} tmpfs disk && exec \"$@\"");
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
