//! A reason has two readers: customers get a sentence, operators also what stands behind it.

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::{Desk, faulty, persona};
use crate::harness::{ADA, Setup, until};
use crate::operators::{Operated, items};

#[test]
fn a_customer_reads_why_a_start_failed_and_only_operators_read_the_agents_log() {
    let desk = Operated::new(Setup::with_config(&faulty(&["at-start", "exit"], "start_attempts = 1")));
    let ada = desk.server.create(ADA, json!({}));
    let (id, token) = (ada.session_id(), ada.token());
    let path = format!("/v1/sessions/{id}");
    let as_customer = |method: &str, path: &str| desk.call_with(&token, method, path, &Value::Null);

    let refused = as_customer("POST", &format!("{path}/initialize?wait=30s"));

    let sentence = "gave up after 1 failed start: the agent exited with status 3 before it was ready";
    assert_eq!((refused.status, &refused.json()["detail"]), (502, &json!(sentence)));
    let session = as_customer("GET", &path).json();
    assert_eq!((&session["reason"], &session["reason_detail"]), (&json!(sentence), &Value::Null));
    let accept = [("Authorization", format!("Bearer {token}")), ("Accept", "application/json".to_owned())];
    let accept = accept.each_ref().map(|(name, value)| (*name, value.as_str()));
    let events = desk.send("GET", &format!("{path}/events"), &accept, &Value::Null);
    assert_eq!(items(&events).last().unwrap()["body"]["reason"], sentence);
    for seen in [&refused.body, &events.body] {
        assert!(!String::from_utf8_lossy(seen).contains("no fuel"), "{seen:?}");
    }

    let seen = desk.call(Scope::SessionsRead, "GET", &path, &Value::Null).json();
    let log = json!("last lines of its log: no fuel");
    assert_eq!((&seen["reason"], &seen["reason_detail"]), (&json!(sentence), &log));
    let listed = desk.call(Scope::SessionsRead, "GET", "/v1/sessions?ended=true", &Value::Null);
    assert_eq!(items(&listed)[0]["reason_detail"], log);
}

#[test]
fn a_customer_is_not_told_the_paths_of_the_machine() {
    let desk = Operated::new(Setup::with_config(&persona("CUSTOMERS", r#"["/srv/secret/agent"]"#, "")));
    let ada = desk.server.create(ADA, json!({}));
    let path = format!("/v1/sessions/{}", ada.session_id());

    let refused = desk.call_with(&ada.token(), "POST", &format!("{path}/initialize"), &Value::Null);

    assert_eq!(refused.json()["detail"], "the server could not run the agent");
    let seen = desk.call(Scope::SessionsRead, "GET", &path, &Value::Null).json();
    assert!(seen["reason_detail"].as_str().unwrap().contains("/srv/secret/agent"), "{seen}");
}

#[test]
fn a_session_that_is_stopping_shows_the_process_of_its_agent() {
    let desk = Desk::new(&faulty(&["on-request"], "stop_grace = \"1h\""));
    let ada = desk.open(ADA);
    let pid = desk.row(&ada).pid;
    assert_eq!(desk.ask(&ada, &json!({"do": "ignore-sigterm"})).status, 200);

    assert_eq!(desk.server.stop(&ada.id, &ada.token).status, 202);

    let row = desk.row(&ada);
    assert_eq!((row.phase.as_str(), row.pid), ("STOPPING", pid));
    assert!(pid.is_some());
    desk.force(&ada);
    until("it has ended", || desk.row(&ada).phase == "ENDED");
    assert_eq!(desk.row(&ada).pid, None);
}
