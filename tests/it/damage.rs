//! Damaged records in a real data directory: they are set aside and named, and everything else goes on.

use frontdesk::principal::Scope;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::desk::BOB;
use crate::harness::{ADA, Server, Setup, until};
use crate::operators::Operated;

const PLAIN: &str = "[personas.CUSTOMERS]\ncommand = [\"sleep\", \"600\"]\nprotocol = \"none\"\n";

#[test]
fn a_damaged_live_session_neither_stops_the_server_nor_loses_its_agent() {
    let mut desk = Operated::new(Setup::with_config(PLAIN));
    desk.server.add_customer(BOB);
    let ada = desk.server.create(ADA, json!({})).session_id();
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    let agent = desk.server.agents()[0];
    desk.server.create(BOB, json!({}));
    assert!(desk.server.terminate().success());
    let sound = change(&desk.server, "frontdesk.db", "UPDATE sessions SET phase = '{' WHERE customer LIKE 'ada%'");
    assert_eq!(sound, 1);

    desk.server.start_again();

    assert_eq!(desk.server.agents(), [agent], "its agent is left alone");
    assert_eq!(desk.server.initialise(BOB.0).status, 200, "others are served");
    assert_eq!(desk.server.create(ADA, json!({})).status, 500, "its customer gets no second session");
    let records = |server: &Server| {
        let answer = server.send("GET", "/readyz", &[], b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["checks"][3].clone()
    };
    let check = records(&desk.server);
    assert_eq!((&check["name"], &check["ok"]), (&json!("records"), &json!(false)), "{check}");
    assert!(check["reason"].as_str().unwrap().contains(&ada), "{check}");
    assert!(check["cure"].as_str().unwrap().contains("`frontdesk restore`"), "{check}");
    let overview = desk.call(Scope::SessionsRead, "GET", "/v1/overview", &Value::Null).json();
    assert_eq!(overview["ready"][3], check);
    let listed = desk.call(Scope::SessionsRead, "GET", "/v1/sessions", &Value::Null);
    assert_eq!((listed.status, listed.json()["items"].as_array().unwrap().len()), (200, 1));
    let (_, found, _) = desk.server.run(&["verify", "frontdesk-data"], "");
    assert!(found.contains(&format!("session {ada}: its phase can't be read")), "{found}");

    assert!(desk.server.terminate().success());
    let mended = "UPDATE sessions SET phase = (SELECT phase FROM sessions WHERE customer LIKE 'bob%')
                  WHERE customer LIKE 'ada%'";
    assert_eq!(change(&desk.server, "frontdesk.db", mended), 1);
    desk.server.start_again();
    until("the mended session has its agent", || desk.server.status(ADA.0) == "RUNNING");
    assert!(desk.server.agents().contains(&agent), "it is the one that it had");
}

#[test]
fn one_damaged_ledger_concerns_its_session_alone() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    server.add_customer(BOB);
    let ada = server.create(ADA, json!({})).session_id();
    server.initialise(ADA.0);
    assert!(server.terminate().success());
    assert_eq!(change(&server, "events.db", "UPDATE ledgers SET last = 2"), 1);

    server.start_again();
    let (stopped, _, errors) = server.run(&["session", "stop", &ada], "");
    assert!(stopped.success(), "{errors}");
    until("the session has ended", || server.status(ADA.0) == "IDLE");
    server.create(BOB, json!({}));
    assert_eq!(server.initialise(BOB.0).status, 200);

    let checks = server.send("GET", "/readyz", &[], b"").json()["checks"].clone();
    assert_eq!(checks[2], json!({"name": "events", "ok": true}));
    assert!(checks[3]["reason"].as_str().unwrap().contains(&format!("the log of events of session {ada}")), "{checks}");
    let (_, found, _) = server.run(&["verify", "frontdesk-data"], "");
    assert!(found.contains(&format!("session {ada}: its log of events is damaged")), "{found}");
}

#[test]
fn a_store_that_is_damaged_where_it_is_to_be_changed_is_not_ready_and_serves_what_it_can() {
    let mut server = Server::start(Setup::default());
    server.add_customer(ADA);
    let token = server.create(ADA, json!({})).token();
    assert_eq!(server.initialise(ADA.0).status, 200);
    assert!(server.terminate().success());
    spoil(&server, "audit");
    server.start_again();
    assert_eq!(server.send("GET", "/readyz", &[], b"").status, 200, "nobody has met the damage yet");

    let (status, _, errors) = server.run(&["customer", "add", BOB.0, "--password-stdin"], BOB.1);

    assert!(!status.success() && errors.contains("damaged"), "{errors}");
    let ready = server.send("GET", "/readyz", &[], b"");
    let check = ready.json()["checks"][1].clone();
    assert_eq!((ready.status, &check["name"], &check["ok"]), (503, &json!("store"), &json!(false)), "{check}");
    assert!(check["reason"].as_str().unwrap().contains("changes were refused"), "{check}");
    assert!(check["cure"].as_str().unwrap().contains("`frontdesk restore`"), "{check}");
    assert_eq!(server.relay(ADA.0, &token, &json!(1)).status, 200, "agents go on");
}

/// Overwrites the first page of a table, of a server that does not run.
fn spoil(server: &Server, table: &str) {
    let file = server.data_dir().join("frontdesk.db");
    let query = "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?1";
    let place = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (page, bytes) = Connection::open(&file).unwrap().query_row(query, [table], place).unwrap();
    let (page, bytes) = (usize::try_from(page).unwrap(), usize::try_from(bytes).unwrap());
    let mut content = std::fs::read(&file).unwrap();
    content[(page - 1) * bytes..page * bytes].fill(0xff);
    std::fs::write(file, content).unwrap();
}

/// Changes a file of a server that does not run; how many rows that were.
fn change(server: &Server, file: &str, sql: &str) -> usize {
    Connection::open(server.data_dir().join(file)).unwrap().execute(sql, []).unwrap()
}
