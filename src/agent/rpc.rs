//! The messages between desk and agent: JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>), one a line.
//!
//! A message is read into one struct of optional fields and then classified, so that an error can say what is wrong
//! with it. docs/AGENT-PROTOCOL.md is the page for agents' authors.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::events::Kind;
use crate::id::Printable;
use crate::json;
use crate::session::Outcome;

/// What an agent may send.
#[derive(Debug)]
pub enum Message {
    /// The answer to a call.
    Answer {
        /// The call's number.
        id: u64,
        /// Its result, or the agent's error in words.
        result: Result<Bytes, String>,
    },
    /// Something that the agent tells of itself.
    Notification {
        /// What it is.
        what: Notification,
        /// All that it said with it, as JSON text.
        params: Bytes,
    },
}

/// What an agent may tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Notification {
    /// How far it is.
    Progress(String),
    /// A line for the log.
    Log(String),
    /// Its work is done.
    Finished {
        /// How it ended.
        outcome: Outcome,
        /// The agent's words.
        reason: String,
    },
    /// Something that happened.
    Event,
    /// A part of a request's answer.
    Output,
    /// A method of a later protocol, of which nothing is kept.
    Other,
    /// A message that nests too deep to be kept.
    TooDeep,
}

impl Notification {
    /// As what it is kept in the log of events, if it is.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Progress(_) => Some(Kind::Progress),
            Self::Log(_) => Some(Kind::Log),
            Self::Event => Some(Kind::Event),
            Self::Output => Some(Kind::Output),
            Self::Finished { .. } | Self::Other | Self::TooDeep => None,
        }
    }
}

/// What takes the place of a message that nests too deep.
pub const MESSAGE_TOO_DEEP: &str = "frontdesk dropped a message of this agent that nests deeper than 500 levels";

/// What the caller learns in place of an answer that nests too deep.
const ANSWER_TOO_DEEP: &str = "The agent's answer nests deeper than 500 levels.";

/// A line that is no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// The line is not UTF-8.
    #[error("it wrote a line to stdout that is not UTF-8")]
    NotText,
    /// The line is no JSON-RPC message.
    #[error("it wrote a line to stdout that is not a JSON-RPC message ({why}): {start}")]
    NotJsonRpc {
        /// What is wrong.
        why: &'static str,
        /// How the line begins.
        start: String,
    },
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Tells a `null` that is there from a field that is missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one line.
///
/// # Errors
/// A [`BadLine`] that says what is wrong, with the beginning of the line.
pub fn read(line: &[u8]) -> Result<Message, BadLine> {
    let text = std::str::from_utf8(line).map_err(|_| BadLine::NotText)?;
    let bad = |why| BadLine::NotJsonRpc { why, start: start_of(text) };
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|_| bad("not a JSON object"))?;
    if wire.jsonrpc.as_deref() != Some("2.0") {
        return Err(bad("`jsonrpc` is not \"2.0\""));
    }
    if let Some(method) = &wire.method {
        if wire.id.is_some() {
            return Err(bad("agents send notifications, not requests: leave out `id`"));
        }
        let what = notification(method, wire.params);
        let params = wire.params.map_or("{}", RawValue::get);
        if what.kind().is_some() && json::is_too_deep(params) {
            return Ok(Message::Notification { what: Notification::TooDeep, params: Bytes::from_static(b"{}") });
        }
        return Ok(Message::Notification { what, params: Bytes::copy_from_slice(params.as_bytes()) });
    }
    let id = wire.id.and_then(|id| id.get().parse().ok()).ok_or_else(|| bad("an answer's `id` is the request's"))?;
    let result = match (wire.result, wire.error) {
        (Some(result), None) if json::is_too_deep(result.get()) => Err(ANSWER_TOO_DEEP.to_owned()),
        (Some(result), None) => Ok(Bytes::copy_from_slice(result.get().as_bytes())),
        (None, Some(error)) => Err(error_words(error)),
        (Some(_), Some(_)) | (None, None) => return Err(bad("an answer has either `result` or `error`")),
    };
    Ok(Message::Answer { id, result })
}

