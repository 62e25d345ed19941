//! The load generator: so many connections over two threads, each with one request under way, against floor and server
//! alike.
//!
//! Closed loop: a connection sends its next request when it has its answer; that tells how many a second. At a fixed
//! rate: requests have times at which they are due, whether or not a connection is free, and latency counts from then,
//! so that a server which stalls is not spared the requests that would have come meanwhile.
//!
//! What is sent comes from a [`Script`], one a thread. Answers are read as far as their length and status.

mod histogram;
mod worker;

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Duration;

pub use histogram::Histogram;

/// As many as a small machine has cores to spare for clients.
pub const THREADS: usize = 2;

/// What to drive, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where.
    pub address: SocketAddr,
    /// How many connections, all of which are open before the first request.
    pub connections: usize,
    /// For how long at most; without it until the scripts have no more to send.
    pub during: Option<Duration>,
    /// Time at the beginning of which nothing is counted.
    pub warm_up: Duration,
    /// Requests a second; without it as many as go.
    pub rate: Option<f64>,
}

impl Load {
    /// A closed loop for a time, a tenth of which is warming up.
    pub fn closed(address: SocketAddr, connections: usize, during: Duration) -> Self {
        Self { address, connections, during: Some(during), warm_up: during / 10, rate: None }
    }

    /// A closed loop until everything is sent.
    pub fn all(address: SocketAddr, connections: usize) -> Self {
        Self { address, connections, during: None, warm_up: Duration::ZERO, rate: None }
    }

    /// The same load at so many requests a second.
    pub fn at(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }
}

/// What one thread sends.
pub trait Script: Send {
    /// Appends the next request, whole, and returns a number to know its answer by; `None` if there is no more.
    fn next(&mut self, request: &mut Vec<u8>) -> Option<u64>;

    /// Takes the answer to a request.
    fn answered(&mut self, _number: u64, _status: u16, _body: &[u8]) {}
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Answers with a status of 200 to 299 that were counted.
    pub good: u64,
    /// Others.
    pub bad: u64,
    /// The time that was counted.
    pub seconds: f64,
    /// Time to each good answer.
    pub latencies: Histogram,
}

impl Outcome {
    /// Good answers a second.
    ///
    /// # Panics
    /// If an answer was bad: a figure of refusals would be none.
    pub fn rate(&self) -> f64 {
        assert_eq!(self.bad, 0, "{} of {} requests were refused", self.bad, self.good + self.bad);
        assert_ne!(self.good, 0, "nothing was answered in the time that counts");
        self.good as f64 / self.seconds
    }

    /// The time within which this part of the good answers came, in milliseconds.
    pub fn milliseconds(&self, part: f64) -> f64 {
        self.latencies.at(part) / 1e6
    }
}

/// Drives the load, with one script a thread; gives the scripts back.
///
/// # Panics
/// If the server closes a connection, says no HTTP, or says nothing for half a minute.
pub fn run<S: Script>(load: &Load, scripts: [S; THREADS]) -> (Outcome, [S; THREADS]) {
    let ready = Barrier::new(THREADS);
    let mut number = 0;
    let workers = scripts.map(|script| {
        number += 1;
        worker::Worker::connect(load, number - 1, script)
    });
    let done = std::thread::scope(|scope| {
        let running = workers.map(|worker| scope.spawn(|| worker.run(&ready)));
        running.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut total = Outcome { good: 0, bad: 0, seconds: 0.0, latencies: Histogram::default() };
    let scripts = done.map(|(outcome, script)| {
        total.good += outcome.good;
        total.bad += outcome.bad;
        total.seconds = total.seconds.max(outcome.seconds);
        total.latencies.merge(&outcome.latencies);
        script
    });
    (total, scripts)
}

/// A whole request, with a body if there is one.
pub fn write_request(request: &mut Vec<u8>, method: &str, path: &str, token: &str, body: &str) {
    for text in [method, " ", path, " HTTP/1.1\r\nHost: localhost\r\n"] {
        request.extend_from_slice(text.as_bytes());
    }
    if !token.is_empty() {
        for text in ["Authorization: Bearer ", token, "\r\n"] {
            request.extend_from_slice(text.as_bytes());
        }
    }
    if !body.is_empty() {
        request.extend_from_slice(b"Content-Type: application/json\r\nContent-Length: ");
        request.extend_from_slice(body.len().to_string().as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body.as_bytes());
}
