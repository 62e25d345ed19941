//! The calls that are measured, as scripts of the load generator.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Session, creation};
use crate::load::{Load, Outcome, Script, THREADS, run, write_request};

/// The persona of all sessions that are only created.
pub const PERSONA: &str = "CUSTOMERS";

/// The email of a customer.
pub fn email(number: u64) -> String {
    format!("customer{number}@example.org")
}

/// Creates the sessions of these customers, one each, over a closed loop until all are answered.
pub fn create_all(address: SocketAddr, connections: usize, numbers: Range<u64>) -> Outcome {
    run(&Load::all(address, connections), Creations::split(numbers, false)).0
}

/// The same, and returns what was created, in the order of the numbers.
pub fn create_and_keep(address: SocketAddr, connections: usize, numbers: Range<u64>) -> Vec<Session> {
    let (outcome, [mut kept, more]) = run(&Load::all(address, connections), Creations::split(numbers, true));
    assert_eq!(outcome.bad, 0, "{} sessions were not created", outcome.bad);
    kept.kept.extend(more.kept);
    kept.kept.sort_unstable_by_key(|(number, _)| *number);
    kept.kept.into_iter().map(|(_, session)| session).collect()
}

/// Creations of one session for each customer of a range.
pub struct Creations {
    next: u64,
    end: u64,
    is_keeping: bool,
    kept: Vec<(u64, Session)>,
}

impl Creations {
    /// One script a thread: they take turns.
    pub fn split(numbers: Range<u64>, is_keeping: bool) -> [Self; THREADS] {
        std::array::from_fn(|thread| Self {
            next: numbers.start + thread as u64,
            end: numbers.end,
            is_keeping,
            kept: Vec::new(),
        })
    }

    /// The first customer that no thread has come to.
    pub fn next_of(scripts: &[Self]) -> u64 {
        scripts.iter().map(|script| script.next).max().unwrap_or_default()
    }
}

impl Script for Creations {
    fn next(&mut self, request: &mut Vec<u8>) -> Option<u64> {
        let number = self.next;
        if number >= self.end {
            return None;
        }
        self.next += THREADS as u64;
        write_request(request, "POST", "/requestSessionCreation", "", &creation(&email(number), PERSONA));
        Some(number)
    }

    fn answered(&mut self, number: u64, status: u16, body: &[u8]) {
        if self.is_keeping && status == 200 {
            self.kept.push((number, Session::read(&email(number), body)));
        }
    }
}

/// `GET /sessionSTATUS` of customers at random.
pub fn statuses(customers: u64) -> [impl Script; THREADS] {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let before = encode(&format!("{{\"PERSONA_TYPE\":\"{PERSONA}\",\"EMAIL\":\"customer"));
    let after = encode("@example.org\"}");
    std::array::from_fn(|thread| {
        let (mut dice, before, after) = (Dice::new(thread as u64), before.clone(), after.clone());
        let mut path = String::new();
        from_fn(move |request| {
            let number = dice.below(customers);
            path.clear();
            let _ = write!(path, "/sessionSTATUS?message={before}{number}{after}");
            write_request(request, "GET", &path, "", "");
            Some(number)
        })
    })
}

/// `GET /v1/sessions/{id}` of sessions at random.
pub fn views(sessions: &[Session]) -> [impl Script + use<'_>; THREADS] {
    std::array::from_fn(|thread| {
        let (mut dice, mut path) = (Dice::new(thread as u64), String::new());
        from_fn(move |request| {
            let number = dice.below(sessions.len() as u64);
            let session = &sessions[number as usize];
            path.clear();
            let _ = write!(path, "/v1/sessions/{}", session.id);
            write_request(request, "GET", &path, &session.token, "");
            Some(number)
        })
    })
}

/// These requests in turns, without end.
pub fn cycle(requests: &[Vec<u8>]) -> [impl Script + use<'_>; THREADS] {
    std::array::from_fn(|thread| {
        let mut next = thread;
        from_fn(move |request| {
            let number = next % requests.len();
            request.extend_from_slice(&requests[number]);
            next += 1;
            Some(number as u64)
        })
    })
}

struct FromFn<F>(F);

/// A script that looks at no answer.
fn from_fn<F: FnMut(&mut Vec<u8>) -> Option<u64> + Send>(next: F) -> impl Script {
    FromFn(next)
}

impl<F: FnMut(&mut Vec<u8>) -> Option<u64> + Send> Script for FromFn<F> {
    fn next(&mut self, request: &mut Vec<u8>) -> Option<u64> {
        (self.0)(request)
    }
}

/// Numbers at random, the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new(thread: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ (thread + 1))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((u128::from(value) * u128::from(bound)) >> 64) as u64
    }
}
