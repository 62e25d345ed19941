//! The document as it is sent: made once, compressed once, and not sent again to a client that has it (RFC 9110,
//! sections 8.8.3 and 13.1.2).

use std::io::Write;
use std::sync::LazyLock;

use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

struct Served {
    plain: Bytes,
    gzipped: Bytes,
    /// Weak, since both forms share it.
    tag: HeaderValue,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let plain = serde_json::to_vec(&super::document()).expect("the document has string keys only");
    let tag = format!("W/\"{}\"", &blake3::hash(&plain).to_hex()[..16]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain).expect("memory takes every write");
    let gzipped = encoder.finish().expect("memory takes every write");
    Served {
        plain: plain.into(),
        gzipped: gzipped.into(),
        tag: HeaderValue::from_str(&tag).expect("hexadecimal digits are plain ASCII"),
    }
});

/// Answers with the document, compressed if the client takes gzip; with 304 if the client has it.
pub(super) fn answer(request: &HeaderMap) -> Response {
    let is_known = lists(request, IF_NONE_MATCH).any(|tag| tag == "*" || SERVED.tag == tag);
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(ETAG, SERVED.tag.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let takes_gzip = lists(request, ACCEPT_ENCODING).any(is_gzip);
    if takes_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let body = if takes_gzip { &SERVED.gzipped } else { &SERVED.plain };
    *response.body_mut() = body.clone().into();
    response
}

/// The members of a header that is a list.
fn lists(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether a member of `Accept-Encoding` names gzip with a weight above zero.
fn is_gzip(member: &str) -> bool {
    let mut parts = member.split(';').map(str::trim);
    let names_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
    let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
    names_gzip && weight.is_none_or(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn asking(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_client_that_takes_gzip_gets_the_same_document_smaller() {
        assert!(SERVED.gzipped.len() * 4 < SERVED.plain.len());
        let mut text = Vec::new();
        GzDecoder::new(&*SERVED.gzipped).read_to_end(&mut text).unwrap();
        assert_eq!(text, SERVED.plain);
        for (accept, encoding) in
            [("gzip", Some("gzip")), ("br, GZIP;q=0.5", Some("gzip")), ("gzip;q=0", None), ("deflate", None)]
        {
            let answer = answer(&asking(ACCEPT_ENCODING, accept));
            let encoded = answer.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(encoded, encoding, "{accept}");
        }
    }

    #[test]
    fn a_client_that_has_the_document_is_not_sent_it_again() {
        let tag = answer(&HeaderMap::new()).headers()[ETAG].clone();
        let has = HeaderMap::from_iter([(IF_NONE_MATCH, tag)]);
        assert_eq!(answer(&has).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(&asking(IF_NONE_MATCH, "W/\"other\"")).status(), StatusCode::OK);
    }
}
