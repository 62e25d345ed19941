//! The configuration in force while a server runs: replaced as a whole, and read without a lock.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::Config;

/// The configuration in force. Cloning shares it.
#[derive(Clone, Debug)]
pub struct InForce {
    current: Arc<ArcSwap<Config>>,
}

impl InForce {
    /// Puts the first one in force.
    pub fn new(config: Config) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(config)) }
    }

    /// The one in force at this moment. Who decides something by several of its values asks once.
    pub fn get(&self) -> Guard<Arc<Config>> {
        self.current.load()
    }

    /// Puts another one in force.
    pub fn put(&self, config: Config) {
        self.current.store(Arc::new(config));
    }
}
