//! The shim's loop: one poll over everything that may happen, and one look at what follows from it.
//!
//! It never blocks elsewhere, so that no server and no agent can keep it from the others. What has to be done at some
//! time is in `settle`.

use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::clock::{Timestamp, boot_time};

use super::agent::Agent;
use super::cgroup::Group;
use super::connection::{Connection, Heard, Lost};
use super::ending::Ending;
use super::input::{Input, Sender, Verdict};
use super::lineage::Lineage;
use super::order::Order;
use super::output::Output;
use super::place::Place;
use super::settle::Progress;
use super::signals::Signals;
use super::visitor::{Visit, Visitor};
use super::watch::Watch;
use super::wire::Kind;

/// The longest that the shim sleeps.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// Visitors that may stand at the door at once; more wait outside.
const MOST_VISITORS: usize = 4;

/// Where the shim can be found.
#[derive(Debug)]
pub(super) struct Door {
    /// The session's directory.
    pub(super) directory: File,
    /// The socket in it.
    pub(super) listener: UnixListener,
}

/// A shim with its agent.
pub(super) struct Shim {
    pub(super) order: Order,
    pub(super) place: Place,
    pub(super) door: Door,
    signals: Signals,
    pub(super) agent: Agent,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) watch: Watch,
    pub(super) connection: Option<Connection>,
    pub(super) visitors: Vec<Visitor>,
    /// Connections so far.
    senders: u64,
    pub(super) ending: Option<Ending>,
    pub(super) because: Option<String>,
    pub(super) progress: Progress,
    pub(super) lineage: Lineage,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Child,
    Terminate,
    Start,
    Stdin,
    Stdout,
    Stderr,
    Connection,
    Knock,
    Visitor,
}

