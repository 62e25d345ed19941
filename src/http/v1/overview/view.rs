//! What the overview shows, as it is sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::credential::InForce;
use crate::http::App;
use crate::http::health::Check;
use crate::id::SessionId;
use crate::session::{Census, Outcome, PhaseName, TroubleKind};

/// How the server is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Overview")]
pub struct OverviewView {
    /// The moment, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// What has to be well so that new customers can be served, as `/readyz` says it.
    pub ready: Vec<Check>,
    /// Live sessions now.
    pub sessions: PhasesView,
    /// Agents now.
    pub agents: AgentsView,
    /// Sessions that wait for the server to start them.
    pub queue: QueueView,
    /// What has happened in the last hour.
    pub last_hour: HourView,
    /// Who decides about credentials.
    pub credential_server: CredentialServerView,
    /// The disk of the data directory; absent if the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskView>,
    /// Memory.
    pub memory: MemoryView,
    /// What is in trouble, the worst first.
    pub troubled: TroubledView,
}

/// Live sessions by phase.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Phases")]
pub struct PhasesView {
    /// They wait for initialise.
    pub pending: usize,
    /// Their agents are being started.
    pub starting: usize,
    /// Those among the starting ones that have had a running agent.
    pub restarting: usize,
    /// Their agents are ready.
    pub running: usize,
    /// Their agents are being ended.
    pub stopping: usize,
}

/// Agents.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Agents")]
pub struct AgentsView {
    /// Sessions with an agent, those included whose agent is being started.
    pub running: usize,
    /// How many of these there may be.
    pub max_running: u32,
    /// Agents that are being brought up at this moment.
    pub starting: usize,
    /// How many of these there may be.
    pub max_starting: u32,
}

/// Sessions that wait for the server to start them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Queue")]
pub struct QueueView {
    /// How many.
    pub length: usize,
    /// How long the oldest of them has been waiting since its request; absent if none waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_wait_seconds: Option<f64>,
}

/// The last hour, or as much of it as the server has been running.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LastHour")]
pub struct HourView {
    /// Since when is counted, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// Minute by minute, the oldest first; the last one goes on.
    pub samples: Vec<SampleView>,
    /// Sessions that were admitted.
    pub admitted: u64,
    /// Calls for a session, or for the agent of one, that were refused, by reason; the most frequent first.
    pub refusals: Vec<RefusalsView>,
    /// Sessions that have ended, by outcome.
    pub ended: EndedView,
    /// First starts of agents.
    pub starts: StartsView,
    /// Starts that followed the loss of a running agent.
    pub restarts: u64,
}

/// A minute.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sample")]
pub struct SampleView {
    /// When it began, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// Pending sessions at its end.
    pub pending: usize,
    /// Starting ones.
    pub starting: usize,
    /// Running ones.
    pub running: usize,
    /// Stopping ones.
    pub stopping: usize,
    /// Sessions that were admitted in it.
    pub admitted: u64,
    /// Calls that were refused in it.
    pub refused: u64,
    /// First starts in it that came to a ready agent.
    pub starts: u64,
    /// First starts that failed.
    pub start_failures: u64,
    /// Starts that followed the loss of a running agent.
    pub restarts: u64,
}

/// Refusals for one reason.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Refusals")]
pub struct RefusalsView {
    /// The code of the refusal.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Ended sessions by outcome.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Ended")]
pub struct EndedView {
    /// Their agents have finished.
    pub completed: u64,
    /// Their agents could not be started or kept alive.
    pub failed: u64,
    /// Somebody stopped them.
    pub stopped: u64,
    /// A time limit ended them.
    pub expired: u64,
}

/// First starts of agents.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Starts")]
pub struct StartsView {
    /// Those that came to a ready agent.
    pub count: u64,
    /// Those that failed.
    pub failures: u64,
    /// Half of them took no longer, from initialise to RUNNING; absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
    /// 99 of 100 took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
}

/// Who decides about credentials.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CredentialServer")]
pub struct CredentialServerView {
    /// Which one.
    pub kind: CredentialServerKind,
    /// Where the remote one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How the last check went.
    pub state: CredentialServerState,
    /// Checks since the server was started.
    pub checks: u64,
    /// Those of them that came to no verdict.
    pub failures: u64,
    /// The last one that came to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<CheckFailureView>,
}

/// A credential server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialServerKind {
    /// This server's own.
    Embedded,
    /// That of the service mapping.
    Remote,
}

/// How a credential server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CredentialServerState {
    /// The last check had a verdict.
    Well,
    /// The last check had none.
    Failing,
    /// It was not asked yet.
    Unused,
}

