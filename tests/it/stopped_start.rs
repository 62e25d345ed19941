//! A session that is stopped while its agent is being started leaves nothing behind.

use crate::desk::{BOB, Desk};
use crate::harness::{ADA, Server, Setup, until};

#[test]
fn a_session_that_is_stopped_while_its_directory_is_being_written_leaves_none() {
    let directory = tempfile::tempdir().unwrap();
    let (when, resume) = (directory.path().join("when"), directory.path().join("resume"));
    let setup = Setup::default()
        .env("FRONTDESK_FAILPOINT", "before-place=pause")
        .env("FRONTDESK_FAILPOINT_WHEN", when.to_str().unwrap())
        .env("FRONTDESK_FAILPOINT_RESUME", resume.to_str().unwrap());
    let mut desk = Desk { server: Server::start(setup) };
    desk.server.add_customer(ADA);
    desk.server.add_customer(BOB);
    let ada = desk.request(ADA);
    std::fs::write(&when, "").unwrap();
    let initialise = desk.initialise_aside(ada.email);
    until("its directory is about to be written", || !when.exists());
    until("it starts", || desk.row(&ada).phase == "STARTING");

    assert!(desk.server.stop(&ada.id, &ada.token).status < 300);
    // Another session comes and goes whole. The first one has to wait for what writes into its directory.
    let bob = desk.open(BOB);
    desk.stop(&bob);
    assert_eq!(desk.ending(&bob).0, "stopped");
    assert_ne!(desk.row(&ada).phase, "ENDED");
    std::fs::write(&resume, "").unwrap();

    assert_eq!(desk.ending(&ada).0, "stopped");
    assert_ne!(initialise.join().unwrap().status, 200);
    // A server that ends in order waits for all that it does.
    assert!(desk.server.interrupt().success());
    assert!(!desk.server.data_dir().join("agents").join(&ada.id).exists());
}
