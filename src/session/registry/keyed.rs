//! Requests that carry an idempotency key: each reaches its agent at most once, and everybody who asks with the same key
//! gets the same answer, also from the next server.
//!
//! ```text
//!   note it (stored) ──> hand it over ──> answer ──> store the answer ──> give it
//! ```
//!
//! A note without an answer is followed up when its agent is taken up again. If the agent is lost while the request still
//! waits for it, the note is withdrawn: whoever asks again asks the next agent. A request that the agent was given is lost
//! with it, and never handed to another. A stored answer is given whatever the session's phase, until the session's
//! history is deleted.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::agent::{Agent, CallError, Fate, Json, KeptCall};
use crate::failpoint::Failpoint;
use crate::id::{Epoch, SessionId};
use crate::session::phase::Reason;
use crate::store::{ANSWER_DROPPED, KeyedAnswer, Noted, RequestKey, RequestNote, StoreError};

use super::{Registry, RelayError};

/// How long the lines behind a request may wait for it to be noted.
const NOTE_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to store what came of a request.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// What comes of a request, once it has.
type Outcome = Option<Result<Json, RelayError>>;

/// The keyed requests that this server follows at the moment.
#[derive(Debug, Default)]
pub(super) struct Followed {
    requests: HashMap<(SessionId, RequestKey), Following>,
}

/// A request that is followed.
#[derive(Clone, Debug)]
struct Following {
    /// The hash of its bytes.
    digest: [u8; 32],
    call: watch::Receiver<Option<Call>>,
    outcome: watch::Receiver<Outcome>,
}

/// The call as which an agent gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) epoch: Epoch,
    pub(super) number: u64,
    /// Whether it was made since the request was last asked for, so that nothing was said of it before.
    pub(super) is_new: bool,
}

/// A request that was asked for under its key.
pub(super) struct Asked {
    pub(super) call: watch::Receiver<Option<Call>>,
    /// Whether it is followed since this call.
    pub(super) is_first: bool,
    outcome: watch::Receiver<Outcome>,
}

/// By which those who follow a request are told.
struct Teller {
    call: watch::Sender<Option<Call>>,
    outcome: watch::Sender<Outcome>,
}

/// Why a request was not handed over.
enum Instead {
    Call(CallError),
    Store(StoreError),
    Known(RequestNote),
}

impl From<CallError> for Instead {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// A keyed request with its agent.
struct Errand<'a> {
    registry: &'a Registry,
    session: SessionId,
    key: RequestKey,
    agent: Agent,
    epoch: Epoch,
    timeout: Duration,
    teller: &'a Teller,
}

impl Registry {
    /// Relays a request at most once, however often it is asked for under this key. Who goes away does not cancel it.
    ///
    /// # Errors
    /// A [`RelayError`]; the same one again, once the request was handed over.
    pub async fn relay_once(&self, id: SessionId, key: RequestKey, request: Bytes) -> Result<Json, RelayError> {
        let began = self.inner.context.clock.now();
        let answer = match self.ask_once(id, key, request) {
            Ok(asked) => asked.answer().await,
            Err(error) => Err(error),
        };
        self.count_relay(began, &answer);
        answer
    }

    /// Asks for a request under its key: hands it over, or follows what is done already.
    pub(super) fn ask_once(&self, id: SessionId, key: RequestKey, request: Bytes) -> Result<Asked, RelayError> {
        let digest = *blake3::hash(&request).as_bytes();
        match self.follow(id, key, digest) {
            Ok(teller) => {
                let (call, outcome) = (teller.call.subscribe(), teller.outcome.subscribe());
                let registry = self.clone();
                self.inner.context.tasks.spawn(async move {
                    let answer = registry.carry(id, key, digest, &request, &teller).await;
                    registry.tell(id, key, &teller, answer);
                });
                Ok(Asked { call, is_first: true, outcome })
            }
            Err(following) if following.digest != digest => Err(RelayError::KeyReused),
            Err(Following { call, outcome, .. }) => Ok(Asked { call, is_first: false, outcome }),
        }
    }

    /// Follows up what an earlier server has handed to this agent, so that its answers are stored.
    pub(super) fn follow_up(&self, id: SessionId, agent: &Agent, epoch: Epoch, timeout: Duration, notes: Notes) {
        for (key, note) in notes {
            let Ok(teller) = self.follow(id, key, note.digest) else { continue };
            let (registry, agent) = (self.clone(), agent.clone());
            let tasks = self.inner.context.tasks.clone();
            self.inner.context.tasks.spawn(async move {
                let errand = Errand { registry: &registry, session: id, key, agent, epoch, timeout, teller: &teller };
                let call = note.call;
                let settling = async {
                    match errand.known(note).await {
                        Some(answer) => answer,
                        // Whoever asks again asks anew, and this agent or the next gets it.
                        None => {
                            errand.withdraw(call).await;
                            Err(CallError::NotGiven(Reason::new("the server was killed before it was handed over"))
                                .into())
                        }
                    }
                };
                let answer = tokio::select! {
                    answer = settling => answer,
                    // Nobody waits for it here: the next server follows it up again.
                    () = tasks.draining() => return,
                };
                registry.tell(id, key, &teller, answer);
            });
        }
    }

