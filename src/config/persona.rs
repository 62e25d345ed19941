//! `[personas.NAME]`: one kind of agent, how it is started and how long it lives.
//!
//! Nothing is started or looked up here: whether the command exists shows when it is run. That a
//! written persona names its command is checked by the loader, because only it knows what was
//! written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::shim::order;

use super::choice::{self, Choice};
use super::error::Conflict;
use super::keys::KeyPath;
use super::{duration, limits, size, value};

mod command;
mod name;
mod run_as;
mod service;

pub use name::PersonaName;
pub use run_as::{RunAs, UidRange};

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
    /// The name of the service that serves an `http` agent's sessions, as in the service mapping. Must be written there.
    #[serde(deserialize_with = "service::service", skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The program and its arguments; at least the program. Must be written in a persona of processes.
    #[serde(deserialize_with = "command::command")]
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
    /// How often a running agent is asked whether it is there; 1ms to 36500d. Default 30 seconds. `None`: never.
    #[serde(with = "duration::or_off")]
    pub ping_interval: Option<Duration>,
    /// How long the agent may take to answer that; 1ms to 36500d. Default 30 seconds.
    #[serde(with = "duration::positive")]
    pub ping_timeout: Duration,
    /// How long the agent goes on without a server; 1ms to 36500d. Default 10 minutes.
    #[serde(with = "duration::positive")]
    pub orphan_timeout: Duration,
    /// Variables added to the agent's environment. Default none.
    #[serde(deserialize_with = "command::environment")]
    pub environment: BTreeMap<String, String>,
    /// The only variables of the server's own environment that the agent gets to see. Default
    /// `PATH`, `HOME`, `LANG`, `LC_ALL`, `TZ`, `USER` and `TMPDIR`.
    #[serde(deserialize_with = "command::variable_names")]
    pub inherit_environment: Vec<String>,
    /// Where the agent runs. Default `None`: where the server runs.
    #[serde(with = "value::optional_path", skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
    /// Whether each session has a directory of its own for its agent to run in, which goes with it. Not together with
    /// `working_directory`. Default `false`.
    #[serde(deserialize_with = "value::boolean")]
    pub own_directory: bool,
    /// Bytes that the agent's own directory may take; at least 1. Only with `own_directory`. Default `None`: no limit.
    #[serde(with = "size::or_off")]
    pub own_directory_quota: Option<u64>,
    /// The user that agents run as, by name or number, or a range of numbers of which each session gets one for itself.
    /// Only root may say so. Default `None`: the server's user.
    #[serde(deserialize_with = "run_as::run_as", skip_serializing_if = "Option::is_none")]
    pub user: Option<RunAs>,
    /// Bytes of memory of the agent with all its processes; at least 1. Default `None`: no limit.
    #[serde(with = "size::or_off")]
    pub memory: Option<u64>,
    /// CPU time of the agent with all its processes; 1ms to 36500d. Default `None`: no limit.
    #[serde(with = "duration::or_off")]
    pub cpu_time: Option<Duration>,
    /// Open files of each of the agent's processes; 16 to 1048576. Default `None`: as many as the server was given.
    #[serde(with = "value::BetweenOrOff::<16, 1_048_576>")]
    pub open_files: Option<u32>,
    /// Processes of the agent at once, itself included; 1 to 32768. Default `None`: no limit.
    #[serde(with = "value::BetweenOrOff::<1, 32_768>")]
    pub processes: Option<u32>,
    /// Bytes a second that the agent may write to stdout and stderr; at least 1. Default `None`: no limit.
    #[serde(with = "size::or_off")]
    pub output_rate: Option<u64>,
    /// Bytes of one line from the agent; at least 1, at most half of `limits.spool`. Default `None`: `limits.message`.
    #[serde(with = "size::optional", skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

impl Default for Persona {
    fn default() -> Self {
        Self {
            agent: AgentKind::Process,
            service: None,
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
            ping_interval: Some(Duration::from_secs(30)),
            ping_timeout: Duration::from_secs(30),
            orphan_timeout: Duration::from_mins(10),
            environment: BTreeMap::new(),
            inherit_environment: ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR"].map(str::to_owned).to_vec(),
            working_directory: None,
            own_directory: false,
            own_directory_quota: None,
            user: None,
            memory: None,
            cpu_time: None,
            open_files: None,
            processes: None,
            output_rate: None,
            line: None,
        }
    }
}

impl Persona {
    /// Whether the command's program is this very binary rather than one found in `PATH`.
    pub fn runs_this_binary(&self) -> bool {
        self.command.first().is_some_and(|word| word == THIS_BINARY)
    }

    /// What an agent of this persona may take, as its shim is told.
    pub fn limits(&self) -> order::Limits {
        order::Limits {
            memory: self.memory,
            cpu_time: self.cpu_time,
            open_files: self.open_files.map(u64::from),
            processes: self.processes,
            output_rate: self.output_rate,
            own_directory: self.own_directory_quota,
        }
    }

    /// What does not go together in the persona of this name.
    pub(super) fn conflicts(&self, name: &PersonaName, limits: &limits::Limits) -> Vec<Conflict> {
        let key = |key: &str| KeyPath::persona(name.as_str()).child(key).to_string();
        let conflicts = [self.directory_conflict(key), self.quota_conflict(key), self.line_conflict(key, limits)];
        conflicts.into_iter().flatten().collect()
    }

    fn directory_conflict(&self, key: impl Fn(&str) -> String) -> Option<Conflict> {
        let (own, elsewhere) = (key("own_directory"), key("working_directory"));
        (self.own_directory && self.working_directory.is_some()).then(|| Conflict {
            text: format!("`{own}` is on and `{elsewhere}` names a directory: leave one of them out"),
            keys: vec![own, elsewhere],
        })
    }

    fn quota_conflict(&self, key: impl Fn(&str) -> String) -> Option<Conflict> {
        let (quota, own) = (key("own_directory_quota"), key("own_directory"));
        (self.own_directory_quota.is_some() && !self.own_directory).then(|| Conflict {
            text: format!("`{quota}` is set and `{own}` is off: turn `{own}` on, or leave the quota out"),
            keys: vec![quota, own],
        })
    }

    fn line_conflict(&self, key: impl Fn(&str) -> String, limits: &limits::Limits) -> Option<Conflict> {
        let (line, bytes) = (key("line"), self.line?);
        (bytes > limits.spool / 2).then(|| Conflict {
            text: format!(
                "`{line}` is {}, more than half of `limits.spool` with {}: raise `limits.spool` or lower `{line}`",
                size::format(bytes),
                size::format(limits.spool)
            ),
            keys: vec![line, "limits.spool".to_owned()],
        })
    }
}

/// How an agent is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentKind {
    /// A child process, spoken to over its stdin and stdout.
    Process,
    /// A service of the service mapping, spoken to over HTTP.
    Http,
}

impl Choice for AgentKind {
    const ALL: &'static [Self] = &[Self::Process, Self::Http];

    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Http => "http",
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

#[cfg(test)]
mod tests;
