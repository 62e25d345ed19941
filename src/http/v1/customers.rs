//! `/v1/customers`: the accounts of the embedded credential server.

pub(in crate::http) mod add;
pub(in crate::http) mod get;
pub(in crate::http) mod list;
pub(in crate::http) mod remove;
pub(in crate::http) mod set_password;
mod view;
