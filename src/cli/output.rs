//! Standard output: colours on a terminal only, and a reader that has seen enough is no error.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::anyhow;

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
    let acts = character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if acts {
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

/// Prints one line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}
