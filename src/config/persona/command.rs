//! Reading of an agent's command and of its environment.

use std::collections::BTreeMap;

use serde::Deserializer;
use toml::Value;

use crate::config::value::{read, texts, wrong};

pub(super) fn command<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    const EXPECTED: &str = "a list of a program and its arguments such as [\"frontdesk\", \"agent\", \"echo\"]";
    read(source, |value| {
        texts(value)
            .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
            .filter(|words| !words.iter().any(|word| word.contains('\0')))
            .ok_or_else(|| wrong(EXPECTED, value))
    })
}

pub(super) fn variable_names<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    const EXPECTED: &str = "a list of names of environment variables such as [\"PATH\", \"HOME\"]";
    read(source, |value| {
        texts(value)
            .filter(|names| names.iter().all(|name| is_variable_name(name)))
            .ok_or_else(|| wrong(EXPECTED, value))
    })
}

// The values may be secrets, so unlike all others these errors do not show what was written.
pub(super) fn environment<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, String>, D::Error> {
    read(source, |value| {
        let table = value.as_table().ok_or("must be a table of texts such as { MODE = \"test\" }")?;
        table.iter().map(|(name, value)| variable(name, value)).collect()
    })
}

fn variable(name: &str, value: &Value) -> Result<(String, String), String> {
    if !is_variable_name(name) {
        return Err(format!("has the name {name:?}, which no environment variable can have: leave it out"));
    }
    let text = value
        .as_str()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| format!("must give {name} a text: write its value in quotes"))?;
    Ok((name.to_owned(), text.to_owned()))
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
