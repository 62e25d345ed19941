//! The life of a session as one pure function: [`step`].
//!
//! It takes a phase, an event and the time, and returns the next phase with the effects to start, or a typed
//! refusal. It never logs, sleeps, panics or reads a clock; the driver is its only caller. Every phase answers every
//! event: there is no catch-all arm, so that a new event does not compile until each phase has an answer.
//!
//! Who loses an agent reports it only when nothing of that agent is left. So `AgentLost` and `AgentGone` both mean
//! "ended and gone", and a phase without an agent never has a process.

use std::time::Duration;

use crate::id::Epoch;
use crate::restart::{Decision, Failures};
use crate::time::Timestamp;

use crate::phase::{Ending, Outcome, Phase, Start};
use crate::reason::Reason;

/// What may happen to a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody asks for the agent.
    Initialise,
    /// The agent answered `initialize`, or a plain command was spawned.
    AgentReady {
        /// Which agent.
        epoch: Epoch,
    },
    /// The agent ended or could not be started, and nothing of it is left.
    AgentLost {
        /// Which agent.
        epoch: Epoch,
        /// In words.
        reason: Reason,
        /// A random number that spreads restarts.
        jitter: u16,
    },
    /// The agent has done its work, and nothing of it is left.
    AgentFinished {
        /// Which agent.
        epoch: Epoch,
        /// How its work ended.
        ending: Ending,
    },
    /// Nothing is left of an agent that was told to end.
    AgentGone {
        /// Which agent.
        epoch: Epoch,
    },
    /// Somebody asks for the end.
    Stop {
        /// Kill at once instead of asking politely first.
        force: bool,
        /// Who asked, in words.
        reason: Reason,
    },
    /// Somebody asks for another agent in place of the current one.
    Restart {
        /// Which agent: it has happened already if there is a later one. Nothing means whichever there is.
        epoch: Option<Epoch>,
        /// Who asked, in words.
        reason: Reason,
    },
    /// Time has passed; the machine looks at its deadlines.
    Tick {
        /// When the session last relayed a request or an answer.
        last_activity: Timestamp,
    },
    /// The server has started and found this record; no agent of it is left.
    Recovered,
    /// The server has started and found this record with its agent, which lives.
    Adopted,
}

/// What the driver has to do after a step is stored. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start an agent, at `not_before`, that must be ready by `deadline`.
    StartAgent {
        /// Its fencing number.
        epoch: Epoch,
        /// When to begin.
        not_before: Timestamp,
        /// When it counts as failed.
        deadline: Timestamp,
    },
    /// End the agent politely, and kill what is left of it at `deadline`.
    StopAgent {
        /// Which agent.
        epoch: Epoch,
        /// When to kill.
        deadline: Timestamp,
    },
}

/// The next phase and what to do when it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The phase after the event; equal to the one before if nothing changed.
    pub phase: Phase,
    /// In the order in which they are to be started.
    pub effects: Vec<Effect>,
}

/// Why an event does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Initialise of a session that is not pending.
    #[error("the session is not pending")]
    NotPending,
    /// Restart of a session that has no agent, or is losing it for good.
    #[error("the session is not running")]
    NotRunning,
    /// The session is over.
    #[error("the session has ended")]
    Ended,
    /// The event carries an epoch that is not the current one.
    #[error("the event belongs to another epoch")]
    OtherEpoch,
    /// The event can't happen in this phase.
    #[error("the event does not apply in this phase")]
    DoesNotApply,
}

/// The limits of a session, from its persona.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a session may wait for initialise.
    pub pending_timeout: Duration,
    /// How long one start of an agent may take.
    pub start_timeout: Duration,
    /// How many first starts may fail before the session does; at least one.
    pub start_attempts: u32,
    /// How long a running session may relay nothing.
    pub idle_timeout: Option<Duration>,
    /// How long a session may run.
    pub max_lifetime: Option<Duration>,
    /// How long an agent has to end by itself.
    pub stop_grace: Duration,
}

