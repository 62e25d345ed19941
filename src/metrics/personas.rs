//! What happened to the sessions of each persona: where an agent keeps crashing, it is mostly its persona's.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::tally::Counter;

/// Counts for each persona of the configuration, and for those that it has lost together.
#[derive(Debug)]
pub struct Personas {
    places: HashMap<Box<str>, usize>,
    metrics: Box<[PersonaMetrics]>,
}

/// What happened to the sessions of one persona.
#[derive(Debug)]
pub struct PersonaMetrics {
    /// Its name; `other` stands for all that the configuration has lost.
    pub name: Box<str>,
    /// First starts that came to a ready agent.
    pub started: Counter,
    /// First starts that failed.
    pub failed_starts: Counter,
    /// Starts that followed the loss of a running agent.
    pub restarts: Counter,
    /// Sessions that ended as failed.
    pub failed: Counter,
    last_loss: Mutex<Option<Box<str>>>,
}

/// The counts of one persona at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PersonaTotals {
    /// First starts that came to a ready agent.
    pub started: u64,
    /// First starts that failed.
    pub failed_starts: u64,
    /// Starts that followed the loss of a running agent.
    pub restarts: u64,
    /// Sessions that ended as failed.
    pub failed: u64,
}

impl Personas {
    /// Nothing yet of these.
    pub(super) fn new(names: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let names = names.into_iter().map(Into::into).chain(["other".into()]);
        let metrics: Box<[_]> = names.map(PersonaMetrics::new).collect();
        let configured = metrics.iter().take(metrics.len() - 1).enumerate();
        Self { places: configured.map(|(place, persona)| (persona.name.clone(), place)).collect(), metrics }
    }

    /// That of a persona, or of all others together.
    pub fn of(&self, name: &str) -> &PersonaMetrics {
        &self.metrics[self.places.get(name).copied().unwrap_or(self.metrics.len() - 1)]
    }

    /// All of them, the others last.
    pub fn iter(&self) -> impl Iterator<Item = &PersonaMetrics> {
        self.metrics.iter()
    }

    /// Their counts, in the same order.
    pub fn totals(&self) -> Vec<PersonaTotals> {
        self.iter().map(PersonaMetrics::totals).collect()
    }
}

impl PersonaMetrics {
    fn new(name: Box<str>) -> Self {
        Self {
            name,
            started: Counter::default(),
            failed_starts: Counter::default(),
            restarts: Counter::default(),
            failed: Counter::default(),
            last_loss: Mutex::default(),
        }
    }

    /// Keeps why an agent was lost, until the next one is.
    pub fn note_loss(&self, reason: &str) {
        *self.last_loss.lock() = Some(reason.into());
    }

    /// Why an agent was last lost or not started.
    pub fn last_loss(&self) -> Option<Box<str>> {
        self.last_loss.lock().clone()
    }

    fn totals(&self) -> PersonaTotals {
        PersonaTotals {
            started: self.started.get(),
            failed_starts: self.failed_starts.get(),
            restarts: self.restarts.get(),
            failed: self.failed.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persona_that_the_configuration_has_lost_counts_among_the_others() {
        let personas = Personas::new(["A", "B"]);
        for name in ["B", "gone", "", "B", "other"] {
            personas.of(name).restarts.add_one();
        }
        let counted: Vec<_> = personas.iter().map(|persona| (&*persona.name, persona.restarts.get())).collect();
        assert_eq!(counted, [("A", 0), ("B", 2), ("other", 3)]);
    }
}
