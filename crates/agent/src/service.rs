//! The loop over what the desk says, in threads that take turns: the one that reads a request hands the reading on and
//! answers the request itself, so that a request costs no switch of threads and a long one holds up nobody.

use std::io::{self, BufRead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::desk::{InFlight, lock};
use super::message::Message;
use super::{Agent, Answer, Desk, Failure, Request, Session};

/// Threads that read or wait to read, when there is nothing to do.
const MOST_SPARE: usize = 4;

/// An agent at work.
pub(super) struct Service<A, R> {
    turn: Mutex<Turn<A, R>>,
    /// Threads that have the turn or wait for it.
    readers: AtomicUsize,
    end: Mutex<Option<io::Result<()>>>,
    ended: Condvar,
}

/// What the thread has that reads.
struct Turn<A, R> {
    input: R,
    agent: Arc<A>,
    is_ready: bool,
    desk: Desk,
    in_flight: Arc<InFlight>,
    is_over: bool,
}

impl<A: Agent, R: BufRead + Send + 'static> Service<A, R> {
    pub(super) fn new(agent: A, input: R, desk: Desk, in_flight: Arc<InFlight>) -> Arc<Self> {
        let turn = Turn { input, agent: Arc::new(agent), is_ready: false, desk, in_flight, is_over: false };
        Arc::new(Self {
            turn: Mutex::new(turn),
            readers: AtomicUsize::new(0),
            end: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    /// Serves until `shutdown` or the end of the input.
    pub(super) fn run(self: &Arc<Self>) -> io::Result<()> {
        self.add_reader()?;
        let mut end = lock(&self.end);
        loop {
            if let Some(end) = end.take() {
                return end;
            }
            end = self.ended.wait(end).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add_reader(self: &Arc<Self>) -> io::Result<()> {
        let this = Arc::clone(self);
        self.readers.fetch_add(1, Ordering::SeqCst);
        let thread = std::thread::Builder::new().name("agent".to_owned());
        let started = thread.spawn(move || this.take_turns());
        if started.is_err() {
            self.readers.fetch_sub(1, Ordering::SeqCst);
        }
        started.map(drop)
    }

    fn take_turns(self: &Arc<Self>) {
        loop {
            let next = lock(&self.turn).next_request();
            let (agent, request) = match next {
                Ok(Some(next)) => next,
                Ok(None) => return,
                Err(Over(end)) => {
                    *lock(&self.end) = Some(end);
                    self.ended.notify_all();
                    return;
                }
            };
            if self.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
                // Without a thread for the rest, this one reads on when it is done.
                let _ = self.add_reader();
            }
            answer(&*agent, request);
            if self.readers.fetch_add(1, Ordering::SeqCst) >= MOST_SPARE {
                self.readers.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

/// The input has ended, or failed.
struct Over(io::Result<()>);

impl<A: Agent, R: BufRead> Turn<A, R> {
    /// Sees to all that comes before the next request; `None` if another thread has seen the end.
    fn next_request(&mut self) -> Result<Option<(Arc<A>, Request)>, Over> {
        let mut line = Vec::new();
        while !self.is_over {
            line.clear();
            let read = self.input.read_until(b'\n', &mut line);
            let message = match read {
                Ok(0) => Message::Shutdown,
                Ok(_) => Message::read(&line),
                Err(error) => {
                    self.is_over = true;
                    return Err(Over(Err(error)));
                }
            };
            match message {
                Message::Nothing => {}
                Message::Malformed => self.desk.log("a line that is no message"),
                Message::Initialize { id, params } => self.initialize(id, params),
                Message::Request { id, value } if self.is_ready => {
                    let request = Request::new(id, value, &self.desk, &self.in_flight);
                    return Ok(Some((Arc::clone(&self.agent), request)));
                }
                Message::Request { id, .. } => self.refuse(id, &Failure::new("a request before initialize")),
                Message::Cancel { id } => self.in_flight.cancel(id),
                Message::Ping { id } => self.desk.answer(id, &Ok("{}".into())),
                Message::Unknown { id } => {
                    self.refuse(id, &Failure::coded(Failure::UNKNOWN_METHOD, "unknown method"));
                }
                Message::Shutdown => {
                    self.is_over = true;
                    return Err(Over(Ok(())));
                }
            }
        }
        Ok(None)
    }

    fn initialize(&mut self, id: u64, params: Result<Session, Failure>) {
        // Shared only once it is ready.
        let Some(agent) = Arc::get_mut(&mut self.agent).filter(|_| !self.is_ready) else {
            return self.refuse(id, &Failure::new("a second initialize"));
        };
        match params.and_then(|session| contained(|| agent.initialize(session, &self.desk))) {
            Ok(ready) => {
                self.is_ready = true;
                self.desk.answer(id, &Ok(serde_json::json!({"name": ready.name}).to_string()));
            }
            Err(failure) => self.refuse(id, &failure),
        }
    }

    fn refuse(&self, id: u64, failure: &Failure) {
        self.desk.answer(id, &Err(failure.clone()));
    }
}

/// Answers a request with what the author's code says.
fn answer(agent: &impl Agent, request: Request) {
    if let Some(answer) = contained(|| agent.request(&request)).map(Answer::into_text).transpose() {
        request.settle(&answer);
    }
}

/// Runs the author's code; a panic, which has told stderr of itself, is a failure like others.
fn contained<T>(code: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(code))
        .unwrap_or_else(|_| Err(Failure::coded(Failure::INTERNAL, "the agent panicked; its log says more")))
}
