//! The personas of this node: those that customers may ask for, and those that only live sessions still have.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::{Persona, PersonaName};

/// The personas at one moment.
#[derive(Debug, Default)]
pub(super) struct Personas {
    offered: HashMap<String, Arc<Persona>>,
    /// Taken out of the configuration while the server runs.
    retired: HashMap<String, Arc<Persona>>,
}

impl Personas {
    /// Those of a configuration.
    pub(super) fn of(configured: &BTreeMap<PersonaName, Persona>) -> Self {
        let offered = configured.iter().map(|(name, persona)| (name.to_string(), Arc::new(persona.clone())));
        Self { offered: offered.collect(), retired: HashMap::new() }
    }

    /// Those of another configuration; what that has not any more is kept for the sessions that live.
    pub(super) fn replaced_by(&self, configured: &BTreeMap<PersonaName, Persona>) -> Self {
        let new = Self::of(configured);
        let known = self.retired.iter().chain(&self.offered);
        let retired = known.filter(|(name, _)| !new.offered.contains_key(*name));
        let retired = retired.map(|(name, persona)| (name.clone(), Arc::clone(persona))).collect();
        Self { retired, ..new }
    }

    /// The one with exactly this name, if a customer may ask for it.
    pub(super) fn offered(&self, name: &str) -> Option<&Arc<Persona>> {
        self.offered.get(name)
    }

    /// The one that a session of this name has.
    pub(super) fn known(&self, name: &str) -> Option<&Arc<Persona>> {
        self.offered(name).or_else(|| self.retired.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(names: &[&str], attempts: u32) -> BTreeMap<PersonaName, Persona> {
        let persona = Persona { start_attempts: attempts, ..Persona::default() };
        names.iter().map(|name| (name.parse().unwrap(), persona.clone())).collect()
    }

    #[test]
    fn a_persona_that_is_gone_is_known_to_its_sessions_and_offered_to_nobody() {
        let first = Personas::of(&configured(&["A", "B"], 1));
        let second = first.replaced_by(&configured(&["B"], 2));
        assert!(second.offered("A").is_none());
        assert_eq!(second.known("A").unwrap().start_attempts, 1);
        assert_eq!(second.known("B").unwrap().start_attempts, 2);
        let third = second.replaced_by(&configured(&["A", "B"], 3));
        assert_eq!(third.offered("A").unwrap().start_attempts, 3);
        assert_eq!(third.retired.len(), 0);
    }
}