/// Says what follows when `event` happens in `phase` at `now`.
///
/// # Errors
/// A [`Rejection`] when the event does not apply. Asking again for what is already being done is no error.
pub fn step(phase: &Phase, event: &Event, limits: &Limits, now: Timestamp) -> Result<Step, Rejection> {
    match phase {
        Phase::Pending { .. } => step_pending(phase, event, limits, now),
        Phase::Starting { .. } => step_starting(phase, event, limits, now),
        Phase::Running { .. } => step_running(phase, event, limits, now),
        Phase::Stopping { .. } => step_stopping(phase, event, now),
        Phase::Ended { .. } => step_ended(phase, event),
    }
}

fn step_pending(phase: &Phase, event: &Event, limits: &Limits, now: Timestamp) -> Result<Step, Rejection> {
    let Phase::Pending { deadline, epoch, failed_starts, last_failure } = phase else {
        return Err(Rejection::DoesNotApply);
    };
    match event {
        Event::Initialise => {
            let first = Start::First { failed_starts: *failed_starts, last_failure: last_failure.clone() };
            Ok(start(epoch.next(), now, limits, first))
        }
        Event::Stop { reason, .. } => Ok(end(*epoch, Ending::new(Outcome::Stopped, reason.clone()))),
        Event::Tick { .. } if now >= *deadline => {
            let reason = format!("no initialise within {}", humantime::format_duration(limits.pending_timeout));
            Ok(end(*epoch, Ending::new(Outcome::Expired, Reason::new(reason))))
        }
        Event::Tick { .. } | Event::Recovered | Event::Adopted => Ok(stay(phase)),
        Event::Restart { .. } => Err(Rejection::NotRunning),
        Event::AgentReady { .. } | Event::AgentLost { .. } | Event::AgentFinished { .. } | Event::AgentGone { .. } => {
            Err(Rejection::DoesNotApply)
        }
    }
}

fn step_starting(phase: &Phase, event: &Event, limits: &Limits, now: Timestamp) -> Result<Step, Rejection> {
    let Phase::Starting { epoch, not_before, deadline, start: kind } = phase else {
        return Err(Rejection::DoesNotApply);
    };
    if event.epoch().is_some_and(|of_event| of_event != *epoch) {
        return Err(Rejection::OtherEpoch);
    }
    if let Start::Replacement { first_ready, failures, reason } = kind {
        let next =
            Start::Restart { first_ready: *first_ready, failures: failures.clone(), reason: Some(reason.clone()) };
        return step_replacing(phase, event, next, limits, now);
    }
    match event {
        Event::Initialise => Err(Rejection::NotPending),
        Event::AgentReady { .. } => Ok(ready(*epoch, kind, now)),
        Event::AgentLost { reason, jitter, .. } => Ok(match kind {
            Start::First { failed_starts, .. } => first_start_failed(*epoch, *failed_starts, reason, limits, now),
            Start::Restart { first_ready, failures, .. } | Start::Replacement { first_ready, failures, .. } => {
                lost(*epoch, *first_ready, failures, now, reason, *jitter, limits, now)
            }
        }),
        Event::AgentFinished { ending, .. } => Ok(end(*epoch, ending.clone())),
        Event::AgentGone { .. } => Err(Rejection::DoesNotApply),
        Event::Stop { force, reason } => {
            Ok(stop(*epoch, Ending::new(Outcome::Stopped, reason.clone()), *force, limits, now))
        }
        Event::Restart { epoch: Some(wanted), .. } if wanted > epoch => Err(Rejection::OtherEpoch),
        // It has come to that already.
        Event::Restart { epoch: Some(wanted), .. } if wanted < epoch => Ok(stay(phase)),
        Event::Restart { reason, .. } => match kind {
            // What waits for its time to start is given up, which takes no time, and the next one does not wait.
            Start::Restart { first_ready, failures, .. } if now < *not_before => {
                Ok(replace(*epoch, *first_ready, failures, reason, now, limits))
            }
            Start::First { .. } | Start::Restart { .. } | Start::Replacement { .. } => Ok(stay(phase)),
        },
        // Who starts the agent holds the start deadline: it must end the agent before it reports the loss.
        Event::Tick { .. } | Event::Adopted => Ok(stay(phase)),
        // The interrupted start may have got as far as a process, so that its epoch is used up.
        Event::Recovered => {
            let waits = not_before.saturating_since(now).min(deadline.saturating_since(*not_before));
            Ok(start(epoch.next(), now + waits, limits, kind.clone()))
        }
    }
}

