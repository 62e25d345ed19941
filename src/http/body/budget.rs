//! The memory of all request bodies in flight, and who holds how much of it.
//!
//! ```text
//! limits.bodies ─┬─ common: bodies of any size
//!                └─ reserve, a sixteenth: bodies of up to 64 KiB, once the common part is used up
//! ```
//!
//! Large bodies never take the reserve, so that ordinary calls go on while uploads fill the rest. One address holds at
//! most its share of both. Nobody waits for memory: a body that finds none is refused at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::BodyError;

/// A body of up to this many bytes may use the reserve.
const LARGEST_SMALL_BYTES: usize = 64 << 10;

/// The least that a body counts as: a short part keeps the connection's whole read buffer alive.
const LEAST_BYTES: usize = 8 << 10;

/// The memory. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most_bytes_an_address: usize,
    /// What one share could hold if it were the only one.
    most_bytes_a_share: usize,
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    common: usize,
    reserve: usize,
    /// Bytes held by each address that holds any.
    held: HashMap<IpAddr, usize>,
}

/// The memory that one body holds; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    address: Option<IpAddr>,
    common: usize,
    reserve: usize,
}

impl Budget {
    /// Divides `all_bytes`, of which one body may take `most_bytes` and one address `most_bytes_an_address`.
    pub(super) fn new(all_bytes: usize, most_bytes: usize, most_bytes_an_address: usize) -> Self {
        // One body of the largest size always fits.
        let reserve = (all_bytes / 16).min(all_bytes.saturating_sub(most_bytes));
        let free = Free { common: all_bytes - reserve, reserve, held: HashMap::new() };
        let most_bytes_a_share = free.common.min(most_bytes_an_address);
        Self(Arc::new(Inner { most_bytes_an_address, most_bytes_a_share, free: Mutex::new(free) }))
    }

    /// A share that holds nothing yet. Without an address only the memory of all bounds it.
    pub(super) fn share(&self, address: Option<IpAddr>) -> Share {
        Share { budget: self.clone(), address, common: 0, reserve: 0 }
    }

    /// What one body and all that is made of it can hold at most, however little the others hold.
    pub(super) fn most_bytes_a_share(&self) -> usize {
        self.0.most_bytes_a_share
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.0.free.lock()
    }
}

