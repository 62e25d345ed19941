//! `/v1/sessions`.

pub(in crate::http) mod create;
pub(in crate::http) mod data;
pub mod events;
pub(in crate::http) mod get;
pub(in crate::http) mod initialise;
mod log_file;
pub(in crate::http) mod logs;
pub(in crate::http) mod request;
pub(in crate::http) mod stop;
pub mod view;