/// The steps of a session whose agent is being ended so that the `next` one can start.
fn step_replacing(
    phase: &Phase,
    event: &Event,
    next: Start,
    limits: &Limits,
    now: Timestamp,
) -> Result<Step, Rejection> {
    let Phase::Starting { epoch, not_before: kill_at, .. } = phase else {
        return Err(Rejection::DoesNotApply);
    };
    match event {
        Event::Initialise => Err(Rejection::NotPending),
        // However it went, it had to go.
        Event::AgentLost { .. } | Event::AgentGone { .. } | Event::Recovered => {
            Ok(start(epoch.next(), now, limits, next))
        }
        Event::AgentFinished { ending, .. } => Ok(end(*epoch, ending.clone())),
        Event::Stop { force, reason } => {
            // It was told to end before, and has no more time for being told again.
            let deadline = if *force { now } else { now + limits.stop_grace }.min(*kill_at);
            Ok(stop_by(*epoch, Ending::new(Outcome::Stopped, reason.clone()), deadline))
        }
        Event::Restart { epoch: Some(wanted), .. } if wanted > epoch => Err(Rejection::OtherEpoch),
        // Who ends the agent holds the deadline of the kill.
        Event::Restart { .. } | Event::AgentReady { .. } | Event::Tick { .. } => Ok(stay(phase)),
        // The order may not have reached it.
        Event::Adopted => {
            Ok(Step { phase: phase.clone(), effects: vec![Effect::StopAgent { epoch: *epoch, deadline: *kill_at }] })
        }
    }
}

fn step_running(phase: &Phase, event: &Event, limits: &Limits, now: Timestamp) -> Result<Step, Rejection> {
    let Phase::Running { epoch, since, first_ready, failures } = phase else {
        return Err(Rejection::DoesNotApply);
    };
    if event.epoch().is_some_and(|of_event| of_event != *epoch) {
        return Err(Rejection::OtherEpoch);
    }
    match event {
        Event::Initialise => Err(Rejection::NotPending),
        Event::AgentReady { .. } | Event::Adopted => Ok(stay(phase)),
        Event::AgentLost { reason, jitter, .. } => {
            Ok(lost(*epoch, *first_ready, failures, *since, reason, *jitter, limits, now))
        }
        Event::AgentFinished { ending, .. } => Ok(end(*epoch, ending.clone())),
        Event::AgentGone { .. } => Err(Rejection::DoesNotApply),
        Event::Stop { force, reason } => {
            Ok(stop(*epoch, Ending::new(Outcome::Stopped, reason.clone()), *force, limits, now))
        }
        Event::Tick { last_activity } => Ok(match expiry(*since, *first_ready, *last_activity, limits) {
            Some((deadline, reason)) if now >= deadline => {
                stop(*epoch, Ending::new(Outcome::Expired, reason), false, limits, now)
            }
            Some(_) | None => stay(phase),
        }),
        Event::Restart { epoch: Some(wanted), .. } if wanted > epoch => Err(Rejection::OtherEpoch),
        // It has come to that already.
        Event::Restart { epoch: Some(wanted), .. } if wanted < epoch => Ok(stay(phase)),
        Event::Restart { reason, .. } => {
            Ok(replace(*epoch, *first_ready, failures, reason, now + limits.stop_grace, limits))
        }
        // The host was lost, which is no failure of the agent: it starts again at once and nothing is counted.
        Event::Recovered => {
            let kind = Start::Restart { first_ready: *first_ready, failures: failures.clone(), reason: None };
            Ok(start(epoch.next(), now, limits, kind))
        }
    }
}