    /// Begins to follow a request; if it is followed already, what is known of it.
    fn follow(&self, id: SessionId, key: RequestKey, digest: [u8; 32]) -> Result<Teller, Following> {
        let mut followed = self.inner.followed.lock();
        match followed.requests.get(&(id, key)) {
            // One whose task failed is followed by nobody.
            Some(following) if following.outcome.has_changed().is_ok() => Err(following.clone()),
            Some(_) | None => {
                let teller = Teller { call: watch::Sender::new(None), outcome: watch::Sender::new(None) };
                let (call, outcome) = (teller.call.subscribe(), teller.outcome.subscribe());
                followed.requests.insert((id, key), Following { digest, call, outcome });
                Ok(teller)
            }
        }
    }

    fn tell(&self, id: SessionId, key: RequestKey, teller: &Teller, answer: Result<Json, RelayError>) {
        // Whoever comes after this finds it in the store.
        self.inner.followed.lock().requests.remove(&(id, key));
        teller.outcome.send_replace(Some(answer));
    }

    async fn carry(
        &self,
        session: SessionId,
        key: RequestKey,
        digest: [u8; 32],
        request: &[u8],
        teller: &Teller,
    ) -> Result<Json, RelayError> {
        // Before the phase: whoever lost an answer gets it again, also once the session has ended.
        let noted = self.inner.context.store.noted_request(session, key).await?;
        if let Some(note) = &noted {
            if note.digest != digest {
                return Err(RelayError::KeyReused);
            }
            if let Some(answer) = &note.answer {
                teller.tell_known(note);
                return given(answer.clone());
            }
        }
        let (agent, epoch, timeout) = match (self.running(session), &noted) {
            (Ok(running), _) => running,
            (Err(RelayError::NotRunning), Some(note)) if self.has_ended(session).await? => {
                teller.tell_known(note);
                return self.keep(session, key, KeyedAnswer::Lost("its session has ended".to_owned())).await;
            }
            (Err(error), _) => return Err(error),
        };
        let errand = Errand { registry: self, session, key, agent, epoch, timeout, teller };
        match errand.hand_over(digest, request, None).await {
            Err(Instead::Known(note)) if note.digest != digest => Err(RelayError::KeyReused),
            Err(Instead::Known(note)) => {
                let before = (note.epoch, note.call);
                match errand.known(note).await {
                    Some(answer) => answer,
                    None => match errand.hand_over(digest, request, Some(before)).await {
                        Err(Instead::Known(_)) => Err(RelayError::NotRunning),
                        outcome => finish(outcome),
                    },
                }
            }
            outcome => finish(outcome),
        }
    }

    async fn has_ended(&self, session: SessionId) -> Result<bool, StoreError> {
        let stored = self.inner.context.store.session(session).await?;
        Ok(stored.is_some_and(|stored| !stored.record.phase.is_live()))
    }

