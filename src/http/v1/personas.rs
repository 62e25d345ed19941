//! `GET /v1/personas`: the kinds of session that may be asked for.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{AgentKind, Persona, PersonaName, Protocol};
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::principal::{Principal, Scope};

use super::json;
use super::page::Page;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listPersonas",
    tag: Tag::Server,
    summary: "List personas",
    description: "The kinds of session that this server has, in the order of their names, with their limits. Only \
                  operators with the scope admin see how agents are started. Nobody sees the values of variables.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "All of them.",
        contents: &[Content::json(schema_of::<Page<PersonaView>>)],
        headers: &[],
    }],
    problems: &[],
};

/// A kind of session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Persona")]
pub struct PersonaView {
    /// Its name, as creations spell it.
    pub name: String,
    /// How its agents are reached.
    pub agent: AgentView,
    /// What its agents speak.
    pub protocol: ProtocolView,
    /// Whether the server starts its pending sessions by itself.
    pub auto_initialize: bool,
    /// How often a start is tried.
    pub start_attempts: u32,
    /// Its timeouts.
    pub timeouts: Timeouts,
    /// What its agents may take; what is absent is not limited.
    pub limits: Limits,
    /// How its agents are started; for operators with the scope admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartView>,
}

/// How agents are started or found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PersonaStart")]
pub struct StartView {
    /// The command of a process with its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub command: Vec<String>,
    /// The name of a service in the service mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The user that processes run as, or a range of which each session has one; the server's, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where processes run; where the server does, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Whether each session has a directory of its own instead.
    pub own_directory: bool,
    /// The names of the variables that are added to their environment.
    pub environment: Vec<String>,
    /// The names of the server's own variables that they see.
    pub inherit_environment: Vec<String>,
}

/// How agents are reached.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AgentKind")]
#[serde(rename_all = "lowercase")]
pub enum AgentView {
    /// Each is a process.
    Process,
    /// Each is a service.
    Http,
}

/// What agents speak.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Protocol")]
#[serde(rename_all = "kebab-case")]
pub enum ProtocolView {
    /// JSON-RPC 2.0, which takes requests.
    JsonRpc,
    /// Nothing: their exit status is the outcome.
    None,
}

/// Timeouts in seconds; what is absent is off.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PersonaTimeouts")]
pub struct Timeouts {
    /// How long a session may be pending.
    pub pending_seconds: f64,
    /// How long one start of an agent may take.
    pub start_seconds: f64,
    /// How long a session may go without a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<f64>,
    /// How long a session may live at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_seconds: Option<f64>,
    /// How long an agent may take to end before it is killed.
    pub stop_grace_seconds: f64,
    /// How long an agent may take to answer a request.
    pub request_seconds: f64,
    /// How often a running agent is asked whether it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_interval_seconds: Option<f64>,
    /// How long it may take to answer that.
    pub ping_seconds: f64,
    /// How long an agent goes on without a server.
    pub orphan_seconds: f64,
}

/// Limits of an agent with all its processes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PersonaLimits")]
pub struct Limits {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPU time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Open files of each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// Processes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// What it may write in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes_per_second: Option<u64>,
    /// What its own directory may take on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_directory_bytes: Option<u64>,
    /// One line that it writes.
    pub line_bytes: u64,
}

pub(in crate::http) fn handle(Call { app, admitted, .. }: Call) -> Response {
    json(StatusCode::OK, &seen_by(&app, &admitted))
}

/// All personas with as much of each as the caller may see.
pub(in crate::http) fn seen_by(app: &App, admitted: &Admitted) -> Page<PersonaView> {
    let sees_start = matches!(&admitted.caller.principal, Principal::Operator(operator) if operator.may(Scope::Admin));
    page(app, sees_start)
}

/// All personas, in the order of their names.
pub(in crate::http) fn all(app: &App) -> Page<PersonaView> {
    page(app, false)
}

fn page(app: &App, sees_start: bool) -> Page<PersonaView> {
    let config = app.config();
    let view = |(name, persona): (&PersonaName, &Persona)| PersonaView {
        start: sees_start.then(|| StartView::of(persona)),
        ..PersonaView::of(name, persona, config.limits.message)
    };
    Page { items: config.personas.iter().map(view).collect(), next: None }
}

impl PersonaView {
    fn of(name: &PersonaName, persona: &Persona, line_bytes: u64) -> Self {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        Self {
            name: name.to_string(),
            agent: match persona.agent {
                AgentKind::Process => AgentView::Process,
                AgentKind::Http => AgentView::Http,
            },
            protocol: match persona.protocol {
                Protocol::JsonRpc => ProtocolView::JsonRpc,
                Protocol::None => ProtocolView::None,
            },
            auto_initialize: persona.auto_initialize,
            start_attempts: persona.start_attempts,
            timeouts: Timeouts {
                pending_seconds: persona.pending_timeout.as_secs_f64(),
                start_seconds: persona.start_timeout.as_secs_f64(),
                idle_seconds: seconds(persona.idle_timeout),
                lifetime_seconds: seconds(persona.max_lifetime),
                stop_grace_seconds: persona.stop_grace.as_secs_f64(),
                request_seconds: persona.request_timeout.as_secs_f64(),
                ping_interval_seconds: seconds(persona.ping_interval),
                ping_seconds: persona.ping_timeout.as_secs_f64(),
                orphan_seconds: persona.orphan_timeout.as_secs_f64(),
            },
            limits: Limits {
                memory_bytes: persona.memory,
                cpu_seconds: seconds(persona.cpu_time),
                open_files: persona.open_files,
                processes: persona.processes,
                output_bytes_per_second: persona.output_rate,
                own_directory_bytes: persona.own_directory_quota,
                line_bytes: persona.line.unwrap_or(line_bytes),
            },
            start: None,
        }
    }
}

impl StartView {
    fn of(persona: &Persona) -> Self {
        Self {
            command: persona.command.clone(),
            service: persona.service.clone(),
            user: persona.user.as_ref().map(ToString::to_string),
            working_directory: persona.working_directory.as_ref().map(|path| path.display().to_string()),
            own_directory: persona.own_directory,
            environment: persona.environment.keys().cloned().collect(),
            inherit_environment: persona.inherit_environment.clone(),
        }
    }
}
