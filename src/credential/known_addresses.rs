//! Stores the addresses from which customers have signed in, so that a restart forgets none of them.
//!
//! The throttle notes which accounts have changed; this task writes them a moment later, some hundred a second at most:
//! no sign-in waits for it, and a crowd of new customers does not crowd out the writer of the store. What a crash loses
//! is known again from the next sign-in on.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::shutdown::Tasks;
use crate::store::Store;

use super::gate::Gate;

const BETWEEN_WRITES: Duration = Duration::from_secs(1);
const MOST_AT_ONCE: usize = 512;

/// Makes the stored addresses known to the throttle. Without them the server still serves everybody: an address that can't
/// be read is known again from its next sign-in on.
pub async fn restore(gate: &Gate, store: &dyn Store, clock: &dyn Clock) {
    match store.known_addresses().await {
        Ok(known) => gate.remember(&known, clock.now()),
        Err(error) => tracing::warn!(error = %error, "known addresses not read; none is known until its next sign-in"),
    }
}

/// Writes changes until the server drains, and then those that are left.
pub async fn keep(gate: Arc<Gate>, store: Arc<dyn Store>, clock: Arc<dyn Clock>, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tasks.draining() => break,
            () = gate.address_known() => {}
        }
        tokio::select! {
            () = tasks.draining() => break,
            () = clock.sleep_until(clock.now() + BETWEEN_WRITES) => {}
        }
        if write(&gate, &*store, &*clock).await {
            // More are left than one write takes.
            gate.note_known_address();
        }
    }
    while write(&gate, &*store, &*clock).await {}
}

/// Writes some changes. Returns whether there may be more.
async fn write(gate: &Gate, store: &dyn Store, clock: &dyn Clock) -> bool {
    let changed = gate.take_changed_addresses(MOST_AT_ONCE);
    let (count, is_full) = (changed.len(), changed.len() == MOST_AT_ONCE);
    if count == 0 {
        return false;
    }
    if let Err(error) = store.keep_known_addresses(changed.clone(), clock.now()).await {
        tracing::warn!(error = %error, accounts = count, "known addresses not stored");
        gate.give_back_addresses(&changed);
        return false;
    }
    is_full
}
