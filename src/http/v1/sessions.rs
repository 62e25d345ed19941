//! `/v1/sessions`.

pub(in crate::http) mod cookie;
pub mod create;
pub(in crate::http) mod data;
pub mod events;
pub mod get;
pub mod initialise;
pub mod list;
pub mod logs;
pub mod request;
pub mod restart;
pub mod stop;
pub mod stop_many;
pub mod view;
