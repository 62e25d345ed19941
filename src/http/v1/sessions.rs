//! `/v1/sessions`.

pub mod events;
pub(in crate::http) mod get;
mod log_file;
pub(in crate::http) mod logs;
pub(in crate::http) mod stop;
pub mod view;
