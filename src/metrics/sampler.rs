//! The task that ends a minute of the history and begins the next one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::shutdown::Tasks;
use crate::store::Store;

use super::Metrics;
use super::history::{History, Moment};

const MINUTE: Duration = Duration::from_secs(60);

/// The last hour, and what it is read from. Cloning shares it.
#[derive(Clone)]
pub struct Sampler {
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    history: Arc<Mutex<History>>,
}

impl Sampler {
    /// Begins to count at this moment.
    pub fn new(metrics: Arc<Metrics>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let first = moment(&metrics, &*store, &*clock);
        Self { metrics, store, clock, history: Arc::new(Mutex::new(History::begin(first))) }
    }

    /// Notes each minute until the server stops.
    pub async fn run(self, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tasks.draining() => return,
                () = self.clock.sleep_until(self.clock.now() + MINUTE) => {}
            }
            let now = self.now();
            self.history.lock().note(now);
        }
    }

    /// How it is at this moment.
    pub fn now(&self) -> Moment {
        moment(&self.metrics, &*self.store, &*self.clock)
    }

    /// The history as it is.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }
}

fn moment(metrics: &Metrics, store: &dyn Store, clock: &dyn Clock) -> Moment {
    Moment { at: clock.now(), wall: clock.wall(), census: store.census(), totals: metrics.totals() }
}