    /// Stores an answer, however long that takes.
    async fn keep(&self, session: SessionId, key: RequestKey, answer: KeyedAnswer) -> Result<Json, RelayError> {
        let (store, tasks) = (&self.inner.context.store, &self.inner.context.tasks);
        let keep_bytes = self.inner.context.launcher.limits.answers_bytes;
        loop {
            match store.answer_request(session, key, answer.clone(), keep_bytes).await {
                Ok(answer) => return given(answer),
                // With its session's history its note is gone.
                Err(StoreError::Missing) => return given(answer),
                Err(error) if tasks.is_draining() => return Err(error.into()),
                Err(error) => tracing::warn!(session.id = %session, error = %error, "answer not stored"),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }
}

impl Teller {
    fn tell_call(&self, call: Call) {
        self.call.send_replace(Some(call));
    }

    fn tell_known(&self, note: &RequestNote) {
        self.tell_call(Call { epoch: note.epoch, number: note.call, is_new: false });
    }
}

impl Asked {
    /// What comes of it, once it has.
    pub(super) async fn answer(mut self) -> Result<Json, RelayError> {
        let answer = self.outcome.wait_for(Option::is_some).await.map_err(|_| RelayError::NotRunning)?;
        answer.clone().unwrap_or(Err(RelayError::NotRunning))
    }
}

/// Keyed requests without an answer.
pub(super) type Notes = Vec<(RequestKey, RequestNote)>;

impl Errand<'_> {
    /// Hands the request over as a new call, noted before; with `instead_of`, in the place of a call that was never
    /// made.
    async fn hand_over(
        &self,
        digest: [u8; 32],
        request: &[u8],
        instead_of: Option<(Epoch, u64)>,
    ) -> Result<Result<Json, RelayError>, Instead> {
        let noted = OnceLock::new();
        let note = async |call| {
            // From here on the note may stand, whatever is said of it.
            let _ = noted.set(call);
            let note = self.note(call, digest, instead_of);
            let patience = self.timeout.min(NOTE_PATIENCE);
            tokio::time::timeout(patience, note).await.unwrap_or(Err(Instead::Store(StoreError::Busy)))
        };
        let error = match self.agent.request_once(request, self.timeout, note).await {
            Ok(call) => return Ok(self.settle(call).await),
            Err(error) => error,
        };
        if let (Some(call), Instead::Call(_) | Instead::Store(_)) = (noted.get(), &error) {
            self.withdraw(*call).await;
        }
        Err(error)
    }

    /// Notes the request as this call, before the agent gets it.
    async fn note(&self, call: u64, digest: [u8; 32], instead_of: Option<(Epoch, u64)>) -> Result<(), Instead> {
        let (store, epoch) = (&self.registry.inner.context.store, self.epoch);
        if let Some(before) = instead_of {
            let moved = store.move_request(self.session, self.key, before, (epoch, call)).await;
            moved.map_err(Instead::Store)?;
        } else {
            let note = RequestNote { digest, epoch, call, answer: None };
            if let Noted::Known(note) =
                store.note_request(self.session, self.key, note).await.map_err(Instead::Store)?
            {
                return Err(Instead::Known(note));
            }
        }
        Failpoint::AfterNote.hit();
        self.teller.tell_call(Call { epoch, number: call, is_new: true });
        Ok(())
    }

    /// Withdraws the note of a call that the agent was never given, however long that takes.
    async fn withdraw(&self, call: u64) {
        let (store, tasks) = (&self.registry.inner.context.store, &self.registry.inner.context.tasks);
        while let Err(error) = store.withdraw_request(self.session, self.key, (self.epoch, call)).await {
            if tasks.is_draining() {
                // The next server finds that the agent was never given it.
                return;
            }
            tracing::warn!(session.id = %self.session, error = %error, "note of a request not withdrawn");
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// What comes of a request that is noted; `None` if it was never handed over.
    async fn known(&self, note: RequestNote) -> Option<Result<Json, RelayError>> {
        self.teller.tell_known(&note);
        if let Some(answer) = note.answer {
            return Some(given(answer));
        }
        if note.epoch != self.epoch {
            return Some(self.lost("the agent that had it has ended").await);
        }
        match self.agent.inherited(note.call, self.timeout).await {
            Fate::Answered(call) => Some(self.settle(call).await),
            Fate::NeverGiven => None,
            Fate::Unknown => Some(self.lost("its answer was not kept").await),
        }
    }

    async fn lost(&self, why: &str) -> Result<Json, RelayError> {
        self.registry.keep(self.session, self.key, KeyedAnswer::Lost(why.to_owned())).await
    }

    /// Stores what came of a call, and only then gives it. What the agent said before it is durable by then.
    async fn settle(&self, call: KeptCall<'_>) -> Result<Json, RelayError> {
        let tasks = &self.registry.inner.context.tasks;
        let answer = match &call.outcome {
            Ok(result) => KeyedAnswer::Result(result.clone()),
            Err(CallError::Refused { message }) => KeyedAnswer::Refused(message.clone()),
            // The agent may live: the next server finds out what came of it.
            Err(error @ CallError::Lost(_)) if tasks.is_draining() && tasks.leaves_agents() => {
                return Err(error.clone().into());
            }
            Err(CallError::Lost(reason)) => KeyedAnswer::Lost(reason.to_string()),
            Err(CallError::TimedOut) => KeyedAnswer::TimedOut,
            Err(CallError::NoAnswer(reason)) => KeyedAnswer::NoAnswer(reason.to_string()),
            Err(error) => KeyedAnswer::Lost(error.to_string()),
        };
        self.agent.flushed().await;
        self.registry.keep(self.session, self.key, answer).await
    }
}

fn finish(outcome: Result<Result<Json, RelayError>, Instead>) -> Result<Json, RelayError> {
    match outcome {
        Ok(answer) => answer,
        Err(Instead::Call(error)) => Err(error.into()),
        Err(Instead::Store(error)) => Err(error.into()),
        Err(Instead::Known(note)) => note.answer.map_or(Err(RelayError::NotRunning), given),
    }
}

fn given(answer: KeyedAnswer) -> Result<Json, RelayError> {
    match answer {
        KeyedAnswer::Result(result) => Ok(result),
        KeyedAnswer::Refused(message) => Err(CallError::Refused { message }.into()),
        KeyedAnswer::Lost(why) if why == ANSWER_DROPPED => Err(RelayError::AnswerDropped),
        KeyedAnswer::Lost(why) => Err(CallError::Lost(Reason::new(why)).into()),
        KeyedAnswer::TimedOut => Err(CallError::TimedOut.into()),
        KeyedAnswer::NoAnswer(why) => Err(CallError::NoAnswer(Reason::new(why)).into()),
    }
}