fn notification(method: &str, params: Option<&RawValue>) -> Notification {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Params {
        #[serde(alias = "message", alias = "TEXT", alias = "MESSAGE")]
        text: String,
        #[serde(alias = "OUTCOME")]
        outcome: String,
        #[serde(alias = "REASON")]
        reason: String,
    }
    let params: Params = params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
    match method {
        "progress" => Notification::Progress(params.text),
        "log" => Notification::Log(params.text),
        "finished" => {
            let outcome = if params.outcome == "failed" { Outcome::Failed } else { Outcome::Completed };
            Notification::Finished { outcome, reason: params.reason }
        }
        "event" => Notification::Event,
        "output" => Notification::Output,
        _ => Notification::Other,
    }
}

fn error_words(error: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
    }
    match serde_json::from_str::<Error<'_>>(error.get()) {
        Ok(Error { message }) => message.into_owned(),
        Err(_) => error.get().to_owned(),
    }
}

fn start_of(text: &str) -> String {
    const MOST_BYTES: usize = 80;
    let end = text.floor_char_boundary(MOST_BYTES.min(text.len()));
    Printable(&text[..end]).to_string()
}

/// Reads a line where its size says: here if it is small, off the async threads if not.
///
/// # Errors
/// As [`read`].
pub async fn read_where_it_fits(line: Bytes) -> Result<Message, BadLine> {
    const LARGEST_READ_INLINE_BYTES: usize = 128 << 10;
    if line.len() <= LARGEST_READ_INLINE_BYTES {
        return read(&line);
    }
    let reading = tokio::task::spawn_blocking(move || read(&line)).await;
    reading.unwrap_or_else(|error| {
        tracing::error!(error = %error, "reading an agent's line panicked");
        Err(BadLine::NotJsonRpc { why: "it could not be read", start: String::new() })
    })
}

/// The `code` of the error that a line answers with, if it is one.
pub fn error_code(line: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Answer {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        code: i64,
    }
    serde_json::from_slice::<Answer>(line).ok().map(|answer| answer.error.code)
}

/// Writes a request as one line. `params` is JSON text in parts. A long one gives other tasks their turn in between.
pub async fn request(id: u64, method: &str, params: &[&[u8]]) -> Bytes {
    const WRITTEN_AT_ONCE_BYTES: usize = 128 << 10;
    let length: usize = params.iter().map(|part| part.len()).sum();
    let mut line = BytesMut::with_capacity(length + method.len() + 72);
    line.put_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    line.put_slice(id.to_string().as_bytes());
    begin_params(&mut line, method);
    for part in params {
        for (at, piece) in part.chunks(WRITTEN_AT_ONCE_BYTES).enumerate() {
            if at > 0 {
                tokio::task::yield_now().await;
            }
            put_on_one_line(&mut line, piece);
        }
    }
    line.put_slice(b"}\n");
    line.freeze()
}

/// Writes a notification as one line. `params` is JSON text.
pub fn notify(method: &str, params: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(params.len() + method.len() + 48);
    line.put_slice(b"{\"jsonrpc\":\"2.0\"");
    begin_params(&mut line, method);
    put_on_one_line(&mut line, params);
    line.put_slice(b"}\n");
    line.freeze()
}

fn begin_params(line: &mut BytesMut, method: &str) {
    line.put_slice(b",\"method\":\"");
    line.put_slice(method.as_bytes());
    line.put_slice(b"\",\"params\":");
}

