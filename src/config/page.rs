//! `[page]`: the customers' page.

use serde::{Deserialize, Serialize};

use super::value;

/// `[page]`: the customers' page.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Whether there is a customers' page at `/`. Default `true`.
    #[serde(deserialize_with = "value::boolean")]
    pub enabled: bool,
    /// Whether the page names the personas to choose from to whoever opens it. Default `true`.
    #[serde(deserialize_with = "value::boolean")]
    pub list_personas: bool,
}

impl Default for Page {
    fn default() -> Self {
        Self { enabled: true, list_personas: true }
    }
}
