//! Reads the configuration file into settings that know their line.
//!
//! Knows which keys exist but nothing of their values; those the loader checks, in the same way
//! for every source.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::error::{ConfigError, Origin, Problem};
use super::keys::{self, KeyPath};
use super::persona::PersonaName;

/// What one source says: values of known keys, and what is wrong with the rest.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) settings: Vec<Setting>,
    /// Every persona that is named, with the first place that does.
    pub(super) personas: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
}

/// The value of one known key; not yet checked.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) path: KeyPath,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Layer {
    pub(super) fn reject(&mut self, origin: Origin, text: String) {
        self.problems.push(Problem { origin: Some(origin), text });
    }

    /// Notes that a persona is named here; false if none can have that name.
    pub(super) fn name_persona(&mut self, name: &str, origin: &Origin) -> bool {
        match name.parse::<PersonaName>() {
            Ok(_) => {
                self.personas.entry(name.to_owned()).or_insert_with(|| origin.clone());
                true
            }
            Err(text) => {
                self.reject(origin.clone(), text);
                false
            }
        }
    }
}

/// Reads the file. A file that is not there is an error only if it was asked for by name.
pub(super) fn read(named: Option<&Path>, default: &Path) -> Result<Layer, ConfigError> {
    let path = named.unwrap_or(default);
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match named {
                Some(path) => Err(ConfigError::Missing { path: path.into() }),
                None => Ok(Layer::default()),
            };
        }
        Err(reason) => {
            return Err(ConfigError::Unreadable { path: path.into(), reason });
        }
    };
    let text = str::from_utf8(&bytes).map_err(|_| ConfigError::NotText { path: path.into() })?;
    parse(path, text)
}

/// What can be made out in a file that may be wrong anywhere. `None` if the file itself can't be read.
pub(super) fn salvage(named: Option<&Path>, default: &Path) -> Option<Layer> {
    let path = named.unwrap_or(default);
    match fs::read(path) {
        Ok(bytes) => {
            let text = str::from_utf8(&bytes).ok()?;
            Some(layer(path, text, DeTable::parse_recoverable(text).0))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => Some(Layer::default()),
        Err(_) => None,
    }
}

fn parse(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let root = DeTable::parse(text).map_err(|error| syntax(path, text, &error))?;
    Ok(layer(path, text, root))
}

fn layer(path: &Path, text: &str, root: Spanned<DeTable<'_>>) -> Layer {
    let mut reader = Reader { path: path.into(), line_starts: line_starts(text), layer: Layer::default() };
    reader.table(&KeyPath::default(), root.into_inner());
    reader.layer
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let offset = error.span().map_or(text.len(), |span| span.start);
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |index| index + 1);
    ConfigError::Syntax {
        path: path.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: advice(error.message()),
    }
}

// The parser says what it met; the two commonest mistakes deserve to hear what to do.
fn advice(message: &str) -> String {
    if message.starts_with("string values must be quoted") {
        return "write texts in quotes (only numbers, `true` and `false` go without)".to_owned();
    }
    if message == "duplicate key" {
        return "this name stands in the file twice, remove one of the two".to_owned();
    }
    format!("{message}; correct it here or just before")
}

struct Reader {
    path: PathBuf,
    line_starts: Vec<usize>,
    layer: Layer,
}

impl Reader {
    fn table(&mut self, prefix: &KeyPath, table: DeTable<'_>) {
        for (name, value) in table {
            let origin = self.origin(name.span());
            self.entry(prefix.child(name.get_ref()), value, origin);
        }
    }

    fn entry(&mut self, path: KeyPath, value: Spanned<DeValue<'_>>, origin: Origin) {
        if keys::find(&path).is_some() {
            self.setting(path, value, origin);
        } else if keys::is_section(&path) {
            self.section(&path, value, origin);
        } else {
            let hint = keys::hint(&path);
            self.layer.reject(origin, format!("unknown key `{path}`; {hint}"));
        }
    }

    fn setting(&mut self, path: KeyPath, value: Spanned<DeValue<'_>>, origin: Origin) {
        match Value::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => self.layer.settings.push(Setting { path, value, origin }),
            Err(_) => {
                self.layer.reject(origin, format!("`{path}` has a number that is too large: write a smaller one"));
            }
        }
    }

    fn section(&mut self, path: &KeyPath, value: Spanned<DeValue<'_>>, origin: Origin) {
        let DeValue::Table(table) = value.into_inner() else {
            let text = format!("`{path}` must be a table: write its keys below a line `[{path}]`");
            self.layer.reject(origin, text);
            return;
        };
        if let Some(name) = path.persona_name()
            && !self.layer.name_persona(name, &origin)
        {
            return;
        }
        self.table(path, table);
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File { path: self.path.clone(), line: self.line_starts.partition_point(|start| *start <= span.start) }
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    let after_breaks = text.match_indices('\n').map(|(index, _)| index + 1);
    std::iter::once(0).chain(after_breaks).collect()
}
