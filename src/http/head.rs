//! Checks of a request's head that the HTTP library leaves out, and the headers that every answer carries.

use axum::http::header::{CONNECTION, HOST, STRICT_TRANSPORT_SECURITY, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::response::Response;

use super::error::Refusal;

/// Refuses a head that a proxy in front may read differently from this server.
///
/// # Errors
/// [`Refusal::Invalid`].
pub(super) fn check(parts: &Parts) -> Result<(), Refusal> {
    if parts.version == Version::HTTP_11 && !has_one_host(&parts.headers) {
        return Err(Refusal::Invalid("An HTTP/1.1 request must have exactly one valid Host header.".into()));
    }
    if !is_chunked_at_most(&parts.headers) {
        return Err(Refusal::Invalid(
            "This server takes no Transfer-Encoding but chunked; send the body unencoded.".into(),
        ));
    }
    Ok(())
}

/// RFC 9112, section 3.2. The header is empty if the target has no authority.
fn has_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    is_host(host.as_bytes())
}

/// Whether this is `uri-host [":" port]` (RFC 3986, section 3.2). Checked byte by byte: a parser would allocate.
fn is_host(host: &[u8]) -> bool {
    let is_in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let is_in_address = |byte: &u8| is_in_name(byte) || *byte == b':';
    let (is_name, port) = match host.strip_prefix(b"[") {
        Some(address) => {
            let Some(end) = address.iter().position(|byte| *byte == b']') else { return false };
            (address[..end].iter().all(is_in_address), &address[end + 1..])
        }
        None => {
            let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
            (host[..end].iter().all(is_in_name), &host[end..])
        }
    };
    is_name && (port.is_empty() || (port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit)))
}

/// RFC 9112, section 6.1. The library removes the chunks alone: a handler would read any other coding as the body.
fn is_chunked_at_most(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The answer to a head that [`check`] refuses. The connection ends: a proxy may see further requests in its bytes.
pub(super) fn refuse(refusal: &Refusal, parts: &Parts) -> Response {
    let mut answer = refusal.answer(parts.uri.path());
    if parts.version <= Version::HTTP_11 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Forbids browsers to guess the type of an answer and, over TLS, to connect to this host without TLS for a year.
pub fn protect(answer: &mut Response, is_encrypted: bool) {
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if is_encrypted {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, Request};

    fn is_taken(version: Version, headers: &[(HeaderName, &str)]) -> bool {
        let mut request = Request::new(());
        *request.version_mut() = version;
        for (name, value) in headers {
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        check(&request.into_parts().0).is_ok()
    }

    #[test]
    fn http_1_1_needs_exactly_one_valid_host() {
        for host in ["", "localhost", "desk.example.com:443", "[::1]:5500", "192.0.2.1", "a_b"] {
            assert!(is_taken(Version::HTTP_11, &[(HOST, host)]), "{host}");
        }
        for host in ["a b", "user@host", "host/path", "host:port", "[::1", "[::1]a", "a]", "\"a\""] {
            assert!(!is_taken(Version::HTTP_11, &[(HOST, host)]), "{host}");
        }
        assert!(!is_taken(Version::HTTP_11, &[]));
        assert!(!is_taken(Version::HTTP_11, &[(HOST, "a"), (HOST, "a")]));
        assert!(is_taken(Version::HTTP_10, &[]));
        assert!(is_taken(Version::HTTP_2, &[]));
    }

    #[test]
    fn chunked_is_the_only_transfer_encoding() {
        let codings = |values: &[&'static str]| {
            let mut headers = vec![(HOST, "a")];
            headers.extend(values.iter().map(|value| (TRANSFER_ENCODING, *value)));
            is_taken(Version::HTTP_11, &headers)
        };
        assert!(codings(&[]) && codings(&["chunked"]) && codings(&["Chunked"]));
        for others in [&["gzip, chunked"][..], &["gzip", "chunked"], &["chunked", "chunked"], &["identity"], &[""]] {
            assert!(!codings(others), "{others:?}");
        }
    }
}