fn put_on_one_line(line: &mut BytesMut, json: &[u8]) {
    let embedded = line.len();
    line.put_slice(json);
    // In valid JSON a raw line break stands between tokens only, where a space means the same.
    for byte in &mut line[embedded..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Tasks;

    fn answer(line: &str) -> (u64, Result<Bytes, String>) {
        match read(line.as_bytes()).unwrap() {
            Message::Answer { id, result } => (id, result),
            Message::Notification { what, .. } => panic!("{what:?}"),
        }
    }

    fn told(line: &str) -> Notification {
        match read(line.as_bytes()).unwrap() {
            Message::Notification { what, .. } => what,
            Message::Answer { id, .. } => panic!("an answer to {id}"),
        }
    }

    #[test]
    fn a_result_comes_as_its_own_text() {
        let (id, result) = answer(r#"{"jsonrpc":"2.0","id":7,"result":{"a": [1, 2.50]}}"#);
        assert_eq!((id, result.unwrap().as_ref()), (7, &br#"{"a": [1, 2.50]}"#[..]));
    }

    #[test]
    fn null_is_a_result() {
        assert_eq!(answer(r#"{"jsonrpc":"2.0","id":1,"result":null}"#).1.unwrap(), "null");
    }

    #[test]
    fn an_error_comes_as_its_message() {
        let line = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no such tool"}}"#;
        assert_eq!(answer(line).1.unwrap_err(), "no such tool");
    }

    #[test]
    fn notifications_are_told_apart() {
        let progress = r#"{"jsonrpc":"2.0","method":"progress","params":{"TEXT":"half"}}"#;
        assert_eq!(told(progress), Notification::Progress("half".into()));
        let finished = r#"{"jsonrpc":"2.0","method":"finished","params":{"OUTCOME":"failed","REASON":"no fuel"}}"#;
        assert_eq!(told(finished), Notification::Finished { outcome: Outcome::Failed, reason: "no fuel".into() });
        assert_eq!(told(r#"{"jsonrpc":"2.0","method":"of the future"}"#), Notification::Other);
        assert_eq!(told(r#"{"jsonrpc":"2.0","method":"progress","params":[1]}"#), Notification::Progress("".into()));
    }

    #[test]
    fn what_nests_deeper_than_a_request_may_is_dropped_and_an_answer_becomes_an_error() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let notification =
            |method: &str, params: &str| told(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
        assert_eq!(notification("event", &nested(500)), Notification::Event);
        for method in ["event", "output", "progress", "log"] {
            assert_eq!(notification(method, &nested(501)), Notification::TooDeep, "{method}");
        }
        let finished = format!(r#"{{"OUTCOME":"completed","REASON":"done","MORE":{}}}"#, nested(501));
        let done = Notification::Finished { outcome: Outcome::Completed, reason: "done".into() };
        assert_eq!(notification("finished", &finished), done, "of which only the two fields are kept");

        let answer_of = |levels| answer(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{}}}"#, nested(levels))).1;
        assert_eq!(answer_of(500).unwrap(), nested(500));
        assert_eq!(answer_of(501).unwrap_err(), ANSWER_TOO_DEEP);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        for (line, why) in [
            ("hello", "not a JSON object"),
            ("[]", "not a JSON object"),
            (r#"{"id":1,"result":1}"#, "`jsonrpc` is not"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "either `result` or `error`"),
            (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, "either `result` or `error`"),
            (r#"{"jsonrpc":"2.0","id":"x","result":1}"#, "an answer's `id`"),
            (r#"{"jsonrpc":"2.0","result":1}"#, "an answer's `id`"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ask"}"#, "leave out `id`"),
        ] {
            let error = read(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert_eq!(read(b"\xff").unwrap_err(), BadLine::NotText);
    }

    #[tokio::test]
    async fn line_breaks_inside_a_request_become_spaces() {
        let line = request(3, "request", &[b"{\"REQUEST\":", b"\r\n1", b"}"]).await;
        assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"request\",\"params\":{\"REQUEST\":  1}}\n");
        assert_eq!(notify("shutdown", b"{}"), "{\"jsonrpc\":\"2.0\",\"method\":\"shutdown\",\"params\":{}}\n");
    }

    #[tokio::test]
    async fn while_a_long_request_is_written_others_have_their_turn() {
        let text = [b"[".as_slice(), &vec![b'\n'; 1 << 20], b"]"].concat();
        let others = Tasks::default();
        others.spawn(async {});
        let line = request(1, "request", &[&text]).await;
        assert_eq!(others.count(), 0);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
