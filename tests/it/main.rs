//! One test binary: the store's contract, and the real binary with real agents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod command_line;
mod first_session;
mod harness;
mod pickle_cpython;
mod pickle_hostile;
mod pickle_opcodes;
mod store_contract;
mod tidy;
