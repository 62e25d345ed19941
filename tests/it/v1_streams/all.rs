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
    const EVENTS: u64 = 12_000;
    let diaries = tempfile::tempdir().unwrap();
    let desk = Operated::new(Setup::with_config(&super::telling(diaries.path(), &["4096"], "")));
    let customers = [ADA, BOB, ("eve@example.org", "correct staple"), ("sam@example.org", "a b c d e")];
    let mut stream = follow(&desk);
    let sessions = customers.map(|customer| {
        if customer != ADA {
            desk.server.add_customer(customer);
        }
        let created = desk.server.create(customer, json!({}));
        assert_eq!(desk.server.initialise(customer.0).status, 200);
        created
    });
    let last = || -> u64 {
        let path = |id| format!("/v1/sessions/{id}/events?limit=1");
        let headers = |token| format!("Bearer {token}");
        let page = |session: &crate::harness::Answer| {
            let bearer = headers(session.token());
            let headers = [("Authorization", &*bearer), ("Accept", "application/json")];
            desk.server.send("GET", &path(session.session_id()), &headers, b"").json()["last"].as_u64().unwrap()
        };
        sessions.iter().map(page).sum()
    };
    until("much more was told than waits for a reader", || last() >= EVENTS);

    let mut lagged = None;
    for _ in 0..EVENTS * 4 {
        let frame = stream.next().unwrap();
        if frame.name == "lagged" {
            lagged = frame.data["missed"].as_u64();
            break;
        }
    }
    assert!(lagged.unwrap() > 0);
    assert_eq!(stream.next().unwrap().name, "event");
}

fn follow(desk: &Operated) -> Stream {
    let bearer = format!("Bearer {}", desk.token(READ));
    let mut stream = Stream::open(desk.server.address, "/v1/events", &[("Authorization", &bearer)]);
    assert_eq!((stream.status, &*stream.headers["content-type"]), (200, "text/event-stream"));
    assert_eq!(stream.line().as_deref(), Some(": alive"), "who sees this is following");
    stream
}
