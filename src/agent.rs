//! agent
pub mod restart;
