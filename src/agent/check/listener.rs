//! What a line from the agent is: an answer that is waited for, or a fault. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::agent::rpc::{self, BadLine, Message, Notification};
use crate::clock::Timestamp;
use crate::id::Printable;

use super::Finding;

/// Faults of one kind that are told one by one.
const MOST_QUOTED: usize = 3;
const ONLY_MESSAGES: &str = "nothing but JSON-RPC messages on stdout, one a line, in UTF-8";

/// Knows what was asked, and takes the answers.
#[derive(Debug, Default)]
pub(super) struct Listener {
    asked: BTreeMap<u64, Option<Answer>>,
    strays: usize,
    doubles: usize,
    has_finished: bool,
    /// What was explained, by the advice that was given.
    explained: BTreeSet<String>,
}

/// An answer, when it came, and whether it is an error.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) at: Timestamp,
    /// The error's code, if it has one, and its words.
    pub(super) error: Option<(Option<i64>, String)>,
}

impl Listener {
    /// Notes a call.
    pub(super) fn ask(&mut self, id: u64) {
        self.asked.insert(id, None);
    }

    /// The answer to a call, if it has come.
    pub(super) fn answer(&self, id: u64) -> Option<&Answer> {
        self.asked.get(&id).and_then(Option::as_ref)
    }

    /// Whether only messages have come.
    pub(super) fn is_clean(&self) -> bool {
        self.strays == 0
    }

    /// Whether no answer has come twice, or to a call that was never made.
    pub(super) fn is_paired(&self) -> bool {
        self.doubles == 0
    }

    /// Takes a line; returns what is worth telling. What was explained before is told without its explanation.
    pub(super) fn hear(&mut self, line: &[u8], now: Timestamp) -> Option<Finding> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let finding = match rpc::read(line) {
            Ok(Message::Answer { id, result }) => self.take(id, result.err(), line, now),
            Ok(Message::Notification { what, .. }) => self.told(&what, line),
            Err(bad) => self.stray(&bad, line),
        }?;
        let is_new = finding.change.clone().is_none_or(|change| self.explained.insert(change));
        Some(if is_new { finding } else { Finding { asked: None, change: None, ..finding } })
    }

    fn take(&mut self, id: u64, error: Option<String>, line: &[u8], at: Timestamp) -> Option<Finding> {
        let fault = match self.asked.get_mut(&id) {
            Some(waiting @ None) => {
                *waiting = Some(Answer { at, error: error.map(|words| (code_of(line), words)) });
                return None;
            }
            Some(Some(_)) => Finding::wrong(
                format!("it answers {id} twice"),
                "one answer to each call",
                "make sure that nothing answers again what was answered, for example after an error",
            ),
            None => Finding::wrong(
                format!("it answers {id}, which it was never asked"),
                "an answer's `id` is the call's own, as a number; another one loses the agent",
                "copy `id` from the call to its answer",
            ),
        };
        self.doubles += 1;
        (self.doubles <= MOST_QUOTED).then(|| fault.quoting(quoted(line)))
    }

    fn told(&mut self, notification: &Notification, line: &[u8]) -> Option<Finding> {
        let note = match notification {
            Notification::Finished { .. } if !self.has_finished => {
                self.has_finished = true;
                "it says `finished`: its session would end here"
            }
            Notification::Progress(text) if text.is_empty() => "its `progress` has no `TEXT`: nobody sees anything",
            Notification::Log(text) if text.is_empty() => "its `log` has no `TEXT`: nobody sees anything",
            Notification::TooDeep => "it nests deeper than 500 levels: a server drops it",
            Notification::Finished { .. }
            | Notification::Progress(_)
            | Notification::Log(_)
            | Notification::Event
            | Notification::Output
            | Notification::Other => {
                return None;
            }
        };
        Some(Finding::note(note).quoting(quoted(line)))
    }

    fn stray(&mut self, bad: &BadLine, line: &[u8]) -> Option<Finding> {
        const PRINT: &str = "print to stderr, which is the agent's log, and only messages to stdout";
        const FORM: &str = r#"write {"jsonrpc":"2.0","id":ID,"result":VALUE}, or "error" with a code and a message"#;
        self.strays += 1;
        let (sentence, change) = match bad {
            BadLine::NotText => ("it writes a line to stdout that is not UTF-8".to_owned(), "write UTF-8"),
            BadLine::NotJsonRpc { why, .. } => {
                let change = if line.trim_ascii_start().starts_with(b"{") { FORM } else { PRINT };
                (format!("it writes a line to stdout that is not a message: {why}"), change)
            }
        };
        let finding = || Finding::wrong(sentence, ONLY_MESSAGES, change).quoting(quoted(line));
        (self.strays <= MOST_QUOTED).then(finding)
    }

    /// What was too much to be quoted.
    pub(super) fn unquoted(&self) -> Option<Finding> {
        let more = self.strays.saturating_sub(MOST_QUOTED) + self.doubles.saturating_sub(MOST_QUOTED);
        (more > 0).then(|| Finding::note(format!("{more} more lines like those")))
    }
}

/// A line as it is shown.
pub(super) fn quoted(line: &[u8]) -> String {
    Printable(&String::from_utf8_lossy(line)).to_string()
}

fn code_of(line: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Wire {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
    }
    serde_json::from_slice::<Wire>(line).ok().map(|wire| wire.error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(7);

    fn listener(ids: &[u64]) -> Listener {
        let mut listener = Listener::default();
        for id in ids {
            listener.ask(*id);
        }
        listener
    }

    #[test]
    fn an_answer_is_kept_with_its_time_and_its_error() {
        let mut listener = listener(&[1, 2]);
        assert_eq!(listener.hear(br#"{"jsonrpc":"2.0","id":2,"result":null}"#, NOW), None);
        let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"what?"}}"#;
        assert_eq!(listener.hear(error, NOW), None);
        assert_eq!(listener.answer(1).unwrap().error, Some((Some(-32_601), "what?".to_owned())));
        assert_eq!((listener.answer(2).unwrap().at, &listener.answer(2).unwrap().error), (NOW, &None));
        assert!(listener.is_clean() && listener.is_paired());
    }

    #[test]
    fn a_second_answer_and_one_to_nobody_are_told_apart() {
        let mut listener = listener(&[1]);
        let answer = br#"{"jsonrpc":"2.0","id":1,"result":1}"#;
        assert_eq!(listener.hear(answer, NOW), None);
        assert_eq!(listener.hear(answer, NOW).unwrap().sentence, "it answers 1 twice");
        let other = br#"{"jsonrpc":"2.0","id":9,"result":1}"#;
        assert_eq!(listener.hear(other, NOW).unwrap().sentence, "it answers 9, which it was never asked");
        assert!(!listener.is_paired());
    }

    #[test]
    fn a_fault_is_explained_once_quoted_three_times_and_counted_after_that() {
        let mut listener = listener(&[]);
        let found: Vec<_> = (0..5).map(|_| listener.hear(b"hello\x1b[1m", NOW)).collect();
        assert!(found[0].as_ref().unwrap().change.is_some());
        assert_eq!(found[2].as_ref().unwrap().change, None);
        assert_eq!(found[2].as_ref().unwrap().line.as_deref(), Some("hello\\u{1b}[1m"));
        assert_eq!(found[3..], [None, None]);
        assert_eq!(listener.unquoted().unwrap().sentence, "2 more lines like those");
        assert!(!listener.is_clean());
    }
}
