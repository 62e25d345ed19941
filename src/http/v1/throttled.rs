//! `/v1/throttled`: whose sign-ins are being slowed.

pub(in crate::http) mod clear;
pub mod list;
