//! One test binary: the store's contract, the server in process, and the real binary with real agents.

mod store_contract;
