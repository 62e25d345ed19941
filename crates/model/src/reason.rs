//! Why something ended or failed: a sentence for everybody, and beside it what only operators see. Pure; stored as text.
//!
//! The stored text is the sentence, and after a line feed the detail. Versions that knew only the sentence wrote the
//! agent's log lines into it: reading such a text moves them to the detail.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Begins the quoted lines of an agent's log.
pub const LOG_QUOTE: &str = "last lines of its log: ";

/// Bytes of a sentence, and of a detail, that are kept: a chatty agent can't fill the store.
const MOST_BYTES: usize = 2_000;

/// Why something ended or failed. Holds no secret.
///
/// `Display` writes the sentence alone, which customers may read; [`Reason::in_full`] is for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason(Box<str>);

impl Reason {
    /// A reason without detail.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(one_line(sentence.into()).into())
    }

    /// The same reason with a detail for operators: lines of the agent's log, a path, what the system said.
    #[must_use]
    pub fn with_detail(&self, detail: impl fmt::Display) -> Self {
        Self(format!("{}\n{}", self.sentence(), one_line(detail.to_string())).into())
    }

    /// The same detail under another sentence, which is made of this one.
    #[must_use]
    pub fn told_as(&self, sentence: impl FnOnce(&str) -> String) -> Self {
        let told = Self::new(sentence(self.sentence()));
        self.detail().map_or(told.clone(), |detail| told.with_detail(detail))
    }

    /// The sentence.
    pub fn sentence(&self) -> &str {
        self.0.split_once('\n').map_or(&self.0, |(sentence, _)| sentence)
    }

    /// What only operators see.
    pub fn detail(&self) -> Option<&str> {
        self.0.split_once('\n').map(|(_, detail)| detail)
    }

    /// The sentence and the detail on one line, for operators.
    pub fn in_full(&self) -> String {
        self.0.replacen('\n', "; ", 1)
    }

    /// A reason as it was stored.
    fn stored(text: &str) -> Self {
        match text.split_once('\n') {
            Some((sentence, detail)) => Self::new(sentence).with_detail(detail),
            None => match without_log(text) {
                Some((sentence, log)) => Self::new(sentence).with_detail(log),
                None => Self::new(text),
            },
        }
    }
}

/// Splits the quoted lines of a log off a sentence that an earlier version wrote.
pub fn without_log(sentence: &str) -> Option<(&str, &str)> {
    let (before, _) = sentence.split_once(&format!("; {LOG_QUOTE}"))?;
    Some((before, &sentence[before.len() + 2..]))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::stored(&text))
    }
}

/// Agents' words stand in reasons: one line of a log or a table must stay one.
fn one_line(mut text: String) -> String {
    if text.contains(|character: char| character.is_control()) {
        text = text.chars().flat_map(visible).collect();
    }
    if text.len() > MOST_BYTES {
        text.truncate(text.floor_char_boundary(MOST_BYTES));
        text.push('…');
    }
    text
}

/// The character itself, or its escape if it is a control.
fn visible(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = (!character.is_control()).then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(Reason::new("bad\n2026 INFO\u{1b}[31m é").sentence(), "bad\\n2026 INFO\\u{1b}[31m é");
        assert!(Reason::new("é".repeat(5_000)).sentence().len() <= 2_003);
    }

    #[test]
    fn the_sentence_is_for_everybody_and_the_detail_only_for_who_asks_for_it() {
        let reason = Reason::new("it broke").with_detail("/srv/agent.py\nline 3");
        assert_eq!((reason.to_string().as_str(), reason.detail()), ("it broke", Some("/srv/agent.py\\nline 3")));
        assert_eq!(reason.in_full(), "it broke; /srv/agent.py\\nline 3");
        let given_up = reason.told_as(|why| format!("gave up: {why}"));
        assert_eq!((given_up.sentence(), given_up.detail()), ("gave up: it broke", reason.detail()));
        assert_eq!(Reason::new("it broke").told_as(str::to_owned), Reason::new("it broke"));
    }

    #[test]
    fn what_is_stored_is_read_as_it_was() {
        for reason in [Reason::new("it broke"), Reason::new("it broke").with_detail("why")] {
            let stored = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&stored).unwrap(), reason);
        }
    }

    #[test]
    fn the_log_in_a_sentence_of_an_earlier_version_is_read_as_detail() {
        let stored = r#""it exited with status 3; last lines of its log: Traceback | KeyError""#;
        let reason: Reason = serde_json::from_str(stored).unwrap();
        assert_eq!(reason.sentence(), "it exited with status 3");
        assert_eq!(reason.detail(), Some("last lines of its log: Traceback | KeyError"));
    }
}
