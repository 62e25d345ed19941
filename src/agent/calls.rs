//! The calls that wait for an agent's answer. Pure: a table of ids, bounded, that fails as a whole.

use std::collections::HashMap;

use crate::session::Reason;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The agent answered with an error of its own.
    #[error("the agent answered with an error: {message}")]
    Refused {
        /// The agent's words.
        message: String,
    },
    /// The agent ended before it answered. Whether it has acted on the request is unknown.
    #[error("the agent ended before it answered: {0}")]
    Lost(Reason),
    /// The time for the answer is over.
    #[error("the agent did not answer in time")]
    TimedOut,
    /// As many calls wait as may.
    #[error("the agent has too many requests in flight")]
    TooMany,
    /// The agent is lost or out of reach, and was not given the request: whoever asks again asks the next agent.
    #[error("the agent was not given the request: {0}")]
    NotGiven(Reason),
    /// The agent has said that its work is done, and was not given the request.
    #[error("the agent has finished and takes no more requests")]
    Finished,
    /// The agent's service gave no answer that counts. Whether it has acted on the request is unknown.
    #[error("the agent gave no answer: {0}")]
    NoAnswer(Reason),
    /// The agent is a plain command that takes no requests.
    #[error("this persona's agent takes no requests")]
    NotSpoken,
}

/// The calls in flight to one agent. `T` is how an answer is handed over.
#[derive(Debug)]
pub struct Calls<T> {
    first: u64,
    next: u64,
    most: usize,
    waiting: HashMap<u64, T>,
    ended: Option<CallError>,
}

impl<T> Calls<T> {
    /// An empty table for at most `most` calls at once.
    pub fn new(most: usize) -> Self {
        Self::numbered_from(1, most)
    }

    /// The same with `first` as the number of the first call.
    pub fn numbered_from(first: u64, most: usize) -> Self {
        Self { first, next: first, most, waiting: HashMap::new(), ended: None }
    }

    /// Notes a call; its number is unique for this agent.
    ///
    /// # Errors
    /// [`CallError::TooMany`] when the table is full, or the error with which it was closed.
    pub fn begin(&mut self, reply: T) -> Result<u64, CallError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.waiting.len() >= self.most {
            return Err(CallError::TooMany);
        }
        let id = self.take_number();
        self.waiting.insert(id, reply);
        Ok(id)
    }

    /// Goes on after the call with the number `last`, which an earlier server made.
    pub fn go_on_after(&mut self, last: u64) {
        self.next = self.next.max(last.saturating_add(1));
    }

    /// Waits for the answer to a call that an earlier server made.
    pub fn expect(&mut self, id: u64, reply: T) {
        self.waiting.insert(id, reply);
    }

    /// The next number, for a call that is not kept in the table.
    pub fn take_number(&mut self) -> u64 {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        id
    }

    /// Takes a call out of the table: it is answered or given up. `None` if it was before, or never was.
    pub fn finish(&mut self, id: u64) -> Option<T> {
        self.waiting.remove(&id)
    }

    /// Takes those out of the table whose numbers are above `last`.
    pub fn take_above(&mut self, last: u64) -> Vec<T> {
        let taken = self.waiting.extract_if(|id, _| *id > last);
        taken.map(|(_, reply)| reply).collect()
    }

    /// Whether a call with this number was ever begun: a late answer, not a wrong one.
    pub fn has_begun(&self, id: u64) -> bool {
        (self.first..self.next).contains(&id)
    }

    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Refuses further calls with `error`; those that wait go on waiting. The first error stays.
    pub fn refuse(&mut self, error: CallError) {
        self.ended.get_or_insert(error);
    }

    /// Ends the table: returns all who wait, and refuses further calls with `error`.
    pub fn close(&mut self, error: CallError) -> Vec<T> {
        self.refuse(error);
        self.waiting.drain().map(|(_, reply)| reply).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> CallError {
        CallError::Lost(Reason::new("killed"))
    }

    #[test]
    fn an_answer_finds_its_call_once() {
        let mut calls = Calls::new(8);
        let first = calls.begin("first").unwrap();
        let second = calls.begin("second").unwrap();
        assert_eq!(calls.finish(second), Some("second"));
        assert_eq!(calls.finish(second), None);
        assert_eq!(calls.finish(first), Some("first"));
    }

    #[test]
    fn a_late_answer_differs_from_a_wrong_one() {
        let mut calls = Calls::new(8);
        let id = calls.begin(()).unwrap();
        calls.finish(id);
        assert!(calls.has_begun(id));
        assert!(!calls.has_begun(id + 1));
        assert!(!calls.has_begun(0));
    }

    #[test]
    fn numbers_go_on_from_the_first_whether_or_not_a_call_is_kept() {
        let mut calls = Calls::numbered_from(1_000, 8);
        assert_eq!(calls.begin(()), Ok(1_000));
        assert_eq!(calls.take_number(), 1_001);
        assert_eq!(calls.begin(()), Ok(1_002));
        assert!(!calls.has_begun(999));
    }

    #[test]
    fn a_full_table_refuses_and_has_room_again_after_an_answer() {
        let mut calls = Calls::new(1);
        let id = calls.begin(()).unwrap();
        assert_eq!(calls.begin(()), Err(CallError::TooMany));
        calls.finish(id);
        assert!(calls.begin(()).is_ok());
    }

    #[test]
    fn an_agent_that_is_ending_takes_no_further_calls_and_may_answer_those_it_has() {
        let mut calls = Calls::new(8);
        let id = calls.begin("a").unwrap();
        calls.refuse(lost());
        assert_eq!(calls.begin("b"), Err(lost()));
        assert_eq!(calls.finish(id), Some("a"));
    }

    #[test]
    fn calls_that_were_never_made_are_told_from_those_that_were() {
        let mut calls = Calls::new(8);
        let ids = ["a", "b", "c"].map(|reply| calls.begin(reply).unwrap());
        assert_eq!(calls.take_above(ids[1]), ["c"]);
        assert_eq!((calls.finish(ids[2]), calls.finish(ids[1])), (None, Some("b")));
    }

    #[test]
    fn closing_hands_back_all_who_wait_and_refuses_the_rest_with_the_first_reason() {
        let mut calls = Calls::new(8);
        calls.begin("a").unwrap();
        calls.begin("b").unwrap();
        assert_eq!(calls.close(lost()).len(), 2);
        assert!(calls.close(CallError::TimedOut).is_empty());
        assert_eq!(calls.begin("c"), Err(lost()));
    }
}
