//! `/v1/tokens`: operators' tokens, for those who may do everything.

pub mod create;
pub mod list;
pub(in crate::http) mod revoke;
