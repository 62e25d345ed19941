//! A disk without space refuses changes in words, loses nothing, and works again when there is space.
//!
//! It needs a small file system of its own, mounted where only the server sees it, and is skipped where that is not
//! allowed.

use std::path::{Path, PathBuf};

use serde_json::json;

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
    let (status, _, errors) = add_customer(&server);
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
fn add_customer(server: &Server) -> (std::process::ExitStatus, String, String) {
    let data_dir = disk_of(server).join("data");
    server.run(&["customer", "add", ADA.0, "--password-stdin", "--data-dir", data_dir.to_str().unwrap()], ADA.1)
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
