//! What the server counts of itself: admissions, starts, restarts, checks, and how long things take.
//!
//! Whoever does something counts it where it is done, by adding to a number: nothing is locked, allocated or put into
//! words for it. Labels are bounded: personas are those of the configuration, reasons those of the table of codes.
//! All of it begins at zero with the server; what must outlive a restart is the store's.
//!
//! | what | module |
//! | --- | --- |
//! | numbers that rise, by one label; how many there are; a moment | [`tally`], [`level`], [`moment`] |
//! | how long something took, and its quantiles | [`durations`] |
//! | what happened to the sessions of each persona | [`personas`] |
//! | how the credential server is; how the disk is | [`checks`], [`writes`] |
//! | the last hour, minute by minute | [`history`], filled by [`sampler`] |
//!
//! It knows nothing of how the numbers are shown: `http` has the page for operators.

use std::sync::Arc;

use crate::session::{Outcome, RELAY_OUTCOMES};

pub mod checks;
pub mod durations;
pub mod history;
pub mod level;
pub mod moment;
pub mod personas;
pub mod sampler;
pub mod tally;
pub mod writes;

pub use checks::Checks;
pub use durations::Durations;
pub use history::Totals;
pub use level::Level;
pub use moment::Moment;
pub use personas::{PersonaMetrics, Personas};
pub use sampler::Sampler;
pub use tally::{Counter, Tally};
pub use writes::Writes;

/// Everything that is counted, one set a server.
#[derive(Debug)]
pub struct Metrics {
    /// Sessions that were admitted.
    pub admitted: Counter,
    /// Calls for a session that were refused, by code.
    pub refused: Tally,
    /// Sessions that have ended, by outcome in the order of [`Outcome::ALL`].
    pub ended: Tally,
    /// Starts of agents that came to be ready, from initialise on.
    pub starts: Durations,
    /// Admissions, from the whole request to the session on disk.
    pub admissions: Durations,
    /// Requests for agents, by what came of them in the order of [`RELAY_OUTCOMES`].
    pub requests: Tally,
    /// Those of them that an agent was given, until it answered or was given up.
    pub request_durations: Durations,
    /// Answers over HTTP, by the code of the refusal; those that are none come last.
    pub answers: Tally,
    /// How long calls took until their answer began, by class in the order of the labels.
    pub latencies: Box<[(&'static str, Durations)]>,
    /// When the certificate in force ends.
    pub certificate_end: Moment,
    /// How long the server took to take up what an earlier one left.
    pub recovery: Durations,
    /// Open connections.
    pub connections: Level,
    /// Connections that were closed because their address had too many.
    pub connections_refused: Counter,
    /// What the store has written.
    pub store: Arc<Writes>,
    /// What the log of events has written.
    pub events: Arc<Writes>,
    /// What the credential server in force was asked.
    pub checks: Checks,
    /// What happened to the sessions of each persona.
    pub personas: Personas,
}

impl Metrics {
    /// Nothing counted yet, of these personas, of refusals with these codes and of calls of these classes. What is
    /// written is counted by the writers themselves.
    pub fn new(
        personas: impl IntoIterator<Item = impl Into<Box<str>>>,
        codes: impl Clone + IntoIterator<Item = impl Into<Box<str>>>,
        classes: impl IntoIterator<Item = &'static str>,
        store: Arc<Writes>,
        events: Arc<Writes>,
    ) -> Self {
        let answers = codes.clone().into_iter().map(Into::<Box<str>>::into).chain(["ok".into()]);
        Self {
            admitted: Counter::default(),
            refused: Tally::new(codes),
            ended: Tally::new(Outcome::ALL.map(|outcome| outcome.to_string())),
            starts: Durations::new(durations::FINE),
            admissions: Durations::new(durations::COARSE),
            requests: Tally::new(RELAY_OUTCOMES),
            request_durations: Durations::new(durations::COARSE),
            answers: Tally::new(answers),
            latencies: classes.into_iter().map(|class| (class, Durations::new(durations::COARSE))).collect(),
            certificate_end: Moment::default(),
            recovery: Durations::new(durations::COARSE),
            connections: Level::default(),
            connections_refused: Counter::default(),
            store,
            events,
            checks: Checks::default(),
            personas: Personas::new(personas),
        }
    }

    /// What has been counted up to this moment.
    pub fn totals(&self) -> Totals {
        Totals {
            admitted: self.admitted.get(),
            refused: self.refused.counts(),
            ended: self.ended.counts(),
            starts: self.starts.counts(),
            personas: self.personas.totals(),
        }
    }
}

/// Where nobody looks at what is counted.
impl Default for Metrics {
    fn default() -> Self {
        Self::new([""; 0], [""; 0], [], Arc::default(), Arc::default())
    }
}
