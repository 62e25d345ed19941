//! How many connections each address has open, so that nobody takes the room of all.
//!
//! An IPv6 address stands for its /64, which is what one customer gets. The address is the connection's own: whoever is
//! not counted (this machine, proxies) is decided by the caller.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::http::auth::network;

/// The counts. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct PerAddress {
    most: u32,
    counts: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// The place of one connection; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    counts: Arc<Mutex<HashMap<IpAddr, u32>>>,
    address: IpAddr,
}

impl PerAddress {
    /// Lets each address have at most `most` connections.
    pub(super) fn new(most: u32) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// A place for one more connection from this address, if it may have one.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut counts = lock(&self.counts);
        let count = counts.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { counts: Arc::clone(&self.counts), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn lock(counts: &Mutex<HashMap<IpAddr, u32>>) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
    counts.lock()
}

/// Says which connections were closed, at most once a second: an attacker must not fill the log.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<Instant>,
    silent: u64,
}

impl Complaints {
    const BETWEEN: Duration = Duration::from_secs(1);

    /// Notes that a connection from this address was closed.
    pub(super) fn note(&mut self, address: IpAddr) {
        self.silent += 1;
        if self.last.is_none_or(|last| last.elapsed() >= Self::BETWEEN) {
            let closed = std::mem::take(&mut self.silent);
            self.last = Some(Instant::now());
            tracing::warn!(peer = %address, closed, "connections closed: this address has as many as one may have");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_connections_at_once_and_others_do_not_notice() {
        let counts = PerAddress::new(2);
        let first = counts.enter(address("192.0.2.1")).unwrap();
        let _second = counts.enter(address("::ffff:192.0.2.1")).unwrap();
        assert!(counts.enter(address("192.0.2.1")).is_none());
        assert!(counts.enter(address("192.0.2.2")).is_some());
        drop(first);
        assert!(counts.enter(address("192.0.2.1")).is_some());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_together() {
        let counts = PerAddress::new(1);
        let _place = counts.enter(address("2001:db8::1")).unwrap();
        assert!(counts.enter(address("2001:db8::ffff:1")).is_none());
        assert!(counts.enter(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn what_has_ended_leaves_nothing_behind() {
        let counts = PerAddress::new(1);
        let place = counts.enter(address("192.0.2.1"));
        assert_eq!(lock(&counts.counts).len(), 1);
        drop(place);
        assert_eq!(lock(&counts.counts).len(), 0);
    }
}
