//! A user who may not look into a data directory hears that from every command, and not that there is none.
//!
//! Root obeys no modes, so the commands run as somebody else, as only root can have them; others skip the test.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{ADA, Server, Setup};

/// The user nobody.
const STRANGER: u32 = 65_534;

/// All commands that look at the data directory, which stands in the place of DIR.
const COMMANDS: [&str; 27] = [
    "serve --listen 127.0.0.1:0 --data-dir DIR",
    "doctor --data-dir DIR",
    "verify DIR",
    "verify --data-dir DIR",
    "backup /nowhere/desk.tar --data-dir DIR",
    "restore /nowhere/desk.tar --data-dir DIR/new",
    "status --data-dir DIR",
    "stop --data-dir DIR",
    "stop --agents --data-dir DIR",
    "drain --data-dir DIR",
    "reload --data-dir DIR",
    "customer add eve@example.org --password-stdin --data-dir DIR",
    "customer passwd ada@example.org --password-stdin --data-dir DIR",
    "customer disable ada@example.org --data-dir DIR",
    "customer enable ada@example.org --data-dir DIR",
    "customer remove ada@example.org --data-dir DIR",
    "customer list --data-dir DIR",
    "customer throttled --data-dir DIR",
    "customer unthrottle ada@example.org --data-dir DIR",
    "token create mia --scope admin --data-dir DIR",
    "token list --data-dir DIR",
    "token revoke mia --data-dir DIR",
    "audit --data-dir DIR",
    "session list --data-dir DIR",
    "session show ada@example.org --data-dir DIR",
    "session logs ada@example.org --data-dir DIR",
    "session events ada@example.org --data-dir DIR",
];

/// What a command may say: that it is a matter of permission.
const SAID: [&str; 3] = ["this user may not", "and this is user 65534", "Permission denied"];

/// What would send somebody in the wrong direction.
const MISLEADING: [&str; 7] = [
    "no data directory",
    "no frontdesk.db",
    "is missing",
    "no server runs",
    "has no customers",
    "from a backup",
    "unable to open",
];

#[test]
fn a_user_who_may_not_look_into_a_data_directory_is_told_that_by_every_command() {
    if !can_be_somebody_else() {
        return;
    }
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    let (data, mode) = (server.data_dir(), Permissions::from_mode);
    fs::set_permissions(server.directory(), mode(0o755)).unwrap();
    check_all(&data, "of a running server");
    assert!(server.terminate().success());

    check_all(&data, "that nobody else may enter");
    fs::set_permissions(&data, mode(0o755)).unwrap();
    check_all(&data, "whose files nobody else may read");
    fs::set_permissions(server.directory(), mode(0o700)).unwrap();
    check_all(&data, "in a directory that nobody else may enter");
}

fn check_all(data: &Path, which: &str) {
    for command in COMMANDS {
        let said = run(command, data).unwrap_or_else(|| panic!("{command} succeeded on a directory {which}"));
        assert!(SAID.iter().any(|words| said.contains(words)), "{command} on a directory {which}: {said}");
        let misleads = MISLEADING.iter().find(|words| said.contains(*words));
        assert!(misleads.is_none(), "{command} on a directory {which}: {said}");
    }
}

/// What the command says as nobody; nothing if it succeeds.
fn run(command: &str, data: &Path) -> Option<String> {
    let arguments = command.replace("DIR", data.to_str().unwrap());
    let mut command = as_stranger(arguments.split(' '));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no password may have ended before this is written.
    let _ = child.stdin.take().unwrap().write_all(b"battery staple horse\n");
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8(said).unwrap())
}

fn as_stranger<'a>(arguments: impl Iterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FRONTDESK_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir("/").uid(STRANGER).gid(STRANGER);
    command
}

/// Only root can, and only where everybody can reach the binary.
#[expect(clippy::print_stdout, reason = "a test that is skipped says why")]
fn can_be_somebody_else() -> bool {
    let can = as_stranger(["--version"].into_iter()).output().is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: commands can't run as another user here");
    }
    can
}
