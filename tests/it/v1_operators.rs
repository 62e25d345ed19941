//! What operators see and stop: sessions, personas, nodes, tokens, the audit.

use std::time::Duration;

use frontdesk::clock::WallTime;
use frontdesk::data_dir::DataDir;
use frontdesk::principal::Scope;
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::store::{Action, Actor, Audit, AuditEntry};
use serde_json::{Value, json};

use crate::desk::{BOB, persona};
use crate::harness::{ADA, Answer, Server, Setup, percent, until};
use crate::operators::{Operated, items, problem};

const READ: Scope = Scope::SessionsRead;
const WRITE: Scope = Scope::SessionsWrite;
const ADMIN: Scope = Scope::Admin;

#[test]
fn operators_list_sessions_the_youngest_first_by_filters_and_pages() {
    let desk = two_sessions();
    let list = |query: &str| desk.call(READ, "GET", &format!("/v1/sessions{query}"), &Value::Null);
    let emails =
        |query: &str| -> Vec<Value> { items(&list(query)).iter().map(|session| session["email"].clone()).collect() };

    assert_eq!(emails(""), [BOB.0, ADA.0]);
    assert_eq!(emails("?email=ADA%40example.org%20"), [ADA.0]);
    assert_eq!(emails("?phase=RUNNING"), [ADA.0]);
    assert_eq!(emails("?persona=OTHERS"), [BOB.0]);
    assert_eq!(emails("?persona=OTHERS&phase=RUNNING"), [""; 0]);

    let first = list("?limit=1").json();
    assert_eq!(first["items"][0]["email"], BOB.0);
    let next = list(&format!("?limit=1&cursor={}", first["next"].as_str().unwrap())).json();
    assert_eq!((&next["items"][0]["email"], next.get("next")), (&json!(ADA.0), None));

    for query in ["?limit=0", "?limit=1001", "?cursor=first", "?phase=running", "?ended=maybe", "?email="] {
        assert_eq!(problem(&list(query)), (400, "invalid_request".into()), "{query}");
    }
}

