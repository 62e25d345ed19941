//! A session as `/v1` shows it.

use std::borrow::Cow;

use axum::http::header::{CACHE_CONTROL, ETAG};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::caller::Caller;
use crate::http::v1::json_text;
use crate::id::SessionId;
use crate::principal::Principal;
use crate::session::registry::{Driven, Places};
use crate::session::{Outcome, Phase, PhaseName, Reason, SessionRecord};
use crate::shim::wire::Usage;

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Session")]
pub struct SessionView {
    /// Its id, a `UUIDv7`.
    pub id: SessionId,
    /// Its customer's email, as the customer wrote it.
    pub email: String,
    /// The persona.
    pub persona: String,
    /// Where it is in its life.
    pub phase: PhaseName,
    /// How often an agent was started for it.
    pub epoch: u32,
    /// Rises with each change.
    pub revision: u32,
    /// When it was requested, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created: String,
    /// How it ended, or is about to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it is where it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What stands behind the reason, such as the last lines of the agent's log. Only operators see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_detail: Option<String>,
    /// Bytes of its agent's log that are kept, if it failed. Only operators see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u32>,
    /// What its agent last said of its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Its place among the sessions that the server starts by itself, and what they wait for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

impl SessionView {
    /// What this caller may see of a session now.
    pub(super) fn of(app: &App, record: &SessionRecord, caller: &Caller) -> Self {
        let view = Self::new(record, app.registry.driven(record.id).as_ref(), app.registry.place(record.id));
        match caller.principal {
            Principal::Operator(_) => view,
            Principal::Session(_) | Principal::Nobody => Self { reason_detail: None, log_bytes: None, ..view },
        }
    }

    fn new(record: &SessionRecord, driven: Option<&Driven>, queue: Option<String>) -> Self {
        let why = record.phase.why().or_else(|| driven.and_then(|driven| driven.lost.as_ref()));
        Self {
            id: record.id,
            email: record.email().to_owned(),
            persona: record.persona.to_string(),
            phase: record.phase.kind(),
            epoch: record.phase.epoch().0,
            revision: record.revision.0,
            created: record.created.to_string(),
            outcome: record.phase.ending().map(|ending| ending.outcome),
            reason: why.map(ToString::to_string),
            reason_detail: why.and_then(Reason::detail).map(str::to_owned),
            log_bytes: record.phase.kept_log(),
            progress: driven.and_then(|driven| driven.progress.clone()),
            queue,
        }
    }

    /// The same as it is sent.
    pub(super) fn render(&self) -> Rendered {
        let text = serde_json::to_vec(self).expect("a session has string keys only and serialises");
        let hash = blake3::hash(&text).to_hex();
        let tag = format!("W/\"{}-{}\"", self.revision, &hash[..16]);
        Rendered { text: text.into(), tag }
    }
}

/// A session as it is sent.
pub(super) struct Rendered {
    text: Bytes,
    /// The tag of what is shown (RFC 9110, section 8.8.3): the revision, and a hash of the rest, some of which changes
    /// without one.
    tag: String,
}

impl Rendered {
    /// The answer that shows it.
    pub(super) fn answer(self, status: StatusCode) -> Response {
        let mut response = json_text(status, self.text);
        response.headers_mut().insert(ETAG, value(self.tag));
        response
    }

    /// The answer to who knows it.
    pub(super) fn not_modified(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        headers.insert(ETAG, value(self.tag));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Whether one of these tags is of it, compared as weak ones are (RFC 9110, sections 8.8.3.2 and 13.1.2).
    pub(super) fn is_among(&self, tags: &[&str]) -> bool {
        let opaque = |tag| str::trim_start_matches(tag, "W/");
        tags.iter().any(|known| *known == "*" || opaque(known) == opaque(&self.tag))
    }
}

fn value(tag: String) -> HeaderValue {
    HeaderValue::try_from(tag).expect("digits and quotes are a header's value")
}

/// A session, with what only operators see.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OperatorsSession")]
pub struct OperatorsView {
    /// What its customer sees, too.
    #[serde(flatten)]
    pub session: SessionView,
    /// Whom it counts for: the customer as the credential server in force knows it.
    pub customer: String,
    /// Its agent's process, if it has one on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The node that has it.
    pub node: String,
    /// What it waits for while it is pending and in no queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Cow<'static, str>>,
    /// How many requests wait for its agent's answer, while it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_requests: Option<usize>,
    /// How many of its agents were lost in the last ten minutes; more than ten end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent_losses: Option<usize>,
    /// Since when its agent is ready, in RFC 3339, while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub running_since: Option<String>,
    /// What its agent takes, if that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageView>,
    /// Which limits of its agent are in force and by what, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<String>,
}

/// What an agent takes with all its processes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Usage")]
pub struct UsageView {
    /// Memory.
    pub memory_bytes: u64,
    /// CPU time since its start, its ended processes included.
    pub cpu_seconds: f64,
    /// Processes.
    pub processes: u32,
    /// What its own directory takes on the disk, measured every few seconds; only if the persona has a quota for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_directory_bytes: Option<u64>,
}

impl OperatorsView {
    /// What operators see of a session now; `places` are those of the queue.
    pub(super) fn of(app: &App, record: &SessionRecord, places: &Places) -> Self {
        Self::new(app, record, places.of(record.id))
    }

    /// What operators see of one session now.
    pub(in crate::http) fn of_one(app: &App, record: &SessionRecord) -> Self {
        Self::new(app, record, app.registry.place(record.id))
    }

    fn new(app: &App, record: &SessionRecord, queue: Option<String>) -> Self {
        let (driven, now) = (app.registry.driven(record.id), app.clock.now());
        let running_since = match &record.phase {
            Phase::Running { since, .. } => Some(app.clock.wall_at(*since).to_string()),
            Phase::Pending { .. } | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => None,
        };
        Self {
            node: app.store.desk().id.clone(),
            waits_for: if queue.is_none() { app.registry.waits_for(record).map(Cow::Borrowed) } else { None },
            open_requests: driven.as_ref().and_then(|driven| driven.open_requests),
            recent_losses: record.phase.failures().map(|failures| failures.count(now)),
            running_since,
            session: SessionView::new(record, driven.as_ref(), queue),
            customer: record.customer.as_str().to_owned(),
            pid: driven.as_ref().and_then(|driven| driven.pid),
            usage: driven.as_ref().and_then(|driven| driven.usage).map(UsageView::from),
            limits: driven.map(|driven| driven.limits).filter(|limits| !limits.is_empty()),
        }
    }
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self {
            memory_bytes: usage.memory,
            cpu_seconds: usage.cpu.as_secs_f64(),
            processes: usage.processes,
            own_directory_bytes: usage.own_directory,
        }
    }
}
