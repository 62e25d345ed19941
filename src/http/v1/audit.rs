//! `/v1/audit`: who did what to which session, from where.

mod export;
pub mod list;
pub mod view;
