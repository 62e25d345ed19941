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
    let refused = desk.server.create(ADA, json!({}));
    assert_eq!(refused.pair(), (503, "SESSION_SET_ASIDE".into()), "its customer gets no second session");
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
    spoil_root(&server, "audit");
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
fn spoil_root(server: &Server, table: &str) {
    let file = server.data_dir().join("frontdesk.db");
    let query = "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = ?1";
    let place = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let (page, bytes) = Connection::open(&file).unwrap().query_row(query, [table], place).unwrap();
    let (page, bytes) = (usize::try_from(page).unwrap(), usize::try_from(bytes).unwrap());
    let mut content = std::fs::read(&file).unwrap();
    content[(page - 1) * bytes..page * bytes].fill(0xff);
    std::fs::write(file, content).unwrap();
}

#[test]
fn a_damaged_page_of_customers_tokens_or_the_audit_fails_no_list_and_no_other_customer() {
    let mut desk = Operated::new(Setup::with_config(PLAIN));
    assert!(desk.server.terminate().success());
    for number in 100..180 {
        for filler in [
            "INSERT INTO customers SELECT 'filler' || ?1, 'filler' || ?1, password_hash, created, NULL FROM customers
             WHERE key LIKE 'ada%'",
            "INSERT INTO operator_tokens SELECT CAST(?1 || substr(id, 4) AS BLOB), 'filler' || ?1, scopes || '  ', hash,
             created, expires, revoked FROM operator_tokens WHERE name = 'sessions:read'",
            "INSERT INTO audit SELECT at + 1, tie, actor, operator, action, session, customer, origin,
             'filler' || ?1 || printf('%0200d', 0) FROM audit ORDER BY at DESC LIMIT 1",
        ] {
            let added = Connection::open(desk.server.data_dir().join("frontdesk.db")).unwrap().execute(filler, [number]);
            assert_eq!(added.unwrap(), 1);
        }
    }
    spoil(&desk.server, Page::Index, &[b"filler140", b"$argon2id$"]);
    spoil(&desk.server, Page::Index, &[b"filler140", b"sessions:read  "]);
    spoil(&desk.server, Page::Index, &[b"filler140", b"00000000000000000000"]);

    desk.server.start_again();

    for (path, all) in [("/v1/customers", 81), ("/v1/tokens", 84), ("/v1/audit", 86)] {
        let listed = desk.call(Scope::Admin, "GET", &format!("{path}?limit=200"), &Value::Null);
        assert_eq!(listed.status, 200, "{path}: {listed:?}");
        let found = listed.json()["items"].as_array().unwrap().len();
        assert!((20..all).contains(&found), "{path}: {found}");
    }
    desk.server.create(ADA, json!({})).session_id();
    let checks = desk.server.send("GET", "/readyz", &[], b"").json()["checks"].clone();
    assert_eq!((&checks[1]["ok"], &checks[3]["ok"]), (&json!(true), &json!(false)), "{checks}");
    assert!(checks[3]["reason"].as_str().unwrap().contains("filler"), "{checks}");
    let (verified, found, _) = desk.server.run(&["verify", "frontdesk-data"], "");
    assert!(!verified.success() && found.contains("customer filler140: "), "{found}");
    assert!(found.contains("its table audit") && found.contains("the operator's token"), "{found}");
}

/// Which pages of a file are meant, by their first byte as SQLite's file format has it.
#[derive(Clone, Copy)]
pub enum Page {
    /// Rows of a table.
    Table = 0x0d,
    /// Entries of an index, or rows of a table without rowids.
    Index = 0x0a,
}

/// Overwrites the page of this kind that holds all of these, in the store of a server that does not run.
pub fn spoil(server: &Server, kind: Page, all: &[&[u8]]) {
    const PAGE: usize = 4_096;
    let path = server.data_dir().join("frontdesk.db");
    let mut file = std::fs::read(&path).unwrap();
    let has = |page: &[u8], bytes: &[u8]| page.windows(bytes.len()).any(|window| window == bytes);
    let is_meant = |page: &&mut [u8]| page[0] == kind as u8 && all.iter().all(|bytes| has(page, bytes));
    file.chunks_mut(PAGE).find(is_meant).expect("a page holds that").fill(0xff);
    std::fs::write(path, file).unwrap();
}

/// Changes a file of a server that does not run; how many rows that were.
pub fn change(server: &Server, file: &str, sql: &str) -> usize {
    Connection::open(server.data_dir().join(file)).unwrap().execute(sql, []).unwrap()
}
