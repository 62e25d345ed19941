//! The real server dies at every step in which its ballast is released or taken; then it is started again, what ends is
//! stored while the disk is full, and everything is taken again when there is room.
//!
//! The disk is a small file system in a mount namespace of its own, which outlives the server.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use frontdesk::failpoint::Failpoint;
use serde_json::json;
use tempfile::TempDir;

use crate::desk::BOB;
use crate::harness::{ADA, Server, Setup, try_send, until};

/// The customer whose creations use up what room there is.
const EVE: (&str, &str) = ("eve@example.org", "correct battery");

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn a_server_that_dies_at_any_step_of_its_ballast_goes_on_with_a_full_disk_and_with_room() {
    for point in Failpoint::OF_BALLAST {
        let Some(disk) = Disk::mount() else {
            println!("skipped: no private mount namespace here");
            return;
        };
        sweep(point, &disk);
    }
}

fn sweep(point: Failpoint, disk: &Disk) {
    let name = point.name();
    let armed = disk.directory.path().join("armed");
    let setup = disk
        .setup()
        .env("FRONTDESK_FAILPOINT", &format!("{name}=kill"))
        .env("FRONTDESK_FAILPOINT_WHEN", armed.to_str().unwrap());
    let mut server = Server::start(setup);
    for (email, password) in [ADA, BOB, EVE] {
        let data_dir = disk.seen().join("data");
        let arguments = ["customer", "add", email, "--password-stdin", "--data-dir", data_dir.to_str().unwrap()];
        assert!(server.run(&arguments, password).0.success());
    }
    let (ada, bob) = (server.create(ADA, json!({})), server.create(BOB, json!({})));
    let filler = disk.seen().join("filler");
    fill(&filler);

    if point == Failpoint::BeforeBallast {
        until("room is short", || change(&server) == Some(503));
        std::fs::write(&armed, "").unwrap();
        std::fs::remove_file(&filler).unwrap();
        server.await_end();
        fill(&filler);
    } else {
        std::fs::write(&armed, "").unwrap();
        until("the server dies", || change(&server).is_none());
        server.await_end();
    }
    assert!(!armed.exists(), "{name} was not reached");
    server.start_again();

    assert_eq!(server.stop(&ada.session_id(), &ada.token()).status, 200, "{name}: a stop on a full disk");
    until("room is short", || change(&server) == Some(503));
    assert_eq!(server.stop(&bob.session_id(), &bob.token()).status, 200, "{name}: a stop when room is short");
    std::fs::remove_file(&filler).unwrap();
    until("the server is ready", || server.send("GET", "/readyz", &[], b"").status == 200);
    let ballast = disk.seen().join("data/ballast").metadata().unwrap();
    assert_eq!((ballast.len(), ballast.blocks() * 512), (4 << 20, 4 << 20), "{name}: the ballast");
    for customer in [ADA, BOB] {
        assert_eq!(server.create(customer, json!({})).status, 200, "{name}: a creation when there is room");
    }
    assert!(server.terminate().success());
}

/// Makes the store larger, by sessions that end; the status of a creation, or nothing if there is no server.
fn change(server: &Server) -> Option<u16> {
    let body =
        json!({"EMAIL": EVE.0, "PASSWORD": EVE.1, "PERSONA_TYPE": "CUSTOMERS", "DATA": {"some": "x".repeat(50_000)}});
    let headers = [("Content-Type", "application/json")];
    let body = body.to_string();
    let created = try_send(server.address, "POST", "/requestSessionCreation", &headers, body.as_bytes()).ok()?;
    if matches!(created.status, 200 | 400) {
        let authorization = format!("Bearer {}", created.token());
        let path = format!("/v1/sessions/{}", created.session_id());
        try_send(server.address, "DELETE", &path, &[("Authorization", &authorization)], b"").ok()?;
    }
    Some(created.status)
}

/// A file system of 64 MiB, which goes with the process that keeps it mounted.
struct Disk {
    directory: TempDir,
    keeper: Child,
}

impl Disk {
    /// Mounts it where only the keeper sees it; nothing where that is not allowed.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("disk")).unwrap();
        let script = "mount -t tmpfs -o size=64m tmpfs disk && echo mounted && exec sleep 600";
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "sh", "-c", script]).current_dir(directory.path()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().ok()?;
        let mut line = String::new();
        let said = BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line);
        if said.is_ok() && line == "mounted\n" {
            return Some(Self { directory, keeper });
        }
        let _ = keeper.wait();
        None
    }

    /// A server whose data directory is there.
    fn setup(&self) -> Setup {
        let data = self.directory.path().join("disk/data");
        let mut setup = Setup::with_config(&format!("data_dir = {data:?}\n"));
        let enter = format!(
            "export HERE=\"$PWD\"; exec nsenter --mount --target {} sh -c 'cd \"$HERE\" && exec \"$@\"' sh \"$@\"",
            self.keeper.id()
        );
        setup.wrapper = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
        setup
    }

    /// The disk as seen from outside its namespace.
    fn seen(&self) -> PathBuf {
        let inside = self.directory.path().join("disk");
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(inside.strip_prefix("/").unwrap())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
}