#[test]
fn sessions_are_listed_by_their_age() {
    let desk = two_sessions();
    let all = items(&desk.call(READ, "GET", "/v1/sessions", &Value::Null));
    // Their ids begin with the time to the millisecond, which `created` shows to the second.
    let requested = |session: &Value| {
        let id = session["id"].as_str().unwrap().replace('-', "");
        let millis = u64::from_str_radix(&id[..12], 16).unwrap();
        humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_millis(millis)).to_string()
    };
    let (bob, ada) = (requested(&all[0]), requested(&all[1]));
    let emails = |query: &str| {
        let list = desk.call(READ, "GET", &format!("/v1/sessions?{query}"), &Value::Null);
        items(&list).iter().map(|session| session["email"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    assert_eq!(emails(&format!("created_after={bob}")), [BOB.0]);
    assert_eq!(emails(&format!("created_before={bob}")), [ADA.0]);
    assert_eq!(emails(&format!("created_after={ada}&created_before={bob}")), [ADA.0]);
    assert_eq!(emails(&format!("created_after={ada}&email={}", percent(BOB.0))), [BOB.0]);
    assert_eq!(emails(&format!("created_before={ada}&ended=true")), [""; 0]);
    assert_eq!(emails("created_after=2999-01-01T00:00:00Z"), [""; 0]);
    let answer = desk.call(READ, "GET", "/v1/sessions?created_after=yesterday", &Value::Null);
    assert_eq!(problem(&answer), (400, "invalid_request".into()));
}

#[test]
fn operators_see_of_a_running_session_since_when_on_which_node_and_with_how_much_to_do() {
    let desk = two_sessions();

    let all = items(&desk.call(READ, "GET", "/v1/sessions", &Value::Null));

    let node = items(&desk.call(READ, "GET", "/v1/nodes", &Value::Null)).remove(0);
    let (bob, ada) = (&all[0], &all[1]);
    assert_eq!((&ada["node"], &ada["open_requests"], &ada["recent_losses"]), (&node["id"], &json!(0), &json!(0)));
    assert!(ada["running_since"].as_str().unwrap() >= ada["created"].as_str().unwrap(), "{ada}");
    let absent = ["open_requests", "recent_losses", "running_since"].map(|name| bob.get(name));
    assert_eq!(absent, [None; 3], "{bob}");
}

#[test]
fn a_pending_session_that_nobody_starts_by_itself_says_whom_it_waits_for() {
    let desk = two_sessions();

    let all = items(&desk.call(READ, "GET", "/v1/sessions", &Value::Null));
    let (_, listed, _) = desk.server.run(&["session", "list", "--json"], "");

    let why = "waits for its customer to start it";
    assert_eq!((&all[0]["phase"], &all[0]["waits_for"]), (&json!("PENDING"), &json!(why)));
    assert_eq!(all[1].get("waits_for"), None, "{}", all[1]);
    let rows: Vec<Value> = listed.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let reasons = rows.iter().filter(|row| row["phase"] == "PENDING").map(|row| &row["reason"]).collect::<Vec<_>>();
    assert_eq!(reasons, [why]);
}

#[test]
fn how_a_persona_s_agents_are_started_is_for_admins_and_values_of_variables_for_nobody() {
    let keys = "environment = { KEY = \"hush\" }";
    let desk = Operated::new(Setup::with_config(&persona("CUSTOMERS", r#"["sh", "-c", "exec cat"]"#, keys)));

    let seen = desk.call(ADMIN, "GET", "/v1/personas", &Value::Null);

    let start = &items(&seen)[0]["start"];
    assert_eq!((&start["command"], &start["environment"]), (&json!(["sh", "-c", "exec cat"]), &json!(["KEY"])));
    assert!(!String::from_utf8(seen.body).unwrap().contains("hush"));
    for scope in [READ, WRITE, Scope::CustomersWrite] {
        assert_eq!(items(&desk.call(scope, "GET", "/v1/personas", &Value::Null))[0].get("start"), None, "{scope}");
    }
}

#[test]
fn operators_see_of_a_session_what_its_customer_does_not() {
    let desk = two_sessions();

    let session = items(&desk.call(READ, "GET", "/v1/sessions?phase=RUNNING", &Value::Null)).remove(0);

    let agents: Vec<Value> = desk.server.agents().into_iter().map(Value::from).collect();
    assert!(agents.contains(&session["pid"]), "{session}");
    assert_eq!(session["customer"], ADA.0);
    assert_eq!((&session["epoch"], &session["persona"]), (&json!(1), &json!("CUSTOMERS")));
}

#[test]
fn ended_sessions_are_listed_when_they_are_asked_for() {
    let desk = two_sessions();
    stop_all(&desk);
    let count = |query: &str| items(&desk.call(READ, "GET", &format!("/v1/sessions{query}"), &Value::Null)).len();

    until("both have ended", || count("?phase=ENDED") == 2);

    assert_eq!((count(""), count("?ended=true"), count("?outcome=stopped"), count("?outcome=failed")), (0, 2, 2, 0));
}

#[test]
fn sessions_are_stopped_by_filter_and_a_repeated_call_stops_nothing_more() {
    let desk = two_sessions();

    let stopped = desk.call(WRITE, "POST", "/v1/sessions/stop", &json!({"persona": "OTHERS"}));

    assert_eq!(stopped.status, 200, "{stopped:?}");
    let stopped = stopped.json();
    assert_eq!((&stopped["matched"], &stopped["more"]), (&json!(1), &json!(false)));
    let id = stopped["stopping"][0].as_str().unwrap().to_owned();
    let bob = desk.call(READ, "GET", &format!("/v1/sessions/{id}?wait=60s&until=ENDED"), &Value::Null).json();
    assert_eq!((&bob["email"], &bob["outcome"]), (&json!(BOB.0), &json!("stopped")));
    assert_eq!(bob["reason"], "stopped by the operator sessions:write");
    assert_eq!(desk.server.status(ADA.0), "RUNNING");

    let again = desk.call(WRITE, "POST", "/v1/sessions/stop", &json!({"persona": "OTHERS"}));
    assert_eq!(again.json(), json!({"matched": 0, "stopping": [], "more": false}));
    let audited = desk.audited("session.stopped");
    assert_eq!(audited.len(), 1);
    assert_eq!((&audited[0]["session"], &audited[0]["customer"]), (&json!(id), &json!(BOB.0)));
    assert_eq!(audited[0]["actor"], json!({"kind": "operator", "name": "sessions:write"}));
}

#[test]
fn nothing_is_stopped_by_a_call_that_does_not_say_what() {
    let desk = two_sessions();
    for body in [
        json!({}),
        json!({"force": true}),
        json!({"all": false}),
        json!({"email": null}),
        json!({"emial": ADA.0, "persona": "CUSTOMERS"}),
        json!({"created_before": "yesterday"}),
        json!({"email": ""}),
    ] {
        let answer = desk.call(WRITE, "POST", "/v1/sessions/stop", &body);
        assert_eq!(problem(&answer), (400, "invalid_request".into()), "{body}");
    }
    let past = desk.call(WRITE, "POST", "/v1/sessions/stop", &json!({"created_before": "2020-01-01T00:00:00+01:00"}));
    assert_eq!(past.json()["matched"], 0);
    let answer = desk.call(READ, "POST", "/v1/sessions/stop", &json!({"all": true}));
    assert_eq!(problem(&answer), (403, "scope_required".into()));
    assert_eq!(desk.server.status(ADA.0), "RUNNING");
}

#[test]
fn all_sessions_are_killed_by_force_whatever_their_phase() {
    let desk = two_sessions();

    let killed = desk.call(WRITE, "POST", "/v1/sessions/stop", &json!({"all": true, "force": true})).json();

    assert_eq!((&killed["matched"], killed["stopping"].as_array().unwrap().len()), (&json!(2), 2));
    until("no agent is left", || desk.server.agents().is_empty());
    assert_eq!(desk.audited("session.killed").len(), 2);
}

#[test]
fn who_is_known_sees_the_personas_and_nothing_secret_of_them() {
    let config =
        persona("SECRETIVE", r#"["sh", "-c", "exec cat"]"#, "environment = { KEY = \"hush\" }\nmemory = \"1MiB\"");
    let desk = Operated::new(Setup::with_config(&format!("{config}{}", persona("CUSTOMERS", ECHO, ""))));
    let token = desk.server.create(ADA, json!({})).token();

    let answer = desk.call_with(&token, "GET", "/v1/personas", &Value::Null);

    let personas = items(&answer);
    assert_eq!(personas[0]["name"], "CUSTOMERS");
    assert_eq!((&personas[1]["agent"], &personas[1]["protocol"]), (&json!("process"), &json!("json-rpc")));
    assert_eq!(
        (&personas[1]["limits"]["memory_bytes"], &personas[1]["timeouts"]["start_seconds"]),
        (&json!(1 << 20), &json!(30.0))
    );
    let text = String::from_utf8(answer.body).unwrap();
    assert!(!text.contains("hush") && !text.contains("cat"), "{text}");
    assert_eq!(desk.send("GET", "/v1/personas", &[], &Value::Null).status, 401);
}

#[test]
fn operators_see_the_node() {
    let desk = two_sessions();

    let node = items(&desk.call(READ, "GET", "/v1/nodes", &Value::Null)).remove(0);

    assert_eq!(node["listen"], desk.server.address.to_string());
    assert_eq!(
        (&node["ready"], node.get("reason"), &node["version"]),
        (&json!(true), None, &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(
        (&node["sessions_live"], &node["agents_running"], &node["max_running"]),
        (&json!(2), &json!(1), &json!(2_000))
    );
    assert!(node["memory_bytes"].as_u64().unwrap() > 1 << 20, "{node}");
    let token = desk.server.create(ADA, json!({})).token();
    assert_eq!(problem(&desk.call_with(&token, "GET", "/v1/nodes", &Value::Null)), (403, "scope_required".into()));
}

#[test]
fn a_revoked_token_opens_nothing_and_revoking_it_again_changes_nothing() {
    let desk = Operated::new(Setup::default());
    let tokens = items(&desk.call(ADMIN, "GET", "/v1/tokens", &Value::Null));
    assert_eq!(tokens.len(), 4);
    let reader = tokens.iter().find(|token| token["name"] == "sessions:read").unwrap();
    assert_eq!((&reader["valid"], &reader["scopes"]), (&json!(true), &json!(["sessions:read"])));
    let path = format!("/v1/tokens/{}", reader["id"].as_str().unwrap());

    for _ in 0..2 {
        assert_eq!(desk.call(ADMIN, "DELETE", &path, &Value::Null).status, 204);
    }

    assert_eq!(problem(&desk.call(READ, "GET", "/v1/sessions", &Value::Null)), (401, "token_required".into()));
    let tokens = items(&desk.call(ADMIN, "GET", "/v1/tokens", &Value::Null));
    assert_eq!(tokens.iter().filter(|token| token["valid"] == true).count(), 3);
    let audited = desk.audited("token.revoked");
    assert_eq!((audited.len(), &audited[0]["detail"]), (1, &json!("sessions:read")));
    for id in ["01890000-0000-7000-8000-000000000000", "none"] {
        let answer = desk.call(ADMIN, "DELETE", &format!("/v1/tokens/{id}"), &Value::Null);
        assert_eq!(problem(&answer), (404, "token_not_found".into()));
    }
    assert_eq!(problem(&desk.call(WRITE, "GET", "/v1/tokens", &Value::Null)), (403, "scope_required".into()));
}

#[test]
fn an_operator_who_asks_a_customer_s_agent_is_noted_and_the_customer_is_not() {
    let desk = Operated::new(Setup::default());
    let opened = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    assert_eq!(desk.server.relay(ADA.0, &opened.token(), &json!(1)).status, 200);
    let path = format!("/v1/sessions/{}/requests", opened.session_id());
    let body = json!({"request": 1});
    assert_eq!(desk.call_with(&opened.token(), "POST", &path, &body).status, 200);
    assert_eq!(desk.audited("session.requested").len(), 0);

    assert_eq!(desk.call(WRITE, "POST", &path, &body).status, 200);

    let noted = desk.audited("session.requested");
    assert_eq!(noted.len(), 1, "{noted:?}");
    assert_eq!((&noted[0]["actor"]["name"], &noted[0]["customer"]), (&json!("sessions:write"), &json!(ADA.0)));
    assert_eq!(noted[0]["session"], opened.session_id());
}

#[test]
fn the_audit_is_read_by_filters_and_pages_and_exported_whole() {
    let desk = two_sessions();
    stop_all(&desk);
    let read = |query: &str| desk.call(ADMIN, "GET", &format!("/v1/audit{query}"), &Value::Null);
    let all = items(&read(""));

    let session = all[0]["session"].as_str().unwrap();
    assert!(items(&read(&format!("?session={session}"))).iter().all(|entry| entry["session"] == session));
    let of_ada = items(&read("?email=Ada%40Example.org"));
    assert!(of_ada.len() >= 2 && of_ada.iter().all(|entry| entry["customer"] == ADA.0), "{of_ada:?}");
    assert_eq!(desk.audited("session.created").len(), 2);

    let (mut paged, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = read(&query);
        paged.extend(items(&page));
        let Some(next) = page.json().get("next").map(|next| next.as_str().unwrap().to_owned()) else { break };
        query = format!("?limit=1&cursor={next}");
    }
    assert_eq!(paged, all);

    assert_eq!(exported(&desk, "?limit=1"), all);
    assert_eq!(exported(&desk, "?action=session.created"), desk.audited("session.created"));
    for query in ["?action=session.eaten", "?cursor=0", "?session=1", "?email="] {
        assert_eq!(problem(&read(query)), (400, "invalid_request".into()), "{query}");
    }
    assert_eq!(problem(&desk.call(WRITE, "GET", "/v1/audit", &Value::Null)), (403, "scope_required".into()));
}

#[test]
fn an_export_goes_on_over_as_many_entries_as_there_are() {
    const ENTRIES: i64 = 1_200;
    let mut desk = Operated::new(Setup::default());
    assert!(desk.server.terminate().success());
    note_many(&desk.server, ENTRIES);
    desk.server.start_again();

    let exported = exported(&desk, "?action=session.killed");

    let details: Vec<_> = exported.iter().map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(details, (0..ENTRIES).rev().map(|number| number.to_string()).collect::<Vec<_>>());
}

/// Notes so many kills in the audit of a server that does not run.
fn note_many(server: &Server, entries: i64) {
    let data_dir = DataDir::open(&server.data_dir()).unwrap();
    let store = SqliteStore::open(data_dir.paths()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in 0..entries {
        let entry = AuditEntry {
            at: WallTime::from_unix_millis(number),
            actor: Actor::CommandLine,
            action: Action::SessionKilled,
            session: None,
            customer: None,
            from: None,
            detail: number.to_string(),
        };
        runtime.block_on(store.note(entry)).unwrap();
    }
}

const ECHO: &str = r#"["frontdesk", "agent", "echo"]"#;

/// Ada's session, which runs, and Bob's of another persona, which is younger and waits.
fn two_sessions() -> Operated {
    let config = persona("CUSTOMERS", ECHO, "") + &persona("OTHERS", ECHO, "");
    let desk = Operated::new(Setup::with_config(&config));
    desk.server.add_customer(BOB);
    assert_eq!(desk.server.create(ADA, json!({})).status, 200);
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    assert_eq!(request(&desk.server, "OTHERS", BOB).status, 200);
    desk
}

fn request(server: &Server, persona: &str, (email, password): (&str, &str)) -> Answer {
    let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": persona, "DATA": {}});
    let headers = [("Content-Type", "application/json")];
    server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes())
}

fn stop_all(desk: &Operated) {
    assert_eq!(desk.call(WRITE, "POST", "/v1/sessions/stop", &json!({"all": true})).json()["matched"], 2);
}

/// The lines of an export.
fn exported(desk: &Operated, query: &str) -> Vec<Value> {
    let authorization = format!("Bearer {}", desk.token(ADMIN));
    let headers = [("Authorization", &*authorization), ("Accept", "text/html, application/x-ndjson; q=0.9")];
    let answer = desk.send("GET", &format!("/v1/audit{query}"), &headers, &Value::Null);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("0\r\n\r\n"), "the last chunk is missing");
    // What stands between the chunks is no object.
    text.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect()
}