/// A check of credentials that came to no verdict.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CheckFailure")]
pub struct CheckFailureView {
    /// When, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// The disk of the data directory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Disk")]
pub struct DiskView {
    /// What is free for this server's user.
    pub free_bytes: u64,
    /// What there is.
    pub total_bytes: u64,
    /// What the store and the log of events take; sessions' data and agents' directories not included.
    pub store_bytes: u64,
}

/// Memory. What is absent the system does not say.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Memory")]
pub struct MemoryView {
    /// That of the server's own process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_bytes: Option<u64>,
    /// What programs of this machine could still get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_available_bytes: Option<u64>,
    /// What the machine has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_total_bytes: Option<u64>,
}

/// What is in trouble.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Troubled")]
pub struct TroubledView {
    /// Personas whose agents were lost or failed to start lately, the worst first.
    pub personas: Vec<TroubledPersonaView>,
    /// Up to 20 sessions, the worst first.
    pub sessions: Vec<TroubledSessionView>,
    /// Whether there are more such sessions.
    pub more_sessions: bool,
}

/// A persona whose agents were lost or failed to start lately.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TroubledPersona")]
pub struct TroubledPersonaView {
    /// The persona; `other` stands for all that the configuration has lost.
    pub persona: String,
    /// How many of its sessions are being started again now.
    pub restarting: usize,
    /// Restarts in the last ten minutes, or up to eleven.
    pub restarts_10_min: u64,
    /// First starts that failed in the last hour.
    pub start_failures_hour: u64,
    /// Sessions that ended as failed in the last hour.
    pub failed_hour: u64,
    /// Why one of its agents was last lost or not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
}

/// A session in trouble.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TroubledSession")]
pub struct TroubledSessionView {
    /// Its id.
    pub id: SessionId,
    /// Its customer's email, as the customer wrote it.
    pub email: String,
    /// Its persona.
    pub persona: String,
    /// Its phase.
    pub phase: PhaseName,
    /// When it was requested, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created: String,
    /// What is wrong.
    pub trouble: TroubleView,
    /// What is wrong and why, in a sentence.
    pub reason: String,
}

/// What is wrong with a session; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Trouble")]
#[serde(rename_all = "snake_case")]
pub enum TroubleView {
    /// It is stopping, and its agent should be gone.
    StopOverdue,
    /// Its agent was lost and is being started again.
    Restarting,
    /// Its agent runs, and was lost several times in the last ten minutes.
    Unstable,
    /// A start of its agent has failed.
    StartFailed,
    /// It has been waiting in the queue for minutes.
    Waiting,
}

impl From<Census> for PhasesView {
    fn from(census: Census) -> Self {
        let Census { pending, starting, restarting, running, stopping } = census;
        Self { pending, starting, restarting, running, stopping }
    }
}

impl AgentsView {
    pub(super) fn of(app: &App) -> Self {
        let (load, config) = (app.registry.load(), app.config());
        let limits = &config.limits;
        Self {
            running: load.running,
            max_running: limits.max_running,
            starting: load.starting,
            max_starting: limits.max_starting,
        }
    }
}

impl QueueView {
    pub(in crate::http) fn of(app: &App) -> Self {
        let load = app.registry.load();
        let waited = load.oldest_queued.map(|id| {
            let millis = app.clock.wall().unix_millis().saturating_sub(id.requested().unix_millis());
            millis.max(0) as f64 / 1_000.0
        });
        Self { length: load.queued, oldest_wait_seconds: waited }
    }
}

impl CredentialServerView {
    pub(super) fn of(app: &App) -> Self {
        let (kind, address) = match app.verifiers.in_force() {
            InForce::Embedded(_) => (CredentialServerKind::Embedded, None),
            InForce::Remote(_, address) => (CredentialServerKind::Remote, Some(address.to_string())),
        };
        let checks = &app.metrics.checks;
        let (last, failures) = (checks.last(), checks.failed.get());
        Self {
            kind,
            address,
            state: match last.is_well {
                Some(true) => CredentialServerState::Well,
                Some(false) => CredentialServerState::Failing,
                None => CredentialServerState::Unused,
            },
            checks: checks.decided.get() + failures,
            failures,
            last_failure: last
                .failure
                .map(|(at, reason)| CheckFailureView { at: at.to_string(), reason: reason.into() }),
        }
    }
}

impl EndedView {
    /// The counts in the order of all outcomes.
    pub(super) fn of(counts: &[u64]) -> Self {
        let count = |outcome| {
            let place = Outcome::ALL.iter().position(|known| *known == outcome);
            place.and_then(|place| counts.get(place)).copied().unwrap_or(0)
        };
        Self {
            completed: count(Outcome::Completed),
            failed: count(Outcome::Failed),
            stopped: count(Outcome::Stopped),
            expired: count(Outcome::Expired),
        }
    }
}

impl From<TroubleKind> for TroubleView {
    fn from(kind: TroubleKind) -> Self {
        match kind {
            TroubleKind::StopOverdue => Self::StopOverdue,
            TroubleKind::Restarting => Self::Restarting,
            TroubleKind::Unstable => Self::Unstable,
            TroubleKind::StartFailed => Self::StartFailed,
            TroubleKind::Waiting => Self::Waiting,
        }
    }
}
