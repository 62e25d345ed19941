//! `/v1/sessions`.

pub(in crate::http) mod get;
pub(in crate::http) mod stop;
mod view;
