//! What the server counts of itself: admissions, starts, restarts, checks, and how long things take.
//!
//! Whoever does something counts it where it is done, by adding to a number: nothing is locked, allocated or put into
//! words for it. Labels are bounded: personas are those of the configuration, reasons those of the table of codes.
//! All of it begins at zero with the server; what must outlive a restart is the store's.
//!
//! | what | module |
//! | --- | --- |
//! | numbers that rise, by one label | [`tally`] |
//! | how long something took, and its quantiles | [`durations`] |
//! | what happened to the sessions of each persona | [`personas`] |
//! | how the credential server is | [`checks`] |
//! | the last hour, minute by minute | [`history`], filled by [`sampler`] |
//!
//! It knows nothing of how the numbers are shown: `http` has the page for operators.

use crate::session::Outcome;

pub mod checks;
pub mod durations;
pub mod history;
pub mod personas;
pub mod sampler;
pub mod tally;

pub use checks::Checks;
pub use durations::Durations;
pub use history::Totals;
pub use personas::{PersonaMetrics, Personas};
pub use sampler::Sampler;
pub use tally::{Counter, Tally};

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
    /// What the credential server in force was asked.
    pub checks: Checks,
    /// What happened to the sessions of each persona.
    pub personas: Personas,
}

impl Metrics {
    /// Nothing counted yet, of these personas and of refusals with these codes.
    pub fn new(
        personas: impl IntoIterator<Item = impl Into<Box<str>>>,
        codes: impl IntoIterator<Item = impl Into<Box<str>>>,
    ) -> Self {
        Self {
            admitted: Counter::default(),
            refused: Tally::new(codes),
            ended: Tally::new(Outcome::ALL.map(|outcome| outcome.to_string())),
            starts: Durations::new(durations::FINE),
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
        Self::new([""; 0], [""; 0])
    }
}
