//! One test binary: the store's contract, and the real binary with real agents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[cfg(feature = "failpoints")]
mod crash_sweep;
mod first_session;
mod full_disk;
mod harness;
mod kill;
mod pickle_cpython;
mod pickle_hostile;
mod pickle_opcodes;
mod recovery;
mod store_contract;
mod verify;
