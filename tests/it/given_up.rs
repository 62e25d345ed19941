//! Live sessions that can't be read, in a real data directory: they keep their customers' places until they are given up.

use frontdesk::principal::Scope;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::damage::{Page, change, spoil};
use crate::desk::BOB;
use crate::harness::{ADA, Answer, Server, Setup, until};
use crate::operators::{Operated, problem};

const CAROL: (&str, &str) = ("carol@example.org", "staple horse");
const PLAIN: &str = "[personas.CUSTOMERS]\ncommand = [\"sleep\", \"600\"]\nprotocol = \"none\"\n";

#[test]
fn a_session_in_a_damaged_page_keeps_its_customers_place_until_an_operator_gives_it_up() {
    let (mut desk, ada) = with_ada_among_many();
    let agent = desk.server.agents()[0];
    assert!(desk.server.terminate().success());
    let id = uuid::Uuid::parse_str(&ada).unwrap();
    spoil(&desk.server, Page::Table, &[id.as_bytes()]);
    desk.server.start_again();

    assert_eq!(desk.server.agents(), [agent], "its agent is left alone");
    assert_eq!(create(&desk, ADA).pair(), (503, "SESSION_SET_ASIDE".into()));
    assert_eq!(create(&desk, CAROL).status, 200, "nobody else waits for it");
    let check = records(&desk);
    assert!(check["reason"].as_str().unwrap().contains(&ada), "{check}");
    let path = format!("/v1/sessions/{ada}");
    let call = |scope, method, path: &str| desk.call(scope, method, path, &Value::Null);
    assert_eq!(problem(&call(Scope::SessionsRead, "GET", &path)), (503, "session_set_aside".into()));
    assert_eq!(problem(&call(Scope::SessionsWrite, "DELETE", &path)), (409, "wrong_phase".into()));
    let forced = format!("{path}?force=true");
    assert_eq!(problem(&call(Scope::SessionsRead, "DELETE", &forced)), (403, "scope_required".into()));
    assert_eq!(desk.server.agents(), [agent], "nothing was done so far");

    let given_up = call(Scope::SessionsWrite, "DELETE", &forced);

    assert_eq!(given_up.status, 200, "{given_up:?}");
    let session = given_up.json();
    assert_eq!([&session["phase"], &session["outcome"], &session["email"]], ["ENDED", "failed", ADA.0], "{session}");
    assert!(session["reason"].as_str().unwrap().contains("its record was damaged"), "{session}");
    assert_eq!(desk.server.agents(), [] as [u32; 0], "its agent was ended first");
    assert_eq!(call(Scope::SessionsWrite, "DELETE", &forced).json()["revision"], session["revision"], "done once");
    let audited = desk.audited("session.killed");
    assert_eq!((audited.len(), &audited[0]["session"]), (1, &json!(ada)), "{audited:?}");
    assert!(!records(&desk)["reason"].as_str().unwrap().contains(&ada), "it is no longer set aside");
    assert_eq!(create(&desk, ADA).status, 200, "its customer is free");
    assert_eq!(desk.server.initialise(ADA.0).status, 200);

    assert!(desk.server.terminate().success());
    desk.server.start_again();
    assert_eq!(desk.server.status(ADA.0), "RUNNING", "the page that nobody could write changes nothing of that");
    assert_eq!(desk.call(Scope::SessionsRead, "GET", &path, &Value::Null).json()["outcome"], "failed");
    assert_eq!(desk.server.agents().len(), 1);
}

#[test]
fn nobody_new_is_admitted_beside_a_session_of_which_nothing_tells_whose_it_is() {
    let (mut desk, ada) = with_ada_among_many();
    assert!(desk.server.terminate().success());
    let id = uuid::Uuid::parse_str(&ada).unwrap();
    change(&desk.server, "frontdesk.db", "DROP INDEX sessions_by_id");
    spoil(&desk.server, Page::Table, &[id.as_bytes()]);
    desk.server.start_again();

    let refused = create(&desk, CAROL);

    assert_eq!((refused.pair(), refused.header("retry-after")), ((503, "SESSION_SET_ASIDE".into()), "60"));
    assert_eq!(create(&desk, ADA).status, 503, "the agent that runs is hers");
    assert_eq!(create(&desk, BOB).pair(), (400, "SESSION_ALREADY_RUNNING".into()), "his own session is known");
    let reason = records(&desk)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("nobody without a live session is admitted"), "{reason}");
    assert_eq!(desk.server.agents().len(), 1);
}

