//! One test binary: the store's contract, and the real binary with real agents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent_faults;
mod agent_life;
mod agent_page;
mod desk;
mod examples;
mod first_session;
mod harness;
mod pickle_cpython;
mod pickle_hostile;
mod pickle_opcodes;
mod store_contract;
