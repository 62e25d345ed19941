//! The task that owns one session's use of a service: start it there, watch over it, end it.
//!
//! ```text
//!   initialize (again and again until the deadline) ──> ready ──> ping … ──> shutdown ──> ended
//!                                   adopt ──> ping ──────┘           \______ lost ______/
//! ```
//!
//! A service can't be killed from here: what remains is to tell it, and to let the next epoch fence off this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::agent::initialize::{self, field};
use crate::agent::journal::LOG_PATIENCE;
use crate::agent::{AgentEnd, AgentEvent, AgentSpec, Herald, Launcher};
use crate::clock::{Clock, Timestamp};
use crate::config::Persona;
use crate::failpoint::Failpoint;
use crate::session::{Reason, SessionData};

use super::exchanges::{End, Exchanges};
use super::health::{Health, Verdict};
use super::service::ServiceError;

/// Longer than any server runs.
const NEVER: Duration = Duration::from_hours(24 * 36_500);
/// The longest data that `initialize` carries.
const LARGEST_DATA_BYTES: u64 = 16 << 20;
/// What a service wrote last may still be on its way when it has confirmed its end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The first wait before a message is sent again; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Supervisor {
    pub(super) launcher: Launcher,
    pub(super) spec: AgentSpec,
    pub(super) exchanges: Arc<Exchanges>,
    pub(super) stops: mpsc::UnboundedReceiver<Timestamp>,
    pub(super) events: Herald,
}

/// How the agent comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// By `initialize`.
    Start,
    /// It serves already, under this epoch, since before this server started.
    Adopt,
}

/// Why the supervisor is ending the agent, decided once.
struct Cause {
    end: AgentEnd,
    goodbye: Goodbye,
}

/// How the service is told of the end.
#[derive(Clone, Copy)]
enum Goodbye {
    /// Not at all: it knows, or never heard of the session.
    None,
    /// Once: it was lost, and may hear it all the same.
    Once,
    /// Until it has confirmed it, or this time has come.
    Until(Timestamp),
}

impl Supervisor {
    pub(super) async fn run(mut self, beginning: Beginning) {
        let tasks = self.launcher.tasks.clone();
        let cause = tokio::select! {
            cause = self.live(beginning) => cause,
            () = tasks.leaving() => {
                // Requests in flight have the time that the whole server takes.
                self.exchanges.idle().await;
                return;
            }
        };
        let end = self.end(cause).await;
        self.exchanges.close(&end.reason(), end.refusal());
        if !self.exchanges.flushed(LOG_PATIENCE).await {
            tracing::error!(session.id = %self.spec.session, "last events of an agent may be lost: they can't be stored");
        }
        Failpoint::AfterAgentEnd.hit();
        // A driver that is gone has nobody to tell.
        let _ = self.events.tell(AgentEvent::Ended(end)).await;
    }

    async fn live(&mut self, beginning: Beginning) -> Cause {
        match beginning {
            Beginning::Start => match self.start().await {
                Ok(()) => self.serve(beginning).await,
                Err(cause) => cause,
            },
            Beginning::Adopt => self.serve(beginning).await,
        }
    }

