//! What follows from time and from what has happened: the ending of an agent, the end of its tree, and when a shim may
//! leave.
//!
//! ```text
//! agent runs ──> it is ended, or ends ──> its tree is killed, until nobody is left ──> its pipes are drained
//!            ──> its end is noted ──> the server is told ──> the server has stored it, or there is none: the shim leaves
//! ```

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::failpoint::Failpoint;

use super::ending::{Ending, Measure};
use super::output::BETWEEN_TRIES;
use super::place::Record;
use super::serve::Shim;
use super::tree;
use super::wire::{End, Welcome};

/// How often the shim looks whether its directory is still there.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
/// The shortest and the longest time between two attempts to kill a tree.
const KILL_AGAIN: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// How far a shim is.
#[derive(Debug)]
pub(super) struct Progress {
    /// Since when there is no server.
    alone_since: Option<Timestamp>,
    look_at: Timestamp,
    has_directory: bool,
    killing: Killing,
    /// How the agent ended, once all of its output is in the spool.
    end: Option<End>,
    noting: Noting,
    is_released: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Killing {
    No,
    /// The next attempt, and how long to wait after it.
    Again(Timestamp, Duration),
    /// Nobody is left.
    Done,
}

#[derive(Debug, PartialEq, Eq)]
enum Noting {
    At(Timestamp),
    Done,
}

impl Progress {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            alone_since: None,
            look_at: now + BETWEEN_LOOKS,
            has_directory: true,
            killing: Killing::No,
            end: None,
            noting: Noting::At(now),
            is_released: false,
        }
    }

    /// There is a server, or there is none.
    pub(super) fn note_connection(&mut self, is_there: bool, now: Timestamp) {
        self.alone_since = if is_there { None } else { self.alone_since.or(Some(now)) };
    }

    /// The server has stored the end, if it was told.
    pub(super) fn note_release(&mut self) {
        self.is_released = self.end.is_some();
    }

    fn kill(&mut self, now: Timestamp) {
        if self.killing == Killing::No {
            self.killing = Killing::Again(now, KILL_AGAIN[0]);
        }
    }
}

