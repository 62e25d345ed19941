//! The stream of all sessions.

use std::collections::BTreeMap;

use frontdesk::principal::Scope;
use serde_json::{Value, json};

use crate::desk::BOB;
use crate::harness::{ADA, Setup, until};
use crate::operators::{Operated, problem};
use crate::stream::{Frame, Stream};

const READ: Scope = Scope::SessionsRead;

#[test]
fn an_operator_sees_every_session_from_its_creation_to_its_end() {
    let desk = Operated::new(Setup::default());
    desk.server.add_customer(BOB);
    let mut stream = follow(&desk);
    let sessions = [ADA, BOB].map(|customer| {
        let created = desk.server.create(customer, json!({}));
        assert_eq!(desk.server.initialise(customer.0).status, 200);
        let asked = desk.server.relay(customer.0, &created.token(), &json!({"event": {"of": customer.0}}));
        assert_eq!(asked.status, 200, "{asked:?}");
        desk.server.stop(&created.session_id(), &created.token());
        created.session_id()
    });

    let mut told: BTreeMap<String, Vec<Frame>> = BTreeMap::new();
    while told.values().filter(|frames| frames.last().unwrap().data["body"]["phase"] == "ENDED").count() < 2 {
        let frame = stream.next().unwrap();
        assert_eq!(frame.id, None, "it can't be resumed");
        told.entry(frame.data["session"].as_str().unwrap().to_owned()).or_default().push(frame);
    }

    for (id, (email, _)) in sessions.iter().zip([ADA, BOB]) {
        let frames = &told[id];
        assert!(frames.iter().map(|frame| frame.data["number"].as_u64().unwrap()).eq(1..=6), "{frames:?}");
        let phases: Vec<_> = frames.iter().filter_map(|frame| frame.data["body"]["phase"].as_str()).collect();
        assert_eq!(phases, ["PENDING", "STARTING", "RUNNING", "STOPPING", "ENDED"]);
        assert!(frames.iter().any(|frame| frame.name == "event" && frame.data["body"] == json!({"of": email})));
    }
    let customer = problem(&desk.call_with("fds_AAAA", "GET", "/v1/events", &Value::Null));
    assert_eq!(customer, (401, "token_required".into()));
}

#[test]
fn an_operator_who_does_not_keep_up_is_told_so_and_goes_on() {
    // Far more than fits into the buffers of a connection, of which little is kept.
    const EVENTS: u64 = 2_000;
    let diaries = tempfile::tempdir().unwrap();
    let persona = super::telling(diaries.path(), &["4096"], "");
    let desk = Operated::new(Setup::with_config(&format!("[events]\nkeep = \"256 KiB\"\n{persona}")));
    let mut stream = follow(&desk);
    let created = desk.server.create(ADA, json!({}));
    assert_eq!(desk.server.initialise(ADA.0).status, 200);
    let bearer = format!("Bearer {}", created.token());
    let page = || {
        let headers = [("Authorization", &*bearer), ("Accept", "application/json")];
        desk.server.send("GET", &format!("/v1/sessions/{}/events?limit=1", created.session_id()), &headers, b"").json()
    };
    until("much more was told than waits for a reader", || page()["last"].as_u64().unwrap() >= EVENTS);

    let frames = std::iter::from_fn(|| stream.next()).take_while(|frame| frame.name != "lagged").count();

    assert!((frames as u64) < EVENTS, "{frames}");
    let next = std::iter::from_fn(|| stream.next()).find(|frame| frame.name == "event").unwrap();
    assert!(next.data["number"].as_u64().unwrap() > frames as u64 + 1, "{}", next.data["number"]);
}

fn follow(desk: &Operated) -> Stream {
    let bearer = format!("Bearer {}", desk.token(READ));
    let mut stream = Stream::open(desk.server.address, "/v1/events", &[("Authorization", &bearer)]);
    assert_eq!((stream.status, &*stream.headers["content-type"]), (200, "text/event-stream"));
    assert_eq!(stream.line().as_deref(), Some("retry: 2000"), "a reader of this line is following");
    stream
}