impl Share {
    /// Takes further bytes.
    ///
    /// # Errors
    /// [`BodyError::NoMemory`] or [`BodyError::AddressHoldsTooMuch`]; [`BodyError::TooLarge`] if waiting can't help.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.hold(self.held().saturating_add(bytes))
    }

    /// Takes what is missing to hold `bytes` in all.
    ///
    /// # Errors
    /// As `take`.
    pub fn hold(&mut self, bytes: usize) -> Result<(), BodyError> {
        let wanted = if bytes == 0 { 0 } else { bytes.max(LEAST_BYTES) };
        let held = self.held();
        if wanted <= held {
            return Ok(());
        }
        if wanted > self.budget.most_bytes_a_share() {
            return Err(BodyError::TooLarge);
        }
        let mut free = self.budget.lock();
        let by_address = self.address.map(|address| free.held.get(&address).copied().unwrap_or_default());
        let by_address = by_address.map(|by_address| by_address + (wanted - held));
        if by_address.is_some_and(|bytes| bytes > self.budget.0.most_bytes_an_address) {
            return Err(BodyError::AddressHoldsTooMuch);
        }
        // A body that has grown large leaves the reserve.
        if free.common >= wanted - self.common {
            free.common -= wanted - self.common;
            free.reserve += self.reserve;
            (self.common, self.reserve) = (wanted, 0);
        } else if wanted <= LARGEST_SMALL_BYTES && free.reserve >= wanted - held {
            free.reserve -= wanted - held;
            self.reserve += wanted - held;
        } else {
            return Err(BodyError::NoMemory);
        }
        if let (Some(address), Some(bytes)) = (self.address, by_address) {
            free.held.insert(address, bytes);
        }
        Ok(())
    }

    /// How many bytes it holds.
    pub(super) fn held(&self) -> usize {
        self.common + self.reserve
    }

    /// What it could hold if it were the only one.
    pub(super) fn most_bytes(&self) -> usize {
        self.budget.most_bytes_a_share()
    }

    /// Whose it is.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// A share of the same address that holds nothing yet.
    pub(super) fn another(&self) -> Self {
        self.budget.share(self.address)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let held = self.held();
        if held == 0 {
            return;
        }
        let mut free = self.budget.lock();
        free.common += self.common;
        free.reserve += self.reserve;
        if let Some(address) = self.address {
            match free.held.get_mut(&address) {
                Some(bytes) if *bytes > held => *bytes -= held,
                Some(_) | None => {
                    free.held.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn large_bodies_leave_a_reserve_that_small_ones_use() {
        let budget = Budget::new(16 * MIB, MIB, 16 * MIB);
        let large: Vec<_> = std::iter::from_fn(|| {
            let mut share = budget.share(None);
            share.hold(MIB).ok().map(|()| share)
        })
        .collect();
        assert_eq!(large.len(), 15);

        let mut small = budget.share(None);
        assert_eq!(small.hold(LARGEST_SMALL_BYTES), Ok(()));
        assert_eq!(small.hold(LARGEST_SMALL_BYTES + 1), Err(BodyError::NoMemory));
        let others: Vec<_> = std::iter::from_fn(|| {
            let mut share = budget.share(None);
            share.hold(LARGEST_SMALL_BYTES).ok().map(|()| share)
        })
        .collect();
        assert_eq!(others.len(), 15);

        drop(large);
        assert_eq!(small.hold(MIB), Ok(()), "a body that grows leaves the reserve");
        assert_eq!(budget.lock().reserve, LARGEST_SMALL_BYTES);
    }

    #[test]
    fn an_address_holds_no_more_than_its_share_and_others_do_not_notice() {
        let budget = Budget::new(16 * MIB, MIB, 4 * MIB);
        let mut shares: Vec<_> = (0..4).map(|_| budget.share(address(1))).collect();
        for share in &mut shares {
            assert_eq!(share.hold(MIB), Ok(()));
        }
        assert_eq!(budget.share(address(1)).take(1), Err(BodyError::AddressHoldsTooMuch));
        let mut other = budget.share(address(2));
        assert_eq!(other.hold(MIB), Ok(()));
        assert_eq!(budget.share(None).take(1), Ok(()));

        shares.pop();
        assert_eq!(budget.share(address(1)).hold(MIB), Ok(()));
    }

    #[test]
    fn the_largest_body_fits_even_if_the_memory_has_room_for_one_only() {
        let budget = Budget::new(MIB, MIB, MIB);
        assert_eq!(budget.share(address(1)).hold(MIB), Ok(()));
        assert_eq!(budget.share(address(1)).hold(MIB + 1), Err(BodyError::TooLarge));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_comes_back(
            takes in prop::collection::vec((0_usize..6, 0_u8..3, 0_usize..300_000), 0..60)
        ) {
            let budget = Budget::new(MIB, MIB / 4, MIB / 2);
            let mut shares: Vec<Option<Share>> = (0..6).map(|_| None).collect();
            for (place, from, bytes) in takes {
                let share = shares[place].get_or_insert_with(|| budget.share(address(from)));
                if share.take(bytes).is_err() {
                    shares[place] = None;
                }
                let held: usize = shares.iter().flatten().map(Share::held).sum();
                let free = budget.lock();
                prop_assert_eq!(free.common + free.reserve + held, MIB);
                prop_assert_eq!(free.held.values().sum::<usize>(), held);
            }
            drop(shares);
            let free = budget.lock();
            prop_assert_eq!((free.common, free.reserve, free.held.len()), (MIB - MIB / 16, MIB / 16, 0));
        }
    }
}
