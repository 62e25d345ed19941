//! What comes in with a call: its body, whole and parsed, and the checks that all calls share.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};

use crate::json::{self, JsonError};
use crate::store::RequestKey;

use super::App;
use super::body::{self, Body, Unread};
use super::error::Refusal;

/// The longest email, in bytes.
pub const MOST_EMAIL_BYTES: usize = 64 << 10;

/// Bodies above this are parsed off the async threads, where they keep nobody waiting.
pub const LARGEST_PARSED_INLINE_BYTES: usize = 128 << 10;

/// Reads a call's body whole. One that is refused unread is thrown away, so that the connection stays usable.
pub async fn whole_body(app: &App, parts: &Parts, body: Unread) -> Result<Body, Refusal> {
    if let Err(refusal) = refuse_encoding(&parts.headers) {
        body::discard(parts, body).await;
        return Err(refusal);
    }
    Ok(app.bodies.read(parts, body).await?)
}

/// Refuses a body that would have to be unpacked.
pub fn refuse_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::UnsupportedContentType("A Content-Encoding is not taken; send the body as it is."));
    }
    Ok(())
}

/// The body's media type: the part of its type before `;`, trimmed, in whatever case (RFC 9110, section 8.3.1).
pub fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// The key under which a call may be sent again, if it has one.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<RequestKey>, Refusal> {
    const LONGEST_BYTES: usize = 255;
    match headers.get("idempotency-key").map(HeaderValue::as_bytes) {
        Some(key) if key.is_empty() || key.len() > LONGEST_BYTES => {
            Err(Refusal::Invalid("An Idempotency-Key has 1 to 255 bytes.".into()))
        }
        key => Ok(key.map(RequestKey::of)),
    }
}

/// Parses a body where its size says: here if it is small, off the async threads if not.
///
/// The work gets the body with its share of the memory, which is thus held even after the client has gone.
pub async fn parse<T: Send + 'static>(
    body: Body,
    work: impl FnOnce(Body) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if body.bytes.len() <= LARGEST_PARSED_INLINE_BYTES {
        return work(body);
    }
    let parsed = tokio::task::spawn_blocking(move || work(body)).await;
    parsed.unwrap_or_else(|error| {
        tracing::error!(error = %error, "parsing a body panicked");
        Err(Refusal::Failed)
    })
}

/// Reads a JSON object out of a body; an error says what is wrong with it.
pub fn read_body<'a, T: serde::Deserialize<'a>>(body: &'a Body) -> Result<T, Refusal> {
    // The check of a small body is over before its memory would matter.
    if body.bytes.len() <= LARGEST_PARSED_INLINE_BYTES {
        return read(&body.bytes);
    }
    let mut memory = body.scratch();
    let checked = json::check_within(&body.bytes, |bytes| memory.hold(bytes));
    checked.map_err(|error| match error {
        JsonError::NoMemory => memory.refusal(TOO_MANY_KEYS),
        error @ (JsonError::Malformed(_)
        | JsonError::DuplicateKey(_)
        | JsonError::DuplicateLongKey(_)
        | JsonError::TooDeep) => not_json(&error),
    })?;
    read_checked(&body.bytes)
}

/// Reads a JSON object out of a short text; an error says what is wrong with it.
pub fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    json::check(bytes).map_err(|error| not_json(&error))?;
    read_checked(bytes)
}

/// Refuses an object with more keys than the server ever has memory to compare.
pub const TOO_MANY_KEYS: &str =
    "The objects in the body have more keys than this server has memory to compare; send fewer keys in one object.";

fn not_json(error: &JsonError) -> Refusal {
    invalid("The body is not the JSON it must be", &error.to_string())
}

fn read_checked<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    // serde would also read the object's values from an array.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::Invalid("The body must be a JSON object.".into()));
    }
    serde_json::from_slice(bytes).map_err(|error| invalid("The body is not as it must be", &words(&error)))
}

/// What serde says, without the place, which means nothing to whoever built the object in memory, and without the value
/// that it found, which may be a password.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(&*text, |end| &text[..end]);
    match text.rfind(", expected ") {
        Some(expected) if text.starts_with("invalid ") => {
            let kind = text.split([' ', ',']).nth(2).unwrap_or_default();
            format!("a value is of the wrong type ({kind}), {}", &text[expected + 2..])
        }
        Some(_) | None => text.to_owned(),
    }
}

/// The refusal of something malformed.
pub fn invalid(what: &str, why: &str) -> Refusal {
    Refusal::Invalid(format!("{what}: {why}."))
}

/// The most characters of an email in a body of `/v1`: no more bytes than [`MOST_EMAIL_BYTES`].
pub const MOST_EMAIL_CHARACTERS: usize = MOST_EMAIL_BYTES / 4;

/// The most in a query, where a byte takes three: a request's target with more would not be read at all.
pub const MOST_EMAIL_CHARACTERS_IN_QUERY: usize = 4_096;

/// Checks the length of an email that `/v1` is sent, in characters, as schemas count.
pub fn check_email_length(email: &str, most_characters: usize) -> Result<(), Refusal> {
    if email.is_empty() || email.chars().count() > most_characters {
        return Err(Refusal::Invalid(format!("`email` must have 1 to {most_characters} characters.")));
    }
    Ok(())
}

/// Checks the length of an email, the one thing that is asked of one.
pub fn check_email(email: &str) -> Result<(), Refusal> {
    if email.is_empty() || email.len() > MOST_EMAIL_BYTES {
        return Err(Refusal::Invalid("The email must have 1 to 65536 bytes.".into()));
    }
    Ok(())
}
