//! `/v1/customers`: the accounts of the embedded credential server.

pub mod add;
pub mod disable;
pub(in crate::http) mod get;
pub(in crate::http) mod list;
pub(in crate::http) mod remove;
pub mod set_password;
pub mod view;
