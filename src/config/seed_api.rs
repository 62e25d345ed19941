//! `[seed_api]`: who may use the seed API without a token.
//!
//! What an unset list means depends on other keys, so the decision itself is
//! [`Config::admits_without_token`](super::Config::admits_without_token).

use serde::{Deserialize, Deserializer, Serialize};

use super::network::{self, Network};

/// `[seed_api]`: who may use the seed API without a token.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeedApi {
    /// Networks whose callers need no token. Default unset: loopback only, and only while the
    /// server listens on loopback only, without TLS, and none of `behind_proxy`, `trusted_proxies` and
    /// `proxy_secret.file` is set. An empty list is nobody.
    #[serde(deserialize_with = "networks", skip_serializing_if = "Option::is_none")]
    pub tokenless_from: Option<Vec<Network>>,
}

fn networks<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Vec<Network>>, D::Error> {
    network::list(source).map(Some)
}
