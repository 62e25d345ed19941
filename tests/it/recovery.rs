//! What a start makes of sessions that it can't simply go on with, and what a server does when storage is in doubt.

use std::time::Duration;

use frontdesk::clock::{Clock, SystemClock};
use frontdesk::store::sqlite::inspect;
use rusqlite::Connection;
#[cfg(feature = "failpoints")]
use rusqlite::OpenFlags;
use serde_json::json;

use crate::harness::{ADA, Server, Setup, until};

#[test]
fn a_running_session_whose_persona_is_gone_from_the_configuration_ends_at_the_next_start() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({}));
    server.initialise(ADA.0);
    server.kill();

    server.setup.config = "[personas.OTHERS]\ncommand = [\"frontdesk\", \"agent\", \"echo\"]\n".into();
    server.start_again();

    let store = server.data_dir().join("frontdesk.db");
    until("the session has ended", || inspect::read(&store).unwrap().history.len() == 1);
    assert!(server.agents().is_empty());
}

#[test]
fn a_start_without_its_store_refuses_and_leaves_agents_and_data_as_they_are() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    let created = server.create(ADA, json!({"large": "x".repeat(100 << 10)}));
    assert_eq!(server.initialise(ADA.0).status, 200);
    let agents = server.agents();
    server.kill();
    let names = ["frontdesk.db", "frontdesk.db-wal", "frontdesk.db-shm"];
    let aside = server.path("aside");
    std::fs::create_dir(&aside).unwrap();
    for name in names.iter().filter(|name| server.data_dir().join(name).exists()) {
        std::fs::rename(server.data_dir().join(name), aside.join(name)).unwrap();
    }

    let (status, _, errors) = server.run(&["serve", "--listen", "127.0.0.1:0"], "");

    assert!(!status.success());
    assert!(errors.contains("has no frontdesk.db, but") && errors.contains("put frontdesk.db back"), "{errors}");
    for name in names.iter().filter(|name| aside.join(name).exists()) {
        std::fs::rename(aside.join(name), server.data_dir().join(name)).unwrap();
    }
    assert!(server.data_dir().join("data").join(format!("{}.json", created.session_id())).exists());
    server.start_again();
    assert_eq!(server.agents(), agents);
    assert_eq!(server.relay(ADA.0, &created.token(), &json!(1)).status, 200);
}

#[test]
fn a_store_that_has_lost_its_identity_is_refused_and_stays_as_it_is() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.create(ADA, json!({}));
    assert!(server.terminate().success());
    let database = Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    database.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM meta; DELETE FROM meta").unwrap();

    let (status, _, errors) = server.run(&["serve", "--listen", "127.0.0.1:0"], "");

    assert!(!status.success());
    assert!(errors.contains("its identity is missing, but sessions has rows"), "{errors}");
    let count = |table| database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
    assert_eq!((count("meta"), count("sessions")), (Ok(0), Ok(1)));
    database.execute_batch("INSERT INTO meta SELECT * FROM kept").unwrap();
    server.start_again();
}

#[test]
fn much_history_that_is_too_old_is_pruned_in_one_go() {
    let mut server = Server::start(Setup::default());
    assert!(server.terminate().success());
    let database = Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    let old = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3500)
               INSERT INTO history (id, customer, email, persona, created, origin, revision, phase, tokens, ended)
               SELECT randomblob(16), i, NULL, 'CUSTOMERS', 0, NULL, 1, '', x'', 0 FROM n";
    assert_eq!(database.execute(old, []).unwrap(), 3_500);

    // The second look at the history is ten seconds after the first.
    let clock = SystemClock::resume(None);
    let second_look = clock.now() + Duration::from_secs(9);
    server.start_again();

    let left = || database.query_row("SELECT count(*) FROM history", [], |row| row.get::<_, i64>(0)).unwrap();
    until("the history is empty", || left() == 0);
    assert!(clock.now() < second_look);
}

#[cfg(feature = "failpoints")]
#[test]
fn an_initialise_whose_commit_is_in_doubt_for_long_leaves_the_session_where_it_can_go_on() {
    let when = std::env::temp_dir().join(format!("frontdesk-when-{}", std::process::id()));
    let setup = Setup::default().env("FRONTDESK_FAILPOINT", "after-commit=error");
    let server = Server::start(setup.env("FRONTDESK_FAILPOINT_WHEN", when.to_str().unwrap()));
    server.add_customer(ADA);
    let created = server.create(ADA, json!({}));
    // A reader holds up the reopening of the store, so that what was committed is not known for a while.
    let path = server.data_dir().join("frontdesk.db");
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM meta").unwrap();
    std::fs::write(&when, "").unwrap();

    assert_eq!(server.initialise(ADA.0).status, 503);
    server.await_log("session step not stored");
    std::thread::sleep(Duration::from_millis(600));
    drop(reader);
    server.await_log("store reopened");

    until("the session runs", || {
        let _ = server.initialise(ADA.0);
        server.relay(ADA.0, &created.token(), &json!(1)).status == 200
    });
    assert_eq!(server.agents().len(), 1);
}
