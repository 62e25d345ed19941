//! What the audit says of refusals and of what customers do.

use frontdesk::data_dir::DataDir;
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::store::{Action, Actor, Audit, AuditEntry, AuditFilter};
use serde_json::json;

use crate::desk::BOB;
use crate::harness::{ADA, Server};
use crate::wire::Wire;

use super::{JSON, adas, create, opened, problem, server};

#[test]
fn what_a_customer_does_is_noted_with_who_and_whose() {
    let mut server = server("");
    let session = opened(&server);
    for _ in 0..3 {
        assert_eq!(session.put_data(&server, b"{\"a\": 1}").status, 204);
    }
    assert_eq!(session.initialise(&server).status, 200);
    assert_eq!(session.initialise(&server).status, 200);
    for _ in 0..3 {
        session.end(&server);
        session.call(&server, "DELETE", "", &[], b"");
    }
    server.terminate();
    assert_eq!(entries(&server, Action::SessionStopped), []);
    let once = [Action::SessionCreated, Action::SessionDataReplaced, Action::SessionInitialised, Action::SessionKilled];
    for action in once {
        let entries = entries(&server, action);
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(entry.session.unwrap().to_string(), session.id);
        assert_eq!(entry.customer.as_ref().unwrap().as_str(), ADA.0);
        assert!(entry.actor == Actor::Customer && entry.from.unwrap().is_loopback(), "{entry:?}");
    }
}

#[test]
fn refused_credentials_are_noted_with_the_email() {
    let mut server = server("");
    let mut wrong = adas(json!({}));
    wrong["password"] = json!("wrong");
    assert_eq!(create(&server, &[], &wrong).status, 401);
    wrong["email"] = json!("x".repeat(1_000));
    assert_eq!(create(&server, &[], &wrong).status, 401);
    server.terminate();
    let entries = entries(&server, Action::CredentialsRefused);
    let noted: Vec<_> =
        entries.iter().map(|entry| (entry.customer.as_ref().map(|key| key.as_str()), &*entry.detail)).collect();
    assert_eq!(noted, [(None, "an email of 1000 bytes"), (Some(ADA.0), "")]);
}

#[test]
fn a_fresh_token_of_a_live_session_is_noted_and_repeated_ones_once_a_minute() {
    let mut server = server("");
    let session = opened(&server);
    assert_eq!(create(&server, &[], &adas(json!({}))).status, 409);
    for _ in 0..5 {
        assert_eq!(server.create(ADA, json!({})).pair(), (400, "SESSION_ALREADY_RUNNING".into()));
    }
    server.terminate();
    let entries = entries(&server, Action::SessionTokenIssued);
    assert_eq!(entries.len(), 1, "{entries:?}");
    for entry in entries {
        assert_eq!((entry.session.unwrap().to_string(), entry.actor), (session.id.clone(), Actor::Customer));
        assert!(entry.customer.unwrap().as_str() == ADA.0 && entry.from.unwrap().is_loopback());
    }
}

#[test]
fn attempts_that_the_throttle_refuses_are_noted_also_at_the_console_s_sign_in() {
    let mut server = server("[throttle]\nper_account_and_address = 1\n");
    let mut wrong = adas(json!({}));
    wrong["password"] = json!("wrong");
    let sign_in = || server.send("POST", "/v1/console/session", &[JSON], br#"{"token": "nonsense"}"#);
    assert_eq!((create(&server, &[], &wrong).status, sign_in().status), (401, 401));
    assert_eq!(create(&server, &[], &wrong).status, 429);
    let refused = sign_in();
    assert_eq!(refused.status, 429);
    assert!(refused.header("ratelimit").contains(";r=0;"), "{refused:?}");
    server.terminate();
    let throttled = entries(&server, Action::CredentialsThrottled);
    let of_whom: Vec<_> = throttled.iter().map(|entry| entry.customer.as_ref().map(|key| key.as_str())).collect();
    assert_eq!(of_whom, [None, Some(ADA.0)]);
}

#[test]
fn an_initialisation_that_starts_nothing_is_not_noted() {
    let mut server = server("[limits]\nmax_running = 1\n");
    server.add_customer(BOB);
    assert_eq!(server.create(BOB, json!({})).status, 200);
    assert_eq!(server.initialise(BOB.0).status, 200);
    let session = opened(&server);
    assert_eq!(problem(&session.initialise(&server)), (503, "no_capacity".into()));
    server.terminate();
    assert_eq!(entries(&server, Action::SessionInitialised), []);
}

#[test]
fn a_flood_of_refusals_is_counted_and_not_written_one_by_one() {
    const CALLS: usize = 1_000;
    let mut server = server("");
    let session = opened(&server);
    let mut wire = Wire::open(server.address);
    for _ in 0..CALLS {
        let headers = "Authorization: Bearer nonsense\r\n";
        assert_eq!(wire.send("GET", &format!("/v1/sessions/{}", session.id), headers, b"").status, 401);
    }
    drop(wire);
    server.terminate();
    let entries = entries(&server, Action::TokenRefused);
    let of_entry = |entry: &AuditEntry| match entry.detail.split_once(" more refusals") {
        Some((count, _)) => count.parse().unwrap(),
        None => {
            assert_eq!(entry.detail, format!("GET /v1/sessions/{}", session.id));
            1
        }
    };
    assert_eq!(entries.iter().map(of_entry).sum::<usize>(), CALLS);
    assert!(entries.len() < CALLS / 2, "{}", entries.len());
}

/// What the audit of a server that has ended says, the youngest first.
fn entries(server: &Server, action: Action) -> Vec<AuditEntry> {
    let data_dir = DataDir::open(&server.data_dir()).unwrap();
    let store = SqliteStore::open(data_dir.paths()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let filter = AuditFilter { action: Some(action), ..AuditFilter::default() };
    runtime.block_on(store.audit(filter, 1_000)).unwrap().into_iter().map(|numbered| numbered.entry).collect()
}
