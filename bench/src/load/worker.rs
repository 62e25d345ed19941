//! One thread of the load: its connections behind one epoll.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::{Histogram, Load, Outcome, Script, THREADS};

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Worker<S> {
    load: Load,
    number: usize,
    script: S,
    has_more: bool,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Those without a request under way.
    idle: VecDeque<usize>,
    outcome: Outcome,
    last: Instant,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    filled: usize,
    number: u64,
    /// When the request was sent, or was to be.
    due: Instant,
}

impl<S: Script> Worker<S> {
    pub(super) fn connect(load: &Load, number: usize, script: S) -> Self {
        let count = load.connections / THREADS + usize::from(number < load.connections % THREADS);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
        let connections: Vec<_> = (0..count).map(|_| Connection::open(load)).collect();
        for (place, connection) in connections.iter().enumerate() {
            let data = epoll::EventData::new_u64(place as u64);
            epoll::add(&epoll, &connection.stream, data, epoll::EventFlags::IN).expect("a descriptor");
        }
        let outcome = Outcome { good: 0, bad: 0, seconds: 0.0, latencies: Histogram::default() };
        let (idle, last) = ((0..count).collect(), Instant::now());
        Self { load: *load, number, script, has_more: count > 0, epoll, connections, idle, outcome, last }
    }

    pub(super) fn run(mut self, ready: &Barrier) -> (Outcome, S) {
        // The default lets a wait run 50 us over.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        ready.wait();
        let begun = Instant::now();
        let counted = begun + self.load.warm_up;
        let end = self.load.during.map(|during| begun + during);
        let between = self.load.rate.map(|rate| Duration::from_secs_f64(THREADS as f64 / rate));
        // Threads take turns.
        let mut due = begun + between.unwrap_or_default() * self.number as u32 / THREADS as u32;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1_024);
        loop {
            let now = Instant::now();
            self.has_more &= end.is_none_or(|end| now < end);
            while self.has_more && !self.idle.is_empty() && between.is_none_or(|_| due <= now) {
                self.send(if between.is_some() { due } else { now });
                due += between.unwrap_or_default();
            }
            if !self.has_more && self.idle.len() == self.connections.len() {
                break;
            }
            let is_waiting_for_time = self.has_more && !self.idle.is_empty();
            let patience = if is_waiting_for_time { due.saturating_duration_since(now) } else { PATIENCE };
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timespec(patience))).expect("events");
            assert!(is_waiting_for_time || !events.is_empty(), "no answer within half a minute");
            for event in &events {
                self.receive(event.data.u64() as usize, counted, end);
            }
        }
        let until = end.unwrap_or(self.last);
        self.outcome.seconds = until.saturating_duration_since(counted).as_secs_f64();
        (self.outcome, self.script)
    }

    /// Sends the next request over an idle connection, if there is one more.
    fn send(&mut self, due: Instant) {
        let Some(place) = self.idle.pop_front() else { return };
        let connection = &mut self.connections[place];
        connection.request.clear();
        let Some(number) = self.script.next(&mut connection.request) else {
            self.has_more = false;
            self.idle.push_back(place);
            return;
        };
        (connection.number, connection.due, connection.filled) = (number, due, 0);
        connection.stream.write_all(&connection.request).expect("a request fits into the socket's buffer");
    }

    fn receive(&mut self, place: usize, counted: Instant, end: Option<Instant>) {
        let connection = &mut self.connections[place];
        let Some((status, body)) = connection.read() else { return };
        let now = Instant::now();
        // At a fixed rate a late answer counts as well, or stalls at the end would not show.
        let (begins, ends) = if self.load.rate.is_some() { (connection.due, connection.due) } else { (now, now) };
        if begins >= counted && end.is_none_or(|end| ends <= end) {
            if (200..300).contains(&status) {
                self.outcome.good += 1;
                self.outcome.latencies.add(now.duration_since(connection.due).as_nanos() as u64);
            } else {
                self.outcome.bad += 1;
            }
        }
        self.last = now;
        self.script.answered(connection.number, status, &connection.answer[body]);
        self.idle.push_back(place);
    }
}

impl Connection {
    fn open(load: &Load) -> Self {
        let stream = TcpStream::connect(load.address).expect("a server that listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_nonblocking(true).expect("a socket");
        Self { stream, request: Vec::new(), answer: vec![0; 1_024], filled: 0, number: 0, due: Instant::now() }
    }

    /// Reads what is there; the status and the place of the body once the answer is whole.
    fn read(&mut self) -> Option<(u16, std::ops::Range<usize>)> {
        if self.filled == self.answer.len() {
            self.answer.resize(2 * self.filled, 0);
        }
        match self.stream.read(&mut self.answer[self.filled..]) {
            Ok(0) => panic!("the server closed a connection that waits for an answer"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("the server reset a connection: {error}"),
        }
        let (status, body) = head(&self.answer[..self.filled])?;
        if body.end > self.answer.len() {
            self.answer.resize(body.end, 0);
        }
        (self.filled >= body.end).then_some((status, body))
    }
}

/// Reads the head of an answer; nothing if more has to come.
fn head(answer: &[u8]) -> Option<(u16, std::ops::Range<usize>)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = response.parse(answer).expect("an answer in HTTP") else { return None };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let length = length.unwrap_or(Some(0)).expect("a length that is a number");
    Some((response.code.expect("a status"), start..start + length))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
