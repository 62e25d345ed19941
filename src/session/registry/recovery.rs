//! Settles what an earlier server left, before anything is served: sessions that should have an agent, and agents that
//! are there, each against the other.
//!
//! An agent that lives under its session's epoch is taken up, and the session never notices. One that ended meanwhile
//! is judged by how it ended, as if somebody had looked. What belongs to no session, or to an older epoch, is ended.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::agent::survivors::Survivor;
use crate::agent::{self, Agent, Before, News};
use crate::clock::Timestamp;
use crate::config::AgentKind;
use crate::failpoint::Failpoint;
use crate::id::{Epoch, Revision, SessionId};
use crate::session::driver::{self, Command, CommandError, View};
use crate::session::machine::Event;
use crate::session::phase::{Phase, Reason};
use crate::session::record::SessionRecord;
use crate::store::{Glance, StoreError};

use super::Registry;

/// How long a start waits for the steps of sessions whose agents are gone.
const TO_SETTLE: Duration = Duration::from_secs(10);

/// An agent that was taken up, and what is told of it.
type Adopted = (Agent, News);

impl Registry {
    /// Takes up the agents of an earlier server, ends what nobody should have left, and goes on with every session that
    /// was not pending. Nothing may be served before: agents that are found dead are stored as lost by then.
    ///
    /// # Errors
    /// What the store or the file system said.
    pub async fn recover(&self) -> Result<(), StoreError> {
        let launcher = &self.inner.context.launcher;
        let survivors = launcher.survivors().await;
        let mut survivors = survivors.map_err(|error| {
            StoreError::Unavailable(format!("the directory {} can't be read: {error}", launcher.agents.display()))
        })?;
        // Of those that wait, there may be a million of which nothing is to be done.
        let is_concerned = |session: &Glance<'_>| {
            is_driven(session.phase) || session.revision > Revision::FIRST || self.starts_by_itself(session.persona)
        };
        let sessions = self.inner.context.store.live_sessions(&is_concerned).await?;
        let (mut adopting, mut kept, mut dead) = (JoinSet::new(), HashMap::new(), HashSet::new());
        for stored in sessions.iter().filter(|stored| is_driven(&stored.record.phase)) {
            let survivor = survivors.remove(&stored.record.id);
            if survivor.as_ref().is_some_and(Survivor::is_alive) {
                kept.insert(stored.record.id, stored.record.phase.epoch());
            } else if survivor.is_some() {
                dead.insert(stored.record.id);
            }
            let (registry, stored) = (self.clone(), Arc::clone(stored));
            // All at once: what is left of some has to be ended first, and that takes its time.
            adopting.spawn(async move { (stored.record.id, registry.adopt(&stored.record, survivor).await) });
        }
        self.leave_set_aside(&mut survivors, &mut kept);
        let adopted = adopting.join_all().await.into_iter();
        let mut adopted: HashMap<_, _> = adopted.filter_map(|(id, agent)| Some((id, agent?))).collect();
        Failpoint::DuringAdoption.hit();
        let (alive, ended) = (kept.len(), self.end_others(survivors, kept).await);
        self.free_users().await?;
        Failpoint::DuringRecovery.hit();
        let (mut recovered, mut settling) = (0, Vec::new());
        for record in sessions.iter().map(|stored| &stored.record) {
            if is_driven(&record.phase) {
                let is_dead = dead.contains(&record.id);
                settling.extend(self.go_on(record, adopted.remove(&record.id), is_dead));
                recovered += 1;
            } else {
                self.tell_again(record).await;
                self.admitted(record);
            }
        }
        let all_settled = async {
            for session in settling {
                session.stored().await;
            }
        };
        if tokio::time::timeout(TO_SETTLE, all_settled).await.is_err() {
            tracing::warn!("not every loss of an agent that ended while no server ran is stored yet");
        }
        if recovered > 0 || ended > 0 {
            tracing::info!(
                sessions = recovered,
                agents = alive,
                ended,
                "sessions and agents of an earlier server taken up"
            );
        }
        Ok(())
    }

    /// Appends a pending session's last transition once more; those with a driver are told of by that.
    async fn tell_again(&self, record: &SessionRecord) {
        if record.revision > Revision::FIRST {
            drop(self.sequences().tell(record, None, &self.inner.context.tasks).await);
        }
    }

    async fn adopt(&self, record: &SessionRecord, survivor: Option<Survivor>) -> Option<Adopted> {
        let persona = self.persona_of(record).unwrap_or_default();
        let (not_before, deadline) = match &record.phase {
            Phase::Starting { not_before, deadline, .. } => (*not_before, *deadline),
            Phase::Pending { .. } | Phase::Running { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => {
                (Timestamp::from_micros(0), Timestamp::from_micros(0))
            }
        };
        let spec = driver::spec(record, &persona, record.phase.epoch(), not_before, deadline);
        let notes = self.inner.context.store.open_requests(record.id).await.unwrap_or_else(|error| {
            tracing::warn!(session.id = %record.id, error = %error, "requests under way not read; their answers are lost");
            Vec::new()
        });
        let is_ready = record.phase.has_agent();
        let calls = notes.iter().filter(|(_, note)| note.epoch == spec.epoch).map(|(_, note)| note.call).collect();
        let (epoch, before) = (spec.epoch, Before { is_ready, calls });
        let (events, news) = agent::news();
        let launcher = &self.inner.context.launcher;
        let agent = match (persona.agent, survivor) {
            (AgentKind::Process, Some(survivor)) => launcher.adopt(spec, survivor, before, events).await?,
            (AgentKind::Http, None) if is_ready => launcher.adopt_service(spec, events),
            // What a service was told of a start that was cut off, it is told anew under the next epoch.
            (AgentKind::Http, None) | (AgentKind::Process, None) => return None,
            // Its persona has changed since.
            (AgentKind::Http, Some(_)) => {
                launcher.end_survivor(record.id).await;
                return None;
            }
        };
        self.follow_up(record.id, &agent, epoch, persona.request_timeout, notes);
        Some((agent, news))
    }

    /// Ends what no session has, and returns how many processes and directories that were.
    async fn end_others(&self, others: HashMap<SessionId, Survivor>, kept: HashMap<SessionId, Epoch>) -> usize {
        let launcher = &self.inner.context.launcher;
        let directories = others.len();
        let mut ending = JoinSet::new();
        for session in others.into_keys() {
            let launcher = launcher.clone();
            ending.spawn(async move { launcher.end_survivor(session).await });
        }
        ending.join_all().await;
        directories + launcher.end_strangers(kept).await
    }

    /// Frees the users that sessions had for themselves and that an earlier server has not come to free.
    async fn free_users(&self) -> Result<(), StoreError> {
        let launcher = &self.inner.context.launcher;
        let store = &self.inner.context.store;
        for id in launcher.sessions_with_user().into_iter().filter(|id| !store.is_set_aside(*id)) {
            let stored = store.session(id).await?;
            // A pending session may be about to start again, and frees its user when it ends.
            if stored.is_none_or(|stored| !stored.record.phase.is_live()) {
                launcher.forget_soon(id);
            }
        }
        Ok(())
    }

    /// Goes on with a session. Unless its agent lives, there is a step to wait for.
    fn go_on(&self, record: &SessionRecord, adopted: Option<Adopted>, is_dead: bool) -> Option<Settling> {
        let room = Some(self.inner.room.make_do());
        let event = match (self.persona(&record.persona), &adopted) {
            (None, _) => Event::Stop {
                force: true,
                reason: Reason::new(format!("its persona {} is no longer configured", record.persona)),
            },
            (Some(_), Some(_)) => Event::Adopted,
            (Some(_), None) => Event::Recovered,
        };
        let is_left = adopted.is_none();
        let (reply, answer) = oneshot::channel();
        let view = self.claim_with_agent(record, Command { event, room, note: None, reply }, adopted)?;
        (is_left || is_dead).then(|| Settling { answer, view: is_dead.then_some((record.revision, view)) })
    }
}

/// A session whose agent is gone, until that is stored.
struct Settling {
    answer: oneshot::Receiver<Result<Arc<SessionRecord>, CommandError>>,
    /// What is seen of a session whose agent's end is still to be read, and the revision at which it stood.
    view: Option<(Revision, watch::Receiver<View>)>,
}

impl Settling {
    /// Completes when the session's step is stored, or its driver has gone.
    async fn stored(self) {
        let _ = self.answer.await;
        if let Some((before, mut view)) = self.view {
            let _ = view.wait_for(|view| view.record.revision > before).await;
        }
    }
}

fn is_driven(phase: &Phase) -> bool {
    match phase {
        Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } => true,
        Phase::Pending { .. } | Phase::Ended { .. } => false,
    }
}
