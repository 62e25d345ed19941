//! Frontdesk: a customer session server.

pub mod agent;
pub mod clock;
pub mod data_dir;
pub mod failpoint;
pub mod id;
mod random;
pub mod session;
pub mod store;
pub mod token;