    /// Brings the agent to ready, or says why not.
    async fn start(&mut self) -> Result<(), Cause> {
        let clock = Arc::clone(&self.launcher.clock);
        let unheard = |end| Cause { end, goodbye: Goodbye::None };
        tokio::select! {
            biased;
            _ = self.stops.recv() => return Err(unheard(AgentEnd::Stopped)),
            () = clock.sleep_until(self.spec.not_before) => {}
        }
        let data = tokio::select! {
            biased;
            _ = self.stops.recv() => return Err(unheard(AgentEnd::Stopped)),
            data = data_field(&self.launcher, &self.spec) => data,
            () = clock.sleep_until(self.spec.deadline) => {
                Err(Reason::new("its session data could not be read in time"))
            }
        };
        let params = match data {
            Ok(data) => initialize::params(&self.spec, &data),
            Err(reason) => return Err(unheard(AgentEnd::Lost(reason))),
        };
        let params = [params.as_slice()];
        let mut last = None;
        let started = tokio::select! {
            biased;
            kill_at = self.stops.recv() => return Err(stopped(kill_at, clock.now())),
            started = initialize(&self.exchanges, &params, &mut last) => started,
            () = clock.sleep_until(self.spec.deadline) => {
                let after = humantime::format_duration(self.spec.persona.start_timeout);
                Err(last.unwrap_or_else(|| self.exchanges.timed_out("initialize", after)))
            }
        };
        started.map_err(|error| self.lost(&error))?;
        if self.events.tell(AgentEvent::Ready).await { Ok(()) } else { Err(stopped(None, clock.now())) }
    }

    /// Keeps the agent until something ends it.
    async fn serve(&mut self, beginning: Beginning) -> Cause {
        let clock = Arc::clone(&self.launcher.clock);
        tokio::select! {
            biased;
            kill_at = self.stops.recv() => stopped(kill_at, clock.now()),
            end = self.exchanges.ended() => match end {
                End::Finished(ending) => Cause {
                    end: AgentEnd::Finished(ending),
                    goodbye: Goodbye::Until(clock.now() + self.spec.persona.stop_grace),
                },
                End::Lost(reason) => Cause { end: AgentEnd::Lost(reason), goodbye: Goodbye::None },
            },
            error = watch(&self.exchanges, &*clock, &self.spec.persona, beginning) => self.lost(&error),
        }
    }

    fn lost(&self, error: &ServiceError) -> Cause {
        let goodbye = if error.fault.means_no_session() { Goodbye::None } else { Goodbye::Once };
        Cause { end: AgentEnd::Lost(self.exchanges.explained(error)), goodbye }
    }

    /// Tells the service that it is over, and waits for its word or the time of the kill.
    async fn end(&mut self, Cause { end, goodbye }: Cause) -> AgentEnd {
        let clock = Arc::clone(&self.launcher.clock);
        self.exchanges.refuse(end.refusal());
        let mut kill_at = match goodbye {
            Goodbye::None => return end,
            Goodbye::Once => clock.now() + LAST_WORDS,
            Goodbye::Until(kill_at) => kill_at,
        };
        let mut confirmed = self.say_goodbye(goodbye);
        let is_confirmed = loop {
            tokio::select! {
                biased;
                outcome = &mut confirmed => break outcome.is_ok(),
                Some(sooner) = self.stops.recv() => kill_at = kill_at.min(sooner),
                () = clock.sleep_until(kill_at) => break false,
            }
        };
        if is_confirmed {
            let last_words = kill_at.min(clock.now() + LAST_WORDS);
            tokio::select! {
                () = self.exchanges.idle() => {}
                () = clock.sleep_until(last_words) => {}
            }
        } else {
            tracing::warn!(session.id = %self.spec.session, epoch = %self.spec.epoch,
                "an agent that is a service can't be killed from here, and its service has not confirmed the end");
        }
        end
    }