impl Shim {
    /// A shim whose agent was just forked into this control group, and whose server is at the other end of `stream`.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn new(
        order: Order,
        door: Door,
        signals: Signals,
        agent: Agent,
        group: Option<Group>,
        (input, output): (Input, Output),
        stream: UnixStream,
    ) -> io::Result<Self> {
        let order = Order { arguments: Vec::new(), environment: Default::default(), ..order };
        let now = boot_time();
        let place = Place::new(&order.directory);
        Ok(Self {
            lineage: Lineage::new(&place, now),
            watch: Watch::new(&order.limits, &place.work(), group, std::process::id(), now),
            place,
            order,
            door,
            signals,
            agent,
            input,
            output,
            connection: Some(Connection::new(stream, Sender(1), 0)?),
            visitors: Vec::new(),
            senders: 1,
            ending: None,
            because: None,
            progress: Progress::new(now),
        })
    }

    /// Serves until nothing is left to do.
    pub(super) fn serve(&mut self) {
        // It may have ended before its signal was listened to.
        let mut happened = vec![Happening::Child];
        loop {
            let now = boot_time();
            for happening in happened {
                self.hear(happening, now);
            }
            self.settle(now);
            self.write(now);
            // What was written may have been the last before the word of the end.
            self.tell();
            if self.may_leave(now) {
                return;
            }
            happened = self.wait(boot_time());
        }
    }

    fn hear(&mut self, happening: Happening, now: Timestamp) {
        match happening {
            Happening::Child => {
                self.signals.clear_child();
                self.reap();
            }
            Happening::Terminate => {
                self.signals.clear_terminate();
                self.end_agent(now, self.order.stop_grace, Some("its shim was told to end by a signal".into()));
            }
            Happening::Start => self.hear_start(),
            Happening::Stdin => self.write_input(),
            Happening::Stdout => {
                self.output.read_stdout(now);
                self.lineage.note_activity(now);
            }
            Happening::Stderr => self.output.read_stderr(now),
            Happening::Connection => self.hear_connection(now),
            Happening::Knock => self.open_door(now),
            Happening::Visitor => self.hear_visitors(now),
        }
    }

    fn hear_start(&mut self) {
        self.agent.hear_start();
        if self.agent.has_started() && self.watch.begun() {
            self.output.note("its limits are not kept by a control group, since it could not enter its own");
        }
    }

    fn hear_connection(&mut self, now: Timestamp) {
        let Some(connection) = &mut self.connection else { return };
        let (sender, mut heard) = (connection.sender(), Vec::new());
        let outcome = connection.hear(&self.place, &mut heard);
        for said in heard {
            match said {
                Heard::Deliver(number, line) => match self.input.accept(number, sender, line) {
                    Verdict::Accepted => self.write_input(),
                    Verdict::Taken => self.answer(Kind::Taken, number, sender, ""),
                    Verdict::Refused => {
                        return self
                            .lose_connection(&Lost::Rules("it sent a line before the last was taken".into()), now);
                    }
                },
                Heard::Lost(number, error) => self.refuse_line(number, sender, &error),
                Heard::Acknowledge(u64::MAX) => self.progress.note_release(),
                Heard::Acknowledge(upto) => self.output.acknowledge(upto),
                Heard::Stop(grace) => self.end_agent(now, grace, None),
                Heard::Note(line) => self.output.write_down(line),
            }
        }
        if let Err(lost) = outcome {
            self.lose_connection(&lost, now);
        }
    }

    /// A disk without room is the fault of that one line: the agent goes on, and so does the connection.
    fn refuse_line(&mut self, number: u64, sender: Sender, error: &io::Error) {
        if !self.input.wants_line(number) {
            return self.answer(Kind::Taken, number, sender, "");
        }
        let why = format!("a line for the agent was too long for memory and could not be kept in a file: {error}");
        self.output.note(&why);
        self.answer(Kind::Refused, number, sender, &why);
    }

    fn answer(&mut self, kind: Kind, number: u64, sender: Sender, words: &str) {
        if let Some(connection) = self.connection.as_mut().filter(|connection| connection.sender() == sender) {
            connection.say(kind, number, words.as_bytes());
        }
    }

    pub(super) fn write_input(&mut self) {
        let connection = &mut self.connection;
        self.input.write(|number, sender| {
            if let Some(connection) = connection.as_mut().filter(|connection| connection.sender() == sender) {
                connection.say(Kind::Taken, number, &[]);
            }
        });
    }

    fn open_door(&mut self, now: Timestamp) {
        if let Ok((stream, _)) = self.door.listener.accept() {
            self.visitors.extend(Visitor::new(stream, now));
        }
    }

    /// Hears all of them: they are few, and which one spoke does not matter.
    fn hear_visitors(&mut self, now: Timestamp) {
        let mut welcome = None;
        self.visitors.retain_mut(|visitor| match visitor.hear(&self.order) {
            Visit::Undecided => true,
            Visit::Welcome(stream) => {
                welcome = Some(stream);
                false
            }
            Visit::Refused => false,
        });
        let Some(stream) = welcome else { return };
        self.senders += 1;
        // It takes the place of the one before, which is gone or will hear of it by the end of its connection.
        let sender = Sender(self.senders);
        self.connection = Connection::new(stream, sender, self.output.spool().acknowledged()).ok();
        self.progress.note_connection(self.connection.is_some(), now);
    }

    fn write(&mut self, now: Timestamp) {
        let Some(connection) = &mut self.connection else { return };
        if let Err(lost) = connection.write(self.output.spool()) {
            self.lose_connection(&lost, now);
        }
    }

    fn lose_connection(&mut self, lost: &Lost, now: Timestamp) {
        if !matches!(lost, Lost::Closed) {
            self.output.note(&format!("connection lost: {lost}"));
        }
        self.connection = None;
        self.progress.note_connection(false, now);
    }

    /// Sleeps until something happens, or it is time for something.
    fn wait(&self, now: Timestamp) -> Vec<Happening> {
        let sleep = self.next_time(now).map_or(LONGEST_NAP, |at| at.saturating_since(now).min(LONGEST_NAP));
        let timeout = Timespec::try_from(sleep).ok();
        let mut watched = Vec::with_capacity(16);
        let mut watch = |happening, descriptor, flags| {
            watched.push((happening, PollFd::from_borrowed_fd(descriptor, flags)));
        };
        watch(Happening::Child, self.signals.child(), PollFlags::IN);
        watch(Happening::Terminate, self.signals.terminate(), PollFlags::IN);
        if let Some(start) = self.agent.starting() {
            watch(Happening::Start, start, PollFlags::IN);
        }
        if let Some(connection) = &self.connection {
            let has_to_write = connection.has_to_write(self.output.spool());
            let flags = if has_to_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            watch(Happening::Connection, connection.wants(), flags);
        }
        if let Some(stdin) = self.input.wants() {
            watch(Happening::Stdin, stdin, PollFlags::OUT);
        }
        if let Some(stdout) = self.output.wants_stdout(now) {
            watch(Happening::Stdout, stdout, PollFlags::IN);
        }
        if let Some(stderr) = self.output.wants_stderr(now) {
            watch(Happening::Stderr, stderr, PollFlags::IN);
        }
        for visitor in &self.visitors {
            watch(Happening::Visitor, visitor.wants(), PollFlags::IN);
        }
        if self.visitors.len() < MOST_VISITORS {
            watch(Happening::Knock, std::os::fd::AsFd::as_fd(&self.door.listener), PollFlags::IN);
        }
        let (happenings, mut descriptors): (Vec<_>, Vec<_>) = watched.into_iter().unzip();
        if rustix::event::poll(&mut descriptors, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = descriptors.iter().map(|descriptor| !descriptor.revents().is_empty());
        happenings.into_iter().zip(ready).filter_map(|(happening, ready)| ready.then_some(happening)).collect()
    }
}
