//! Readers whose connections are cut anywhere, of a server that is killed meanwhile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use crate::desk::{BOB, Desk, Opened};
use crate::harness::{ADA, until};
use crate::stream::{Frame, Stream};

const READERS: u64 = 5;
const ROUNDS: usize = 4;

#[test]
fn however_often_a_reader_is_cut_off_it_sees_each_event_once_and_in_order() {
    let diaries = tempfile::tempdir().unwrap();
    let mut desk = Desk::new(&super::telling(diaries.path(), &[], ""));
    desk.server.add_customer(BOB);
    let sessions = [ADA, BOB].map(|customer| desk.open(customer));
    let address = Mutex::new(desk.server.address);

    let seen: Vec<_> = thread::scope(|scope| {
        let readers: Vec<_> = sessions
            .iter()
            .flat_map(|session| (0..READERS).map(move |seed| (session, seed)))
            .map(|(session, seed)| {
                let reader = Reader::new(&address, seed);
                (session, scope.spawn(move || reader.read_all(session)))
            })
            .collect();
        for round in 1..=ROUNDS {
            for session in &sessions {
                until("more is said", || said(diaries.path(), session).len() > round * 150);
            }
            desk.server.kill();
            desk.server.start_again();
            *address.lock().unwrap() = desk.server.address;
        }
        for session in &sessions {
            desk.stop(session);
        }
        readers.into_iter().map(|(session, reader)| (session, reader.join().unwrap())).collect()
    });

    for (session, frames) in seen {
        assert!(frames.iter().map(|frame| frame.id.unwrap()).eq(1..=frames.len() as u64));
        assert_eq!(frames.last().unwrap().data["body"]["phase"], "ENDED");
        let told = frames.into_iter().filter(|frame| frame.name == "event");
        let told: Vec<_> = told.map(|frame| frame.data["body"].clone()).collect();
        assert!(told == said(diaries.path(), session), "{} events", told.len());
    }
}

/// What the agent of a session wrote down of what it said.
fn said(diaries: &std::path::Path, session: &Opened) -> Vec<Value> {
    let diary = std::fs::read_to_string(diaries.join(&session.id)).unwrap_or_default();
    diary
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A reader that leaves in the middle and comes again.
struct Reader<'a> {
    address: &'a Mutex<SocketAddr>,
    dice: u64,
}

impl<'a> Reader<'a> {
    fn new(address: &'a Mutex<SocketAddr>, seed: u64) -> Self {
        Self { address, dice: seed }
    }

    /// Every event of the session, up to its end.
    fn read_all(mut self, session: &Opened) -> Vec<Frame> {
        let mut seen: Vec<Frame> = Vec::new();
        loop {
            let Some(mut stream) = self.connect(session, seen.len()) else { continue };
            if stream.status == 204 {
                return seen;
            }
            assert_eq!(stream.status, 200);
            let Some(snapshot) = stream.next() else { continue };
            assert_eq!((&*snapshot.name, snapshot.id), ("snapshot", None));
            while let Some(frame) = stream.next() {
                if frame.name == "draining" {
                    break;
                }
                assert_eq!(frame.id, Some(seen.len() as u64 + 1), "{frame:?}");
                seen.push(frame);
            }
        }
    }

    /// A stream of random length; nothing while the server is away.
    fn connect(&mut self, session: &Opened, known: usize) -> Option<Stream> {
        let (address, bearer, known) =
            (*self.address.lock().unwrap(), format!("Bearer {}", session.token), known.to_string());
        let mut headers = HashMap::from([("Authorization", &*bearer), ("Accept", "text/event-stream")]);
        if known != "0" {
            headers.insert("Last-Event-ID", &known);
        }
        let headers: Vec<_> = headers.into_iter().collect();
        let path = format!("/v1/sessions/{}/events", session.id);
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let budget = usize::try_from(self.dice >> 33).unwrap() % 40_000;
        let opened = Stream::request(address, "GET", &path, &headers, "", budget);
        if opened.is_err() {
            thread::yield_now();
        }
        opened.ok()
    }
}
