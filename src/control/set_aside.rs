//! An operator's command that gives up a session whose record is damaged.

use crate::id::SessionId;
use crate::session::Reason;
use crate::store::{Action, AuditEntry, GIVEN_UP, StoreError};

use super::Reply;
use super::operator::{Operator, done, of_store};

impl Operator {
    /// The session of this id, if its record is damaged, and what is wrong with it.
    pub(super) async fn set_aside(&self, session: &str) -> Option<(SessionId, String)> {
        let id = session.parse().ok()?;
        match self.store.session(id).await {
            Err(StoreError::SetAside(why)) => Some((id, why)),
            Ok(_) | Err(_) => None,
        }
    }

    pub(super) async fn give_up(&self, id: SessionId, why: &str, force: bool) -> Result<Reply, String> {
        if !force {
            return Err(format!(
                "{why}; it is set aside, and `frontdesk session stop {id} --force` gives it up: that kills its agent and \
                 moves what can be read of it to the history"
            ));
        }
        let entry = self.entry(Action::SessionKilled);
        let note = AuditEntry { session: Some(id), detail: GIVEN_UP.to_owned(), ..entry };
        let reason = Reason::new("its record was damaged; given up by an operator");
        let given_up = match &self.registry {
            Some(registry) => registry.give_up(id, reason, note).await.map(drop).map_err(|error| error.to_string()),
            // The next start ends what is left of its agent, before anybody is admitted.
            None => self.give_up_without_server(id, reason, note).await.map_err(|error| of_store(&error)),
        };
        given_up.map_err(|error| format!("session {id} was not given up: {error}"))?;
        Ok(done(format!("session {id} was given up: it has ended as failed, and its customer is free")))
    }

    async fn give_up_without_server(&self, id: SessionId, reason: Reason, note: AuditEntry) -> Result<(), StoreError> {
        self.store.note(note).await?;
        let before = self.sequences.last_revision(id).await;
        let record = self.store.give_up(id, before, reason, self.clock.now()).await?;
        self.tell(&record).await;
        Ok(())
    }
}
