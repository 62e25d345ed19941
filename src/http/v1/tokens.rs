//! `/v1/tokens`: operators' tokens. They are made on the command line alone: who can make one may do everything.

pub mod list;
pub(in crate::http) mod revoke;