fn step_stopping(phase: &Phase, event: &Event, now: Timestamp) -> Result<Step, Rejection> {
    let Phase::Stopping { epoch, deadline, ending } = phase else {
        return Err(Rejection::DoesNotApply);
    };
    if event.epoch().is_some_and(|of_event| of_event != *epoch) {
        return Err(Rejection::OtherEpoch);
    }
    match event {
        Event::Initialise => Err(Rejection::NotPending),
        Event::Restart { .. } => Err(Rejection::NotRunning),
        Event::AgentReady { .. } => Ok(stay(phase)),
        Event::AgentLost { .. } | Event::AgentFinished { .. } | Event::AgentGone { .. } | Event::Recovered => {
            Ok(end(*epoch, ending.clone()))
        }
        Event::Stop { force: true, .. } => Ok(Step {
            phase: Phase::Stopping { epoch: *epoch, deadline: now.min(*deadline), ending: ending.clone() },
            effects: vec![Effect::StopAgent { epoch: *epoch, deadline: now.min(*deadline) }],
        }),
        // Who ends the agent holds the deadline of the kill.
        Event::Stop { force: false, .. } | Event::Tick { .. } => Ok(stay(phase)),
        // The order may not have reached it.
        Event::Adopted => {
            Ok(Step { phase: phase.clone(), effects: vec![Effect::StopAgent { epoch: *epoch, deadline: *deadline }] })
        }
    }
}

fn step_ended(phase: &Phase, event: &Event) -> Result<Step, Rejection> {
    match event {
        Event::Initialise => Err(Rejection::NotPending),
        Event::Restart { .. } => Err(Rejection::NotRunning),
        Event::Stop { .. } | Event::Tick { .. } | Event::Recovered | Event::Adopted => Ok(stay(phase)),
        Event::AgentReady { .. } | Event::AgentLost { .. } | Event::AgentFinished { .. } | Event::AgentGone { .. } => {
            Err(Rejection::Ended)
        }
    }
}

fn stay(phase: &Phase) -> Step {
    Step { phase: phase.clone(), effects: Vec::new() }
}

fn end(epoch: Epoch, ending: Ending) -> Step {
    Step { phase: Phase::Ended { epoch, ending, log_bytes: 0 }, effects: Vec::new() }
}

fn start(epoch: Epoch, not_before: Timestamp, limits: &Limits, kind: Start) -> Step {
    let deadline = not_before + limits.start_timeout;
    Step {
        phase: Phase::Starting { epoch, not_before, deadline, start: kind },
        effects: vec![Effect::StartAgent { epoch, not_before, deadline }],
    }
}

fn ready(epoch: Epoch, kind: &Start, now: Timestamp) -> Step {
    let (first_ready, failures) = match kind {
        Start::First { .. } => (now, Failures::default()),
        Start::Restart { first_ready, failures, .. } | Start::Replacement { first_ready, failures, .. } => {
            (*first_ready, failures.clone())
        }
    };
    Step { phase: Phase::Running { epoch, since: now, first_ready, failures }, effects: Vec::new() }
}

/// Has the agent end by `kill_at` at the latest, so that another one can be started.
fn replace(
    epoch: Epoch,
    first_ready: Timestamp,
    failures: &Failures,
    reason: &Reason,
    kill_at: Timestamp,
    limits: &Limits,
) -> Step {
    let kind = Start::Replacement { first_ready, failures: failures.clone(), reason: Box::new(reason.clone()) };
    let deadline = kill_at + limits.start_timeout;
    Step {
        phase: Phase::Starting { epoch, not_before: kill_at, deadline, start: kind },
        effects: vec![Effect::StopAgent { epoch, deadline: kill_at }],
    }
}

