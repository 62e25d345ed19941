//! Frontdesk: a customer session server.

pub mod agent;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod credential;
pub mod data_dir;
pub mod failpoint;
pub mod http;
pub mod http_client;
pub mod id;
pub mod json;
pub mod node;
pub mod pickle;
mod random;
pub mod server;
pub mod service_mapping;
pub mod session;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod verify;
