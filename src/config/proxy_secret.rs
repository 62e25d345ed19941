//! `[proxy_secret]`: a header by which a proxy proves that it is one.
//!
//! Only the names; `http::forwarded` compares the header with what the file holds.

use std::path::PathBuf;

use hyper::header::{self, HeaderName};
use serde::{Deserialize, Deserializer, Serialize};

use super::value::{self, read, wrong};

const EXPECTED: &str = "the name of a header that means nothing else, such as \"X-Frontdesk-Proxy\"";

/// `[proxy_secret]`: a header by which a proxy proves that it is one. Without a file nothing has to be proved.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySecret {
    /// The name of the header, in lower case. Default `x-frontdesk-proxy`.
    #[serde(deserialize_with = "read_header")]
    pub header: String,
    /// The file with the secret that the header has to carry. Default none.
    #[serde(with = "value::optional_path", skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

impl Default for ProxySecret {
    fn default() -> Self {
        Self { header: "x-frontdesk-proxy".to_owned(), file: None }
    }
}

fn read_header<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    read(source, |value| {
        let name = value.as_str().and_then(|text| HeaderName::try_from(text).ok());
        let name = name.filter(|name| !is_taken(name));
        name.map(|name| name.as_str().to_owned()).ok_or_else(|| wrong(EXPECTED, value))
    })
}

/// Whether a request's header of this name means something already.
fn is_taken(name: &HeaderName) -> bool {
    const TAKEN: [HeaderName; 14] = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::FORWARDED,
        header::HOST,
        header::ORIGIN,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VIA,
    ];
    TAKEN.contains(name) || name.as_str().starts_with("x-forwarded-") || name.as_str().starts_with("sec-")
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::{errors, load};

    #[test]
    fn the_header_is_any_that_means_nothing_else() {
        let header = |name: &str| load(&format!("proxy_secret.header = '{name}'"), &[]).unwrap().config.proxy_secret;
        assert_eq!(header("X-My-Proxy").header, "x-my-proxy");
        for name in ["", "a b", "Authorization", "host", "Forwarded", "X-Forwarded-For", "Sec-Fetch-Site"] {
            let found = errors(&format!("proxy_secret.header = '{name}'"), &[]).join("\n");
            assert!(found.contains("the name of a header that means nothing else"), "{name}: {found}");
        }
    }
}
