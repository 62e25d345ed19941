//! The end of an agent's log, for a sentence that explains a failure: out of the file of a process, or out of the last
//! lines that a service has told.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use parking_lot::Mutex;

use crate::id::printable_whole;
use crate::session::reason::LOG_QUOTE;
use crate::shim::place::{LOG_MARK, Place};

/// Lines that are quoted.
const QUOTED_LINES: usize = 5;
/// Bytes of each of them, and of what an agent says of its progress.
const QUOTED_BYTES: usize = 300;
/// Bytes of the log that are looked at.
const READ_BYTES: u64 = 8 << 10;

/// The end of a log that is nowhere else. Many may write to it.
#[derive(Debug, Default)]
pub struct LogTail(Mutex<VecDeque<String>>);

impl LogTail {
    /// Adds a line; the oldest one goes if there are too many.
    pub fn note(&self, line: String) {
        let mut lines = self.0.lock();
        if lines.len() == QUOTED_LINES {
            lines.pop_front();
        }
        lines.push_back(kept(line));
    }

    /// The lines for a sentence that explains a failure; `None` if there are none.
    pub fn words(&self) -> Option<String> {
        let lines = self.0.lock();
        (!lines.is_empty()).then(|| quoted(lines.iter().map(String::as_str)))
    }
}

/// The beginning of a text, on memory of its own.
pub fn kept(text: String) -> String {
    if text.len() <= QUOTED_BYTES { text } else { text[..text.floor_char_boundary(QUOTED_BYTES)].to_owned() }
}

/// The last lines of the log in words: `last lines of its log: a | b`.
pub(super) async fn log_tail(place: &Place) -> String {
    let place = place.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut end = end_of(&place.older_log()).unwrap_or_default();
        end.extend(end_of(&place.log()).unwrap_or_default());
        end
    });
    in_words(&read.await.unwrap_or_default())
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(READ_BYTES)))?;
    let mut end = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut end)?;
    Ok(end)
}

fn in_words(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    // An agent is not explained by what the one before it wrote.
    let of_this_agent = text.lines().rev().take_while(|line| !line.starts_with(LOG_MARK));
    let mut lines: Vec<_> = of_this_agent.filter(|line| !line.trim().is_empty()).take(QUOTED_LINES).collect();
    lines.reverse();
    if lines.is_empty() {
        return "its log is empty".to_owned();
    }
    quoted(lines.into_iter().map(|line| &line[..line.floor_char_boundary(QUOTED_BYTES)]))
}

fn quoted<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<_> = lines.map(printable_whole).collect();
    format!("{LOG_QUOTE}{}", lines.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_quoted_one_line_each_and_cut() {
        assert_eq!(in_words(b""), "its log is empty");
        assert_eq!(in_words(b"\n \n"), "its log is empty");
        assert_eq!(in_words(b"of another\n--- agent 2 ---\n"), "its log is empty");
        assert_eq!(in_words(b"1\n2\n3\n4\n5\n6\n"), "last lines of its log: 2 | 3 | 4 | 5 | 6");
        assert_eq!(in_words(b"a\x1b[0m\xff\n"), "last lines of its log: a\\u{1b}[0m\u{fffd}");
        assert_eq!(in_words(&[b'x'; 5_000]), format!("last lines of its log: {}", "x".repeat(300)));
    }

    #[test]
    fn the_last_five_lines_are_told_in_order() {
        let tail = LogTail::default();
        assert_eq!(tail.words(), None);
        for line in 1..=7 {
            tail.note(line.to_string());
        }
        assert_eq!(tail.words().unwrap(), "last lines of its log: 3 | 4 | 5 | 6 | 7");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(kept("é".repeat(200)), "é".repeat(150));
        assert_eq!(kept(format!("x{}", "é".repeat(200))).len(), 299);
    }

    #[tokio::test]
    async fn what_came_before_the_log_was_begun_anew_counts() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        assert_eq!(log_tail(&place).await, "its log is empty");
        std::fs::write(place.older_log(), "old\n").unwrap();
        std::fs::write(place.log(), "new\n").unwrap();
        assert_eq!(log_tail(&place).await, "last lines of its log: old | new");
    }
}
