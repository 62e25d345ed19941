//! An operator's look at one session: everything that is known of it, whole.

use serde::{Deserialize, Serialize};

use crate::credential::Verifier;
use crate::id::{CustomerKey, SessionId};
use crate::session::{Reason, SessionRecord};
use crate::shim::wire::Usage;

use super::{Operator, Reply, events};

/// Everything that is known of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionDetail {
    /// Its id.
    pub id: SessionId,
    /// Its customer's email, as the customer wrote it.
    pub email: String,
    /// The customer as the credential server in force knows it.
    pub customer: String,
    /// Which persona.
    pub persona: String,
    /// Its phase.
    pub phase: String,
    /// How it ended, or is about to.
    pub outcome: Option<String>,
    /// Why it is where it is, in a sentence that its customer may read, too.
    pub reason: Option<String>,
    /// What stands behind the reason, for operators alone.
    pub reason_detail: Option<String>,
    /// What its agent last said of its progress.
    pub progress: Option<String>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// How often an agent was started for it.
    pub epoch: u32,
    /// The agent's process.
    pub pid: Option<u32>,
    /// What its processes take, if that was measured.
    pub usage: Option<Usage>,
    /// How many requests wait for its agent's answer, while it is ready.
    pub open_requests: Option<usize>,
    /// Which limits are in force and by what, in words; empty if there are none.
    pub limits: String,
    /// When it was requested, in RFC 3339.
    pub created: String,
    /// Rises with each change.
    pub revision: u32,
    /// Bytes of its agent's log that are kept, if it failed.
    #[serde(default)]
    pub log_bytes: Option<u32>,
}

impl Operator {
    /// Shows the session with this id, or a customer's latest one.
    pub(super) async fn show_session(&self, session: &str) -> Result<Reply, String> {
        let keys = [self.embedded.key(session), CustomerKey::new(session)];
        let record = events::find(&*self.store, session, keys).await?;
        Ok(Reply::Session(Box::new(self.detail(&record))))
    }

    fn detail(&self, record: &SessionRecord) -> SessionDetail {
        let registry = self.registry.as_ref();
        let driven = registry.and_then(|registry| registry.driven(record.id));
        let driven = driven.as_ref();
        let reason = record.phase.why().or_else(|| driven.and_then(|driven| driven.lost.as_ref()));
        let waits_for = registry
            .and_then(|registry| registry.place(record.id).or_else(|| registry.waits_for(record).map(str::to_owned)));
        SessionDetail {
            id: record.id,
            email: record.email().to_owned(),
            customer: record.customer.as_str().to_owned(),
            persona: record.persona.to_string(),
            phase: record.phase.name().to_owned(),
            outcome: record.phase.ending().map(|ending| ending.outcome.to_string()),
            reason: reason.map(|reason| reason.sentence().to_owned()),
            reason_detail: reason.and_then(Reason::detail).map(str::to_owned),
            progress: driven.and_then(|driven| driven.progress.clone()),
            waits_for,
            epoch: record.phase.epoch().0,
            pid: driven.and_then(|driven| driven.pid),
            usage: driven.and_then(|driven| driven.usage),
            open_requests: driven.and_then(|driven| driven.open_requests),
            limits: driven.map(|driven| driven.limits.clone()).unwrap_or_default(),
            created: record.created.to_string(),
            revision: record.revision.0,
            log_bytes: record.phase.kept_log(),
        }
    }
}
