//! `/v1/audit`: who did what to which session, from where.

mod export;
pub(in crate::http) mod list;
mod view;