    /// Says `shutdown` in a task of its own, so that even an agent that ends at once is told. What comes back is
    /// closed if the service could not be told.
    fn say_goodbye(&self, goodbye: Goodbye) -> oneshot::Receiver<()> {
        let (confirm, confirmed) = oneshot::channel();
        let (exchanges, clock) = (Arc::clone(&self.exchanges), Arc::clone(&self.launcher.clock));
        let (session, epoch) = (self.spec.session, self.spec.epoch);
        self.launcher.tasks.spawn(async move {
            let least = clock.now() + LAST_WORDS;
            let until = match goodbye {
                Goodbye::None | Goodbye::Once => least,
                Goodbye::Until(kill_at) => kill_at.max(least),
            };
            let mut last = None;
            let told = async {
                let mut wait = FIRST_WAIT;
                loop {
                    match (exchanges.say_goodbye().await, goodbye) {
                        (Ok(()), _) => return true,
                        (Err(error), Goodbye::Until(_)) => last = Some(error),
                        (Err(error), Goodbye::Once | Goodbye::None) => {
                            last = Some(error);
                            return false;
                        }
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            };
            let is_told = tokio::select! {
                is_told = told => is_told,
                () = clock.sleep_until(until) => false,
            };
            if is_told {
                let _ = confirm.send(());
            } else {
                let error = last.map_or_else(|| "no answer to shutdown".to_owned(), |error| error.to_string());
                tracing::warn!(session.id = %session, epoch = %epoch, error = %error,
                    "the service of an agent could not be told of its end");
            }
        });
        confirmed
    }
}

/// Says `initialize` until it is answered for good; `last` is why it was not so far.
async fn initialize(
    exchanges: &Exchanges,
    params: &[&[u8]],
    last: &mut Option<ServiceError>,
) -> Result<(), ServiceError> {
    let id = exchanges.number();
    let mut wait = FIRST_WAIT;
    loop {
        match exchanges.call(id, "initialize", params).await {
            Err(error) if error.fault.may_pass() => *last = Some(error),
            outcome => return outcome,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Says `ping` in time, and at once when a request has failed, until the service is lost.
async fn watch(exchanges: &Exchanges, clock: &dyn Clock, persona: &Persona, beginning: Beginning) -> ServiceError {
    // Without pings only what fails is looked into.
    let interval = persona.ping_interval.unwrap_or(NEVER);
    let mut health = Health::default();
    let mut due = match beginning {
        Beginning::Start => clock.now() + spread(interval),
        Beginning::Adopt => clock.now(),
    };
    loop {
        tokio::select! {
            // While pings fail, further failures are no news: the service is given its time to come back.
            () = exchanges.trouble(), if health.is_well() => {}
            () = clock.sleep_until(due) => {}
        }
        match health.after(exchanges.ping(persona.ping_timeout).await, interval) {
            Verdict::PingIn(wait) => due = clock.now() + spread(wait),
            Verdict::Lost(error) => return error,
        }
    }
}

/// Up to a quarter less by chance, so that sessions that began together do not ping together for ever.
fn spread(wait: Duration) -> Duration {
    let chance = f64::from(u16::from_ne_bytes(crate::random::bytes())) / f64::from(u16::MAX);
    wait - wait.mul_f64(0.25 * chance)
}

fn stopped(kill_at: Option<Timestamp>, now: Timestamp) -> Cause {
    // Without a handle left nobody can ask this agent for anything.
    Cause { end: AgentEnd::Stopped, goodbye: Goodbye::Until(kill_at.unwrap_or(now)) }
}

/// The session's data as a field of `initialize`: always inline, because a service may not see our files.
async fn data_field(launcher: &Launcher, spec: &AgentSpec) -> Result<Vec<u8>, Reason> {
    let unread = |error: &dyn std::fmt::Display| Reason::new("its session data could not be read").with_detail(error);
    let path = match launcher.store.data(spec.session).await.map_err(|error| unread(&error))? {
        Some(SessionData::Inline(text)) => return Ok(field("SESSION_DATA", &text)),
        None => return Ok(field("SESSION_DATA", b"{}")),
        Some(SessionData::File(path)) => path,
    };
    let size = tokio::fs::metadata(&path).await.map_err(|error| unread(&error))?.len();
    if size > LARGEST_DATA_BYTES {
        return Err(Reason::new(format!(
            "its session data has {size} bytes, and a service is given {LARGEST_DATA_BYTES} at most; pass what is \
             larger by reference"
        )));
    }
    tokio::fs::read(&path).await.map(|text| field("SESSION_DATA", &text)).map_err(|error| unread(&error))
}
