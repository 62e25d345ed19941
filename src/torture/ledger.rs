//! What is known of the run as a whole: whom chaos has touched, what happened how often, and what was found.
//!
//! A session that chaos touches is counted up twice, before and after: an odd number means that its agent may be lost
//! at any moment, an even one that is the same at two times means that nobody touched it between them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::id::SessionId;

/// More than so many findings say nothing new.
const MOST_FINDINGS: usize = 100;

/// How often one session's processes may be touched: well below the losses that end a session.
pub(super) const MOST_TOUCHES: u32 = 4;

/// How often something happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sessions that were created.
    pub created: usize,
    /// Agents of which a client was told that they run.
    pub initialised: usize,
    /// Requests that an agent answered.
    pub answered: usize,
    /// Sessions whose end was promised.
    pub stopped: usize,
    /// Calls without an answer.
    pub lost: usize,
    /// Sessions that have an agent or may have one.
    pub running: usize,
    /// Servers that were killed.
    pub servers: usize,
    /// Launchers that were killed.
    pub launchers: usize,
    /// Shims that were killed.
    pub shims: usize,
    /// Agents that were killed.
    pub agents: usize,
    /// Processes that were held for a while.
    pub held: usize,
    /// What was found.
    pub findings: usize,
}

/// The ledger of one run.
#[derive(Debug)]
pub(super) struct Ledger {
    book: Mutex<Book>,
    most_running: usize,
    running: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    touches: HashMap<SessionId, u32>,
    /// Sessions whose end was promised, until chaos looks for their directories.
    ended: Vec<SessionId>,
    tally: Tally,
    findings: Vec<String>,
    is_hopeless: bool,
}

impl Ledger {
    /// An empty one; at most so many sessions may have an agent.
    pub(super) fn new(most_running: usize) -> Self {
        Self { book: Mutex::default(), most_running, running: AtomicUsize::new(0) }
    }

    /// Notes something that must not be.
    pub(super) fn find(&self, sentence: String) {
        let mut book = self.book();
        book.tally.findings += 1;
        if book.findings.len() < MOST_FINDINGS {
            book.findings.push(sentence);
        }
    }

    /// Notes something after which there is no point in going on.
    pub(super) fn give_up(&self, sentence: String) {
        self.find(sentence);
        self.book().is_hopeless = true;
    }

    /// Whether there is no point in going on.
    pub(super) fn is_hopeless(&self) -> bool {
        self.book().is_hopeless
    }

    /// What was found, the oldest first.
    pub(super) fn findings(&self) -> Vec<String> {
        self.book().findings.clone()
    }

    /// Counts something.
    pub(super) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.book().tally);
    }

    /// What was counted.
    pub(super) fn tally(&self) -> Tally {
        Tally { running: self.running.load(Ordering::SeqCst), ..self.book().tally }
    }

    /// Takes the place of a session with an agent; false if all are taken.
    pub(super) fn take_place(&self) -> bool {
        let take = |running| (running < self.most_running).then_some(running + 1);
        self.running.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }

    /// Gives such a place back.
    pub(super) fn give_place(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }

    /// How often the session was touched; odd while it is being.
    pub(super) fn touches(&self, session: SessionId) -> u32 {
        self.book().touches.get(&session).copied().unwrap_or(0)
    }

    /// Counts up once more.
    pub(super) fn touch(&self, session: SessionId) {
        *self.book().touches.entry(session).or_default() += 1;
    }

    /// Counts up a session that nobody is at and that may be touched once more, and returns the count before.
    pub(super) fn touch_untouched(&self, session: SessionId) -> Option<u32> {
        let mut book = self.book();
        let touches = book.touches.entry(session).or_default();
        let before = *touches;
        is_free(before).then(|| {
            *touches += 1;
            before
        })
    }

    /// Whether nobody is at a session, and it may be touched once more.
    pub(super) fn is_untouched(&self, session: SessionId) -> bool {
        is_free(self.touches(session))
    }

    /// Notes that a session's end was promised.
    pub(super) fn note_end(&self, session: SessionId) {
        let mut book = self.book();
        book.touches.remove(&session);
        book.ended.push(session);
    }

    /// The sessions whose end was promised since the last call.
    pub(super) fn take_ended(&self) -> Vec<SessionId> {
        std::mem::take(&mut self.book().ended)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }
}

fn is_free(touches: u32) -> bool {
    touches.is_multiple_of(2) && touches < 2 * MOST_TOUCHES
}
