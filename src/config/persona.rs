//! `[personas.NAME]`: one kind of agent, how it is started and how long it lives.
//!
//! Nothing is started or looked up here: whether the command exists shows when it is run. That a
//! written persona names its command is checked by the loader, because only it knows what was
//! written.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::choice::{self, Choice};
use super::duration;
use super::value::{self, read, texts, wrong};

/// The first word of a command that means this very binary.
const THIS_BINARY: &str = "frontdesk";

/// `[personas.NAME]`: one kind of agent, how it is started and how long it lives.
///
/// The default is the echo agent, which stands when no persona is written at all.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Persona {
    /// How the agent is reached. Default `process`.
    #[serde(with = "choice")]
    pub agent: AgentKind,
    /// The program and its arguments; at least the program. Must be written in a persona.
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// What is spoken over the agent's stdin and stdout. Default `json-rpc`.
    #[serde(with = "choice")]
    pub protocol: Protocol,
    /// Whether the server starts the agents of pending sessions by itself, in order of arrival. Default `false`.
    #[serde(deserialize_with = "value::boolean")]
    pub auto_initialize: bool,
    /// How long a session may be pending, from the request to the initialise; 1ms to 36500d. Default 1 hour.
    #[serde(with = "duration::positive")]
    pub pending_timeout: Duration,
    /// How long one start of the agent may take; 1ms to 36500d. Default 30 seconds.
    #[serde(with = "duration::positive")]
    pub start_timeout: Duration,
    /// How often a start is tried before the session fails; 1 to 100. Default 3.
    #[serde(deserialize_with = "value::between::<_, 1, 100>")]
    pub start_attempts: u32,
    /// How long a session may go without a request; 1ms to 36500d. Default `None`: forever.
    #[serde(with = "duration::or_off")]
    pub idle_timeout: Option<Duration>,
    /// How long a session may live at all; 1ms to 36500d. Default `None`: forever.
    #[serde(with = "duration::or_off")]
    pub max_lifetime: Option<Duration>,
    /// How long the agent may take to end when asked to, before it is killed; 0s to 36500d.
    /// Default 10 seconds.
    #[serde(with = "duration::or_zero")]
    pub stop_grace: Duration,
    /// How long the agent may take to answer one request; 1ms to 36500d. Default 60 seconds.
    #[serde(with = "duration::positive")]
    pub request_timeout: Duration,
    /// Variables added to the agent's environment. Default none.
    #[serde(deserialize_with = "environment")]
    pub environment: BTreeMap<String, String>,
    /// The only variables of the server's own environment that the agent gets to see. Default
    /// `PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ`, `USER` and `TMPDIR`.
    #[serde(deserialize_with = "variable_names")]
    pub inherit_environment: Vec<String>,
    /// Where the agent runs. Default `None`: where the server runs.
    #[serde(with = "value::optional_path", skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
}

impl Default for Persona {
    fn default() -> Self {
        Self {
            agent: AgentKind::Process,
            command: [THIS_BINARY, "agent", "echo"].map(str::to_owned).to_vec(),
            protocol: Protocol::JsonRpc,
            auto_initialize: false,
            pending_timeout: Duration::from_hours(1),
            start_timeout: Duration::from_secs(30),
            start_attempts: 3,
            idle_timeout: None,
            max_lifetime: None,
            stop_grace: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            environment: BTreeMap::new(),
            inherit_environment: ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR"].map(str::to_owned).to_vec(),
            working_directory: None,
        }
    }
}

impl Persona {
    /// Whether the command's program is this very binary rather than one found in `PATH`.
    pub fn runs_this_binary(&self) -> bool {
        self.command.first().is_some_and(|word| word == THIS_BINARY)
    }
}

/// How an agent is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentKind {
    /// A child process, spoken to over its stdin and stdout.
    Process,
}

impl Choice for AgentKind {
    const ALL: &'static [Self] = &[Self::Process];

    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
        }
    }
}

/// What is spoken over an agent's stdin and stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON-RPC 2.0, one message a line.
    JsonRpc,
    /// Nothing: any plain command, whose exit status is the session's outcome.
    None,
}

impl Choice for Protocol {
    const ALL: &'static [Self] = &[Self::JsonRpc, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::JsonRpc => "json-rpc",
            Self::None => "none",
        }
    }
}

/// The name of a persona: 1 to 64 of the characters A-Z a-z 0-9 _ . -
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonaName(String);

impl PersonaName {
    /// The persona that exists when none is written.
    pub const BUILT_IN: &'static str = "CUSTOMERS";
    /// The longest name, in characters.
    pub const LONGEST: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn built_in() -> Self {
        Self(Self::BUILT_IN.to_owned())
    }
}

impl TryFrom<String> for PersonaName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if (1..=Self::LONGEST).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(format!(
                "the name of a persona must be 1 to 64 of the characters A-Z a-z 0-9 _ . -, not {}",
                value::shown(&name.into())
            ))
        }
    }
}

impl FromStr for PersonaName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        name.to_owned().try_into()
    }
}

impl From<PersonaName> for String {
    fn from(name: PersonaName) -> Self {
        name.0
    }
}

impl Borrow<str> for PersonaName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PersonaName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn command<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    const EXPECTED: &str = "a list of a program and its arguments such as [\"frontdesk\", \"agent\", \"echo\"]";
    read(source, |value| {
        texts(value)
            .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
            .filter(|words| !words.iter().any(|word| word.contains('\0')))
            .ok_or_else(|| wrong(EXPECTED, value))
    })
}

fn variable_names<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    const EXPECTED: &str = "a list of names of environment variables such as [\"PATH\", \"HOME\"]";
    read(source, |value| {
        texts(value)
            .filter(|names| names.iter().all(|name| is_variable_name(name)))
            .ok_or_else(|| wrong(EXPECTED, value))
    })
}

// The values may be secrets, so unlike all others these errors do not show what was written.
fn environment<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, String>, D::Error> {
    read(source, |value| {
        let table = value.as_table().ok_or("must be a table of texts such as { MODE = \"test\" }")?;
        table.iter().map(|(name, value)| variable(name, value)).collect()
    })
}

fn variable(name: &str, value: &toml::Value) -> Result<(String, String), String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persona_names_are_short_and_plain() {
        for name in ["CUSTOMERS", "a", "sales-2.x_y", &"x".repeat(64)] {
            assert!(name.parse::<PersonaName>().is_ok(), "{name}");
        }
        for name in ["", "a b", "käse", "a/b", &"x".repeat(65)] {
            assert!(name.parse::<PersonaName>().is_err(), "{name}");
        }
    }

    #[test]
    fn only_the_exact_word_frontdesk_means_this_binary() {
        let mut persona = Persona::default();
        assert!(persona.runs_this_binary());
        persona.command[0] = "./frontdesk".to_owned();
        assert!(!persona.runs_this_binary());
    }
}