fn stop(epoch: Epoch, ending: Ending, force: bool, limits: &Limits, now: Timestamp) -> Step {
    stop_by(epoch, ending, if force { now } else { now + limits.stop_grace })
}

fn stop_by(epoch: Epoch, ending: Ending, deadline: Timestamp) -> Step {
    Step { phase: Phase::Stopping { epoch, deadline, ending }, effects: vec![Effect::StopAgent { epoch, deadline }] }
}

fn first_start_failed(epoch: Epoch, before: u32, reason: &Reason, limits: &Limits, now: Timestamp) -> Step {
    let failed_starts = before.saturating_add(1);
    if failed_starts >= limits.start_attempts {
        let starts = if failed_starts == 1 { "start" } else { "starts" };
        let reason = reason.told_as(|why| format!("gave up after {failed_starts} failed {starts}: {why}"));
        return end(epoch, Ending::new(Outcome::Failed, reason));
    }
    Step {
        phase: Phase::Pending {
            deadline: now + limits.pending_timeout,
            epoch,
            failed_starts,
            last_failure: Some(Box::new(reason.clone())),
        },
        effects: Vec::new(),
    }
}

#[expect(clippy::too_many_arguments, reason = "each is one fact of the lost agent; a struct would only rename them")]
fn lost(
    epoch: Epoch,
    first_ready: Timestamp,
    failures: &Failures,
    since: Timestamp,
    reason: &Reason,
    jitter: u16,
    limits: &Limits,
    now: Timestamp,
) -> Step {
    match failures.after_loss(now, now.saturating_since(since), jitter) {
        Decision::Restart { after, failures } => {
            start(epoch.next(), now + after, limits, Start::Restart { first_ready, failures, reason: None })
        }
        Decision::GiveUp { failures } => {
            let reason =
                reason.told_as(|why| format!("the agent was lost {failures} times within 10 minutes; last: {why}"));
            end(epoch, Ending::new(Outcome::Failed, reason))
        }
    }
}

/// The earlier of the idle and the lifetime deadline of a running session.
fn expiry(
    since: Timestamp,
    first_ready: Timestamp,
    last_activity: Timestamp,
    limits: &Limits,
) -> Option<(Timestamp, Reason)> {
    let idle = limits.idle_timeout.map(|timeout| {
        let text = format!("no request for {}", humantime::format_duration(timeout));
        (last_activity.max(since) + timeout, text)
    });
    let lifetime = limits.max_lifetime.map(|timeout| {
        let text = format!("ran for its whole lifetime of {}", humantime::format_duration(timeout));
        (first_ready + timeout, text)
    });
    let (deadline, text) = idle.into_iter().chain(lifetime).min_by_key(|(deadline, _)| *deadline)?;
    Some((deadline, Reason::new(text)))
}

impl Event {
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::AgentReady { epoch }
            | Self::AgentLost { epoch, .. }
            | Self::AgentFinished { epoch, .. }
            | Self::AgentGone { epoch } => Some(*epoch),
            Self::Initialise
            | Self::Stop { .. }
            | Self::Restart { .. }
            | Self::Tick { .. }
            | Self::Recovered
            | Self::Adopted => None,
        }
    }
}

impl Phase {
    /// When a [`Event::Tick`] would next change something that the machine itself decides.
    pub fn next_tick(&self, last_activity: Timestamp, limits: &Limits) -> Option<Timestamp> {
        match self {
            Self::Pending { deadline, .. } => Some(*deadline),
            Self::Running { since, first_ready, .. } => {
                expiry(*since, *first_ready, last_activity, limits).map(|(deadline, _)| deadline)
            }
            Self::Starting { .. } | Self::Stopping { .. } | Self::Ended { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
