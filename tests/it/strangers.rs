//! Processes with the marks of a session that nobody has: a start ends them, and does not wait for the last of those that
//! come back as fast as they are killed.

use std::process::{Child, Command, Stdio};

use frontdesk::agent::leftovers::{DESK_VARIABLE, EPOCH_VARIABLE, SESSION_VARIABLE, marked};
use frontdesk::store::sqlite::desk_id;

use crate::harness::{Server, Setup, repository, until};

/// How often each stranger comes back: several times as often as a start may kill it, which waits 5 ms between two rounds.
const DEATHS: u32 = 1_900;

/// The program that replaces strangers; it ends with this value.
struct Multiplier(Child);

impl Drop for Multiplier {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_start_serves_although_strangers_multiply_and_ends_them_once_they_no_longer_do() {
    let mut server = Server::start(Setup::default());
    let desk = desk_id(&server.data_dir()).unwrap();
    assert!(server.terminate().success());
    let exhausted = server.path("exhausted");
    let marks =
        [(DESK_VARIABLE, &*desk), (SESSION_VARIABLE, "01a204e7-68c9-7181-a185-5ee6960c463f"), (EPOCH_VARIABLE, "1")];
    let program = Command::new("python3")
        .arg(repository().join("tests/it/agents/multiplier.py"))
        .arg(DEATHS.to_string())
        .arg(&exhausted)
        .args(marks.map(|(name, value)| format!("{name}={value}")))
        .stdin(Stdio::null())
        .spawn();
    let multiplier = Multiplier(program.unwrap());
    until("there are strangers", || marked(&desk).len() > 8);

    server.start_again();

    assert!(!exhausted.exists(), "the start waited until no stranger came back any more");
    drop(multiplier);
    until("the last strangers are ended", || marked(&desk).is_empty());
    assert!(server.terminate().success());
}
