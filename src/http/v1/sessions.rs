//! `/v1/sessions`.

pub(in crate::http) mod get;
pub(in crate::http) mod list;
pub(in crate::http) mod stop;
pub(in crate::http) mod stop_many;
mod view;
