//! `[cors]`: the origins whose pages may call `/v1`.
//!
//! An origin is kept as browsers write it, so that comparing texts is enough: in lower case, without the scheme's own
//! port. There is no pattern and no `*`.

use axum::http::Uri;
use serde::{Deserialize, Deserializer, Serialize};

use super::value::{read, texts, wrong};

/// `[cors]`: the origins whose pages may call `/v1`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// The origins, as browsers write them. Default none.
    #[serde(deserialize_with = "origins")]
    pub origins: Vec<String>,
}

const EXPECTED: &str = "a list of origins without path such as [\"https://app.example.org\"]";

fn origins<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    read(source, |value| {
        let origins = texts(value).and_then(|texts| texts.into_iter().map(|text| origin(&text)).collect());
        origins.ok_or_else(|| wrong(EXPECTED, value))
    })
}

fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let own_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    // Nothing but scheme, host and port: no path, no user.
    let is_bare = text == format!("{scheme}://{authority}") && !authority.as_str().contains('@');
    let is_named = !authority.host().is_empty() && !authority.host().contains('*');
    (is_bare && is_named).then(|| text.strip_suffix(own_port).unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (written, kept) in [
            ("https://app.example.org", "https://app.example.org"),
            ("HTTPS://App.Example.org:443", "https://app.example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:80", "http://localhost"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(origin(written).as_deref(), Some(kept));
        }
    }

    #[test]
    fn what_names_no_single_origin_is_refused() {
        for text in [
            "*",
            "null",
            "",
            "app.example.org",
            "https://app.example.org/",
            "https://app.example.org/path",
            "https://*.example.org",
            "https://user@app.example.org",
            "ftp://app.example.org",
            "https://",
        ] {
            assert_eq!(origin(text), None, "{text}");
        }
    }
}
