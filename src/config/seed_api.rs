//! `[seed_api]`: who may use the seed API without a token.
//!
//! What an unset list means depends on other keys, so the decision itself is
//! [`Config::admits_without_token`](super::Config::admits_without_token).

use serde::{Deserialize, Deserializer, Serialize};
use toml::Value;

use super::network::Network;
use super::value::{read, wrong};

/// `[seed_api]`: who may use the seed API without a token.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeedApi {
    /// Networks whose callers need no token. Default unset: loopback only, and only while the
    /// server listens on loopback only and `behind_proxy` is off. An empty list is nobody.
    #[serde(deserialize_with = "networks", skip_serializing_if = "Option::is_none")]
    pub tokenless_from: Option<Vec<Network>>,
}

fn networks<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Vec<Network>>, D::Error> {
    read(source, |value| {
        let list = value.as_array().ok_or_else(|| expected(value))?;
        list.iter().map(network).collect::<Result<_, _>>().map(Some)
    })
}

fn network(item: &Value) -> Result<Network, String> {
    let text = item.as_str().ok_or_else(|| expected(item))?;
    text.parse().map_err(|hint: Option<Network>| match hint {
        Some(meant) => format!("has the network {text:?}: write \"{meant}\""),
        None => expected(item),
    })
}

fn expected(value: &Value) -> String {
    wrong(r#"a list of networks such as ["127.0.0.0/8", "::1/128"]"#, value)
}
