//! Standard output: colours on a terminal only, and a reader that has seen enough is no error.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::anyhow;
use serde::Serialize;

use crate::id::is_reordering;

use super::Failure;

/// Prints text as it is.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    write_to(anstream::stdout().lock(), text.as_bytes())
}

/// Prints what others wrote, for a program as it is; for a person what a terminal would act on is escaped.
pub(super) fn foreign(bytes: &[u8]) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return write_to(std::io::stdout().lock(), bytes);
    }
    let mut text = String::with_capacity(bytes.len());
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            _ => put_safely(&mut text, character),
        }
    }
    write(&text)
}

/// Adds a character, escaped if a terminal would act on it.
pub(super) fn put_safely(text: &mut String, character: char) {
    if character.is_control() || is_reordering(character) {
        text.push_str(&format!("\\u{:04x}", u32::from(character)));
    } else {
        text.push(character);
    }
}

fn write_to(mut out: impl Write, bytes: &[u8]) -> Result<(), Failure> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow!("the output could not be written: {error}; make room there, or send it elsewhere").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a value as one line of JSON. At a terminal what it would act on is escaped, which is the same JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(anyhow::Error::from)?;
    if std::io::stdout().is_terminal() { line(&safe(&text)) } else { line(&text) }
}

fn safe(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    json.chars().for_each(|character| put_safely(&mut text, character));
    text
}

/// Prints one line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_a_terminal_is_the_same_json_without_what_a_terminal_acts_on() {
        let value = "a\u{9b}2J\u{7f}\u{61c}\u{202e}é\"\\";
        let json = serde_json::to_string(value).unwrap();
        let shown = safe(&json);
        assert!(!shown.contains(['\u{9b}', '\u{7f}', '\u{61c}', '\u{202e}']) && shown.contains('é'), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), value);
    }
}
