//! Many readers of one session.

use serde_json::json;

use super::{EVENT_STREAM, follow, page, started};
use crate::desk::{BOB, Desk};
use crate::harness::until;
use crate::operators::problem;
use crate::stream::Stream;

/// As many as may follow one session.
const MOST: usize = 128;

#[test]
fn a_hundred_readers_of_one_session_are_told_the_same_as_who_reads_it_later() {
    const READERS: usize = 100;
    const EVENTS: u64 = 60;
    let desk = Desk::new("");
    let ada = started(&desk);
    let readers: Vec<_> = (0..READERS).map(|_| follow(&desk, &ada, &[("Last-Event-ID", "3")])).collect();

    for n in 0..EVENTS {
        assert_eq!(desk.ask(&ada, &json!({"event": {"n": n, "text": "\u{e9} \n".repeat(50)}})).status, 200);
    }
    desk.stop(&ada);

    let told: Vec<_> = readers.into_iter().map(events).collect();
    let later = events(follow(&desk, &ada, &[("Last-Event-ID", "3")]));
    let numbers = later.iter().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse::<u64>().unwrap());
    assert!(numbers.eq(4..=3 + EVENTS + 2), "{later:?}");
    for (reader, told) in told.into_iter().enumerate() {
        assert_eq!(told, later, "reader {reader}");
    }
}

#[test]
fn one_session_has_no_more_readers_than_may_be_and_another_has_its_own() {
    let desk = Desk::new("");
    let ada = started(&desk);
    let mut readers: Vec<_> = (0..MOST).map(|_| follow(&desk, &ada, &[])).collect();
    assert!(readers.iter().all(|reader| reader.status == 200));

    let bearer = format!("Bearer {}", ada.token);
    let path = format!("/v1/sessions/{}/events", ada.id);
    let refused = desk.server.send("GET", &path, &[("Authorization", &bearer), EVENT_STREAM], b"");

    assert_eq!(problem(&refused), (503, "server_busy".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("for this session or for all"));
    desk.server.add_customer(BOB);
    let bob = desk.open(BOB);
    assert_eq!(follow(&desk, &bob, &[]).status, 200);
    readers.pop();
    until("a reader that has gone makes room", || follow(&desk, &ada, &[]).status == 200);
    assert_eq!(page(&desk, &ada, "").status, 200, "pages are no streams");
}

/// What a stream says behind its snapshot, without the signs that it is alive.
fn events(mut stream: Stream) -> Vec<String> {
    stream.expect("snapshot");
    std::iter::from_fn(|| stream.line()).filter(|line| !line.is_empty() && !line.starts_with(':')).collect()
}