#[test]
fn the_command_gives_up_a_session_by_force_with_a_server_and_without_one() {
    for is_served in [true, false] {
        let mut server = Server::start(Setup::with_config(PLAIN));
        let ada = with_damaged_session(&mut server);
        if is_served {
            server.start_again();
        }

        let (refused, _, errors) = server.run(&["session", "stop", &ada], "");
        assert!(!refused.success() && errors.contains(&format!("session stop {ada} --force")), "{errors}");
        let (given_up, said, errors) = server.run(&["session", "stop", &ada, "--force"], "");
        assert!(given_up.success() && said.contains("was given up"), "{said} {errors}");
        let (again, said, errors) = server.run(&["session", "stop", &ada, "--force"], "");
        assert!(again.success() && said.contains("has ended: failed"), "{said} {errors}");

        if !is_served {
            server.start_again();
        }
        assert_eq!(server.agents(), [] as [u32; 0]);
        let checks = server.send("GET", "/readyz", &[], b"").json()["checks"].clone();
        assert_eq!(checks[3], json!({"name": "records", "ok": true}));
        server.create(ADA, json!({})).session_id();
        let (verified, found, _) = server.run(&["verify", "frontdesk-data"], "");
        assert!(verified.success() && found.contains("nothing wrong"), "{found}");
        let (_, audit, _) = server.run(&["audit"], "");
        assert_eq!(audit.matches("given up: its record is damaged").count(), 1, "{audit}");
    }
}

/// Wherever the server dies, the session is set aside as before or given up for good, and asking again ends it.
#[cfg(feature = "failpoints")]
#[test]
fn a_server_that_dies_while_it_gives_a_session_up_loses_neither_the_place_nor_the_end() {
    // Commits are those of the audit, of the end, and of the row's deletion.
    for point in [
        "after-agent-end=kill",
        "before-commit=kill@2",
        "after-commit=kill@2",
        "before-answer=kill@2",
        "before-commit=kill@3",
    ] {
        let mut server = Server::start(Setup::with_config(PLAIN));
        let ada = with_damaged_session(&mut server);
        let when = server.path("when");
        server.setup = Setup::with_config(PLAIN)
            .env("FRONTDESK_FAILPOINT", point)
            .env("FRONTDESK_FAILPOINT_WHEN", when.to_str().unwrap());
        server.start_again();
        std::fs::write(&when, "").unwrap();
        let _ = server.run(&["session", "stop", &ada, "--force"], "");
        server.await_end();

        server.setup = Setup::with_config(PLAIN);
        server.start_again();
        let (status, said, errors) = server.run(&["session", "stop", &ada, "--force"], "");

        assert!(status.success(), "{point}: {said} {errors}");
        assert_eq!(server.agents(), [] as [u32; 0], "{point}");
        server.create(ADA, json!({})).session_id();
        assert_eq!(server.initialise(ADA.0).status, 200, "{point}");
        let (verified, found, _) = server.run(&["verify", "frontdesk-data"], "");
        assert!(verified.success(), "{point}: {found}");
    }
}

/// A desk on which Ada has a running session, whose row stands between those of many others that wait. Bob has one of those.
fn with_ada_among_many() -> (Operated, String) {
    let mut desk = Operated::new(Setup::with_config(PLAIN));
    for customer in [BOB, CAROL] {
        desk.server.add_customer(customer);
    }
    desk.server.create(BOB, json!({})).session_id();
    let mut ada = String::new();
    for round in 0..2 {
        assert!(desk.server.terminate().success());
        fill(&desk.server, round);
        desk.server.start_again();
        if round == 0 {
            // With this her row fills a page.
            ada = desk.server.create(ADA, json!({"x": "x".repeat(2_500)})).session_id();
            assert_eq!(desk.server.initialise(ADA.0).status, 200);
        }
    }
    (desk, ada)
}

/// Adds sessions that wait, of as many customers, to the store of a server that does not run: two fill a page.
fn fill(server: &Server, round: u8) {
    let connection = Connection::open(server.data_dir().join("frontdesk.db")).unwrap();
    for number in 0..10_u8 {
        let id = [1, 0x90, 0, 0, round, number, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
        let added = connection.execute(
            "INSERT INTO sessions (id, customer, persona, created, revision, phase, tokens, data)
             SELECT ?1, ?2, persona, created, revision, phase, tokens, ?3 FROM sessions WHERE customer LIKE 'bob%'",
            (id, format!("filler {round} {number}"), json!({"x": "x".repeat(1_500)}).to_string().into_bytes()),
        );
        assert_eq!(added.unwrap(), 1);
    }
}

/// Damages Ada's running session in the store of the server, which does not run after that. Her agent does.
fn with_damaged_session(server: &mut Server) -> String {
    server.add_customer(ADA);
    let ada = server.create(ADA, json!({})).session_id();
    assert_eq!(server.initialise(ADA.0).status, 200);
    until("it is running", || server.status(ADA.0) == "RUNNING");
    assert!(server.terminate().success());
    assert_eq!(change(server, "frontdesk.db", "UPDATE sessions SET phase = '{'"), 1);
    assert_eq!(server.agents().len(), 1);
    ada
}

fn create(desk: &Operated, customer: (&str, &str)) -> Answer {
    desk.server.create(customer, json!({}))
}

fn records(desk: &Operated) -> Value {
    let answer = desk.server.send("GET", "/readyz", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let check = answer.json()["checks"][3].clone();
    assert_eq!((&check["name"], &check["ok"]), (&json!("records"), &json!(false)), "{check}");
    check
}
