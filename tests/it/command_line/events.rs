//! `frontdesk session events`, against a running server and on a directory that no server has.

use frontdesk::clock::WallTime;
use frontdesk::data_dir::DataPaths;
use frontdesk::events::{EventLog, Kind, NewEvent};
use frontdesk::id::{Epoch, SessionId};
use serde_json::{Value, json};

use super::Desk;
use crate::harness::ADA;

#[test]
fn what_happened_and_what_an_agent_said_is_shown_by_id_and_by_email_with_and_without_a_server() {
    let mut desk = Desk::start();
    desk.server.add_customer(ADA);
    desk.token();
    let (_, listed, _) = desk.run(&["session", "list", "--json"], "");
    let id = serde_json::from_str::<Value>(&listed).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(desk.server.terminate().success());
    append(&desk, &id, &[(Kind::Progress, r#"{"TEXT":"half\u001bway"}"#), (Kind::Output, r#"{"ID":1,"PART":"a"}"#)]);

    let without = desk.run(&["session", "events", &id], "");
    desk.server.start_again();
    let with = desk.run(&["session", "events", "ADA@example.org"], "");

    assert_eq!(without, with);
    let (code, table, errors) = with;
    assert_eq!((code, errors.as_str()), (0, ""));
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NUMBER", "TIME", "EPOCH", "KIND", "TEXT"]);
    assert_eq!([lines[1][0], lines[1][2], lines[1][3], lines[1][4]], ["1", "0", "transition", "PENDING"]);
    assert_eq!(lines[2], ["2", "2023-11-14T22:13:20Z", "1", "progress", r"half\u{1b}way"]);
    assert_eq!(lines[3], ["3", "2023-11-14T22:13:20Z", "1", "output", r#"[{"ID":1,"PART":"a"}]"#]);

    let (_, after, _) = desk.run(&["session", "events", &id, "--after", "2", "--json"], "");
    let expected = json!({
        "number": 3, "at": "2023-11-14T22:13:20Z", "epoch": 1, "kind": "output", "body": [{"ID": 1, "PART": "a"}],
    });
    assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), expected);
}

#[test]
fn following_ends_with_what_is_stored_if_nothing_more_can_come() {
    let mut desk = Desk::start();
    desk.server.add_customer(ADA);
    desk.token();
    assert!(desk.server.terminate().success());
    let (code, output, errors) = desk.run(&["session", "events", ADA.0, "--follow", "--after", "1"], "");
    assert_eq!((code, output.as_str(), errors.as_str()), (0, "", "no events after that number yet\n"));
}

#[test]
fn a_session_that_nobody_knows_is_said_to_be_unknown() {
    let desk = Desk::start();
    for unknown in ["eve@example.org", "01234567-89ab-7def-8123-456789abcdef"] {
        let (code, output, errors) = desk.run(&["session", "events", unknown], "");
        assert_eq!((code, output.as_str()), (1, ""));
        assert!(errors.contains(&format!("there is no session {unknown}, and none of a customer")), "{errors}");
    }
}

fn append(desk: &Desk, session: &str, events: &[(Kind, &'static str)]) {
    let session: SessionId = session.parse().unwrap();
    let log = EventLog::open(&DataPaths::new(&desk.server.data_dir()), 1 << 20).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (kind, body) in events {
        let at = WallTime::from_unix_millis(1_700_000_000_000);
        let event = NewEvent { kind: *kind, at, body: (*body).into() };
        runtime.block_on(log.append(session, Epoch(1), None, event)).unwrap();
    }
}