impl Shim {
    /// Does what is due at `now`.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.visitors.retain(|visitor| now < visitor.until());
        self.look_at_directory(now);
        self.look_at_limits(now);
        self.lineage.write_if_due(&self.place, std::process::id(), now);
        self.go_on_ending(now);
        self.go_on_killing(now);
        self.output.retry(now);
        self.settle_end(now);
        self.tell();
    }

    /// When something is due next.
    pub(super) fn next_time(&self, now: Timestamp) -> Option<Timestamp> {
        let progress = &self.progress;
        let killing = if let Killing::Again(at, _) = progress.killing { Some(at) } else { None };
        let has_to_note = progress.end.is_some() && progress.has_directory;
        let noting = if let Noting::At(at) = progress.noting { has_to_note.then_some(at) } else { None };
        let is_alive = progress.killing == Killing::No;
        let look = progress.has_directory.then_some(progress.look_at);
        let own = [killing, noting, self.output.retry_at(), self.output.paused_until(now), look];
        let ending = self.ending.as_ref().map(Ending::next).or_else(|| self.orphaned_at());
        let alive = [Some(self.watch.next()), ending, self.lineage.due()];
        let visitors = self.visitors.iter().map(|visitor| visitor.until());
        own.into_iter().flatten().chain(alive.into_iter().flatten().filter(|_| is_alive)).chain(visitors).min()
    }

    /// Whether there is nothing left to do, and nobody left to tell.
    pub(super) fn may_leave(&self, now: Timestamp) -> bool {
        let progress = &self.progress;
        let is_noted = progress.noting == Noting::Done || !progress.has_directory;
        let has_waited = self.orphaned_at().is_some_and(|at| now >= at);
        match (&progress.end, &self.connection) {
            (Some(_), Some(_)) => progress.is_released,
            (Some(_), None) => is_noted || has_waited,
            // Its output can't be kept: nobody will ever ask for it.
            (None, None) => progress.killing == Killing::Done && (has_waited || !progress.has_directory),
            (None, Some(_)) => false,
        }
    }

    /// Orders the agent to end, in `grace` at most. The first reason counts.
    pub(super) fn end_agent(&mut self, now: Timestamp, grace: Duration, because: Option<String>) {
        match &mut self.ending {
            Some(ending) => ending.hasten(now, grace),
            None => {
                self.ending = Some(Ending::begin(now, grace, self.order.speaks));
                self.because = because;
                self.input.end();
                self.write_input();
            }
        }
    }

    /// Notes which of its children have ended, and returns whether any are left.
    pub(super) fn reap(&mut self) -> bool {
        tree::reap(|pid, status| {
            if pid == self.agent.pid() {
                self.agent.note_end(status);
            }
        })
    }

    fn orphaned_at(&self) -> Option<Timestamp> {
        self.progress.alone_since.map(|since| since + self.order.orphan_timeout)
    }

    fn look_at_directory(&mut self, now: Timestamp) {
        if now < self.progress.look_at || !self.progress.has_directory {
            return;
        }
        self.progress.look_at = now + BETWEEN_LOOKS;
        self.progress.has_directory = self.is_in_place();
        if !self.progress.has_directory {
            self.because.get_or_insert_with(|| "its directory is gone".into());
            self.progress.kill(now);
        }
    }

    /// Whether the directory's path still leads to the directory. One that can't be looked at is no reason to end.
    fn is_in_place(&self) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.place.root().metadata(), self.door.directory.metadata()) {
            (Ok(path), Ok(open)) => identity(path) == identity(open),
            (Err(error), _) => {
                !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
            }
            (Ok(_), Err(_)) => true,
        }
    }

    /// The one place where limits of a running agent are looked at.
    fn look_at_limits(&mut self, now: Timestamp) {
        if self.progress.killing != Killing::No {
            return;
        }
        let Some(look) = self.watch.look(now) else { return };
        self.lineage.write(&self.place, &look.processes);
        if let Some(connection) = &mut self.connection {
            connection.usage(look.usage);
        }
        if let Some(breach) = look.breach {
            self.because.get_or_insert(breach);
            self.progress.kill(now);
        }
    }

    fn go_on_ending(&mut self, now: Timestamp) {
        if self.agent.end().is_some() {
            self.progress.kill(now);
        }
        if self.progress.killing != Killing::No {
            return;
        }
        if self.ending.is_none() && self.orphaned_at().is_some_and(|at| now >= at) {
            let time = humantime::format_duration(self.order.orphan_timeout);
            self.end_agent(now, self.order.stop_grace, Some(format!("no server for {time}")));
        }
        match self.ending.as_mut().map(|ending| ending.measure(now)) {
            Some(Measure::Terminate) => self.agent.terminate(),
            Some(Measure::Kill) => self.progress.kill(now),
            Some(Measure::Wait) | None => {}
        }
    }

    fn go_on_killing(&mut self, now: Timestamp) {
        let Killing::Again(at, pause) = self.progress.killing else { return };
        if now < at {
            return;
        }
        self.because = self.because.take().or_else(|| self.watch.killed());
        self.watch.kill();
        tree::kill();
        let is_anything_left = self.reap() || !self.watch.remove_group();
        self.progress.killing =
            if is_anything_left { Killing::Again(now + pause, KILL_AGAIN[1].min(pause * 2)) } else { Killing::Done };
    }

    fn settle_end(&mut self, now: Timestamp) {
        if self.progress.end.is_none() {
            let Some(how) = self.agent.end().filter(|_| self.progress.killing == Killing::Done).cloned() else {
                return;
            };
            if !self.output.drain(now) {
                return;
            }
            self.progress.end =
                Some(End { how, because: self.because.clone(), last_begun: Some(self.input.last_begun()) });
            self.progress.noting = Noting::At(now);
        }
        if self.progress.has_directory
            && let Noting::At(at) = self.progress.noting
            && now >= at
        {
            self.note_end(now);
        }
    }

    /// A disk that refuses is asked again; the server is told meanwhile.
    fn note_end(&mut self, now: Timestamp) {
        let Some(end) = self.progress.end.clone() else { return };
        let record = Record {
            epoch: self.order.epoch,
            end,
            acknowledged: self.output.spool().acknowledged(),
            last_call: self.input.last_call(),
        };
        if Failpoint::ShimBeforeEnd.hit() || self.place.write_end(&record).is_err() {
            self.progress.noting = Noting::At(now + BETWEEN_TRIES);
            return;
        }
        self.progress.noting = Noting::Done;
        Failpoint::ShimAfterEnd.hit();
    }

    /// Says to the server what it has not heard.
    pub(super) fn tell(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let (spool, end) = (self.output.spool(), &self.progress.end);
        let json = "numbers and text are JSON";
        if self.agent.has_started() {
            connection.welcome(self.order.epoch.0.into(), || {
                let welcome = Welcome {
                    pid: self.agent.pid().as_raw_nonzero().get().unsigned_abs(),
                    last_call: self.input.last_call(),
                    acknowledged: spool.acknowledged(),
                    limits: self.watch.words(),
                };
                serde_json::to_vec(&welcome).expect(json)
            });
        }
        if !self.output.is_closed() || !connection.is_caught_up(spool.end()) {
            return;
        }
        if self.order.speaks || end.is_some() {
            connection.closed(spool.end());
        }
        if let Some(end) = end {
            connection.ended(spool.end(), || serde_json::to_vec(end).expect(json));
        }
    }
}
