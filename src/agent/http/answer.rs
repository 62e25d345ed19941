//! The body of a service's answer, read as it comes: what an agent would have written to its stdout until the answer.
//!
//! One message a line, each bounded. A body that is one JSON object over many lines is taken, too, because that is what
//! many frameworks write. Reads from any stream; knows no HTTP.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::agent::line_budget::LineBudget;
use crate::agent::lines::{Lines, TooLong};
use crate::agent::rpc::{self, BadLine, Message, Notification};

/// A first line above this many bytes is not taken for the beginning of an object that goes on.
const LONGEST_FIRST_LINE_BYTES: usize = 64 << 10;

/// JSON-RPC code by which a service says that it does not know the session, or not under this epoch.
pub const UNKNOWN_SESSION: i64 = -32_001;

/// What a service answered to one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The call's result, as JSON text.
    Result(Bytes),
    /// An error of the service's own, in its words.
    Refused(String),
    /// The session is unknown there, in the service's words.
    UnknownSession(String),
}

/// Why a body holds no answer. The texts go on from "the service NAME at ADDRESS".
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The connection ended in the middle.
    #[error("broke off its answer")]
    CutOff(#[source] std::io::Error),
    /// The body ended and held no answer.
    #[error("ended its answer without an answer to the call")]
    Missing,
    /// The answer is another call's.
    #[error("answered the call {id}, which it was not asked here")]
    OtherCall {
        /// The number in the answer.
        id: u64,
    },
    /// A line is longer than allowed.
    #[error("broke the protocol: a line is longer than {most_bytes} bytes")]
    TooLong {
        /// The bound.
        most_bytes: usize,
    },
    /// Not UTF-8.
    #[error("broke the protocol: its answer is not UTF-8")]
    NotText,
    /// A line is no message.
    #[error("broke the protocol: its answer is not a JSON-RPC message ({why}): {start}")]
    NotJsonRpc {
        /// What is wrong.
        why: &'static str,
        /// How the line begins.
        start: String,
    },
}

/// Reads until the answer to the call `id`; hands every notification before it to `told`. What follows the answer is
/// not read. `most_bytes` bounds each line.
///
/// # Errors
/// A [`BodyError`] if the body is not what an agent may say, or ends before the answer.
pub(super) async fn read(
    body: impl AsyncRead + Unpin,
    most_bytes: usize,
    id: u64,
    told: impl Fn(Notification, Bytes),
) -> Result<Answer, BodyError> {
    let mut body = Body {
        stream: body,
        lines: Lines::new(most_bytes, 0),
        most_bytes,
        has_ended: false,
        line_budget: LineBudget::default(),
    };
    let mut is_first = true;
    while let Some(line) = body.next_line().await? {
        let (line, message) = match rpc::read_where_it_fits(line.clone()).await {
            Ok(message) => (line, message),
            Err(_) if is_first && may_go_on(&line) => body.rest_as_one(line).await?,
            Err(error) => return Err(error.into()),
        };
        is_first = false;
        match message {
            Message::Notification { what, params } => told(what, params),
            Message::Answer { id: of_answer, .. } if of_answer != id => {
                return Err(BodyError::OtherCall { id: of_answer });
            }
            Message::Answer { result: Ok(result), .. } => return Ok(Answer::Result(result)),
            Message::Answer { result: Err(words), .. } if rpc::error_code(&line) == Some(UNKNOWN_SESSION) => {
                return Ok(Answer::UnknownSession(words));
            }
            Message::Answer { result: Err(words), .. } => return Ok(Answer::Refused(words)),
        }
    }
    Err(BodyError::Missing)
}

struct Body<R> {
    stream: R,
    lines: Lines,
    most_bytes: usize,
    has_ended: bool,
    line_budget: LineBudget,
}

impl<R: AsyncRead + Unpin> Body<R> {
    /// The next line that holds something; the last one needs no end, since the body's end is certain.
    async fn next_line(&mut self) -> Result<Option<Bytes>, BodyError> {
        while !self.has_ended {
            self.line_budget.spend().await;
            self.lines.skip_empty();
            let line = match self.lines.next_line()? {
                Some(line) => line,
                None if self.read_on().await? => continue,
                None => {
                    self.has_ended = true;
                    self.lines.take_rest()
                }
            };
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Reads the next piece; false if there is none.
    async fn read_on(&mut self) -> Result<bool, BodyError> {
        const PIECE_BYTES: usize = 16 << 10;
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let length = self.stream.read_buf(&mut piece).await.map_err(BodyError::CutOff)?;
        self.lines.push(piece.freeze());
        Ok(length > 0)
    }

    /// Reads the whole body as one message that began with `first`.
    async fn rest_as_one(&mut self, first: Bytes) -> Result<(Bytes, Message), BodyError> {
        let mut whole = BytesMut::from(&first[..]);
        while let Some(line) = self.next_line().await? {
            if whole.len() + line.len() >= self.most_bytes {
                return Err(BodyError::TooLong { most_bytes: self.most_bytes });
            }
            whole.extend_from_slice(b" ");
            whole.extend_from_slice(&line);
        }
        let whole = whole.freeze();
        let message = rpc::read_where_it_fits(whole.clone()).await?;
        Ok((whole, message))
    }
}

/// Whether a line is the beginning of a JSON object rather than something else.
fn may_go_on(line: &[u8]) -> bool {
    line.len() <= LONGEST_FIRST_LINE_BYTES
        && line.trim_ascii_start().starts_with(b"{")
        && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

impl From<TooLong> for BodyError {
    fn from(TooLong { most_bytes }: TooLong) -> Self {
        Self::TooLong { most_bytes }
    }
}

impl From<BadLine> for BodyError {
    fn from(error: BadLine) -> Self {
        match error {
            BadLine::NotText => Self::NotText,
            BadLine::NotJsonRpc { why, start } => Self::NotJsonRpc { why, start },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::line_budget::tests::turns_of_others;
    use parking_lot::Mutex;
    use tokio::io::AsyncReadExt;

    const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":[1]}"#;
    const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"progress","params":{"TEXT":"half"}}"#;

    async fn answer_in(body: &str) -> Result<Answer, BodyError> {
        read(body.as_bytes(), 200, 7, |_, _| {}).await
    }

    async fn why(body: &str) -> String {
        answer_in(body).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_answer_is_a_line_with_or_without_its_end_or_an_object_over_many_lines() {
        let pretty = "{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 7,\r\n\n  \"result\": [\n    1\n  ]\n}\n";
        for body in
            [ANSWER, &format!("{ANSWER}\n"), &format!("\r\n \n{ANSWER}\r\n"), &pretty.replace("[\n    1\n  ]", "[1]")]
        {
            assert_eq!(answer_in(body).await.unwrap(), Answer::Result("[1]".into()), "{body}");
        }
        assert!(matches!(answer_in(pretty).await.unwrap(), Answer::Result(_)));
    }

    #[tokio::test]
    async fn others_go_on_while_a_body_of_many_lines_is_read_and_empty_ones_are_passed_over_at_once() {
        const LINES: usize = 6_400;
        let tiny = "{\"jsonrpc\":\"2.0\",\"method\":\"later\"}\n".repeat(LINES);
        let (answer, turns) = turns_of_others(answer_in(&format!("{tiny}{ANSWER}"))).await;
        assert_eq!(answer.unwrap(), Answer::Result("[1]".into()));
        assert!(turns >= LINES / 100, "{turns}");
        let (answer, turns) = turns_of_others(answer_in(&format!("{}{ANSWER}", "\n".repeat(LINES)))).await;
        assert_eq!(answer.unwrap(), Answer::Result("[1]".into()));
        assert!(turns < 10, "{turns}");
    }

    #[tokio::test]
    async fn notifications_before_the_answer_are_told_and_what_follows_is_not_read() {
        let told = Mutex::new(Vec::new());
        let body = format!("{PROGRESS}\n{PROGRESS}\n{ANSWER}\n{PROGRESS}\nnonsense");
        let answer = read(body.as_bytes(), 200, 7, |what, _| told.lock().push(what)).await;
        assert_eq!(answer.unwrap(), Answer::Result("[1]".into()));
        assert_eq!(told.into_inner(), [Notification::Progress("half".into()), Notification::Progress("half".into())]);
    }

    #[tokio::test]
    async fn notifications_are_told_while_the_answer_is_still_to_come() {
        let (mut service, body) = tokio::io::duplex(1_000);
        let told = tokio::sync::Notify::new();
        let reading = read(body, 200, 7, |_, _| told.notify_one());
        let answering = async {
            tokio::io::AsyncWriteExt::write_all(&mut service, format!("{PROGRESS}\n").as_bytes()).await.unwrap();
            told.notified().await;
            tokio::io::AsyncWriteExt::write_all(&mut service, format!("{ANSWER}\n").as_bytes()).await.unwrap();
        };
        assert_eq!(tokio::join!(reading, answering).0.unwrap(), Answer::Result("[1]".into()));
    }

    #[tokio::test]
    async fn an_error_is_the_services_refusal_and_one_code_says_that_the_session_is_unknown() {
        let error = |code: i64| format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":{code},"message":"no"}}}}"#);
        assert_eq!(answer_in(&error(-32_000)).await.unwrap(), Answer::Refused("no".into()));
        assert_eq!(answer_in(&error(-32_001)).await.unwrap(), Answer::UnknownSession("no".into()));
    }

    #[tokio::test]
    async fn what_is_no_answer_says_why() {
        for (body, expected) in [
            ("", "without an answer"),
            ("\n\n", "without an answer"),
            (PROGRESS, "without an answer"),
            (r#"{"jsonrpc":"2.0","id":8,"result":1}"#, "answered the call 8"),
            ("<html>", "not a JSON-RPC message (not a JSON object): <html>"),
            (r#"{"jsonrpc":"2.0","id":7"#, "not a JSON object"),
            ("{\n<html>", "not a JSON object"),
            (&format!("{PROGRESS}\n{{\n}}"), "not a JSON object"),
            (&format!("{{\n{ANSWER}"), "not a JSON object"),
            (&"x".repeat(201), "longer than 200 bytes"),
            (&format!("{{\n{}}}", " 1,\n".repeat(100)), "longer than 200 bytes"),
        ] {
            let why = why(body).await;
            assert!(why.contains(expected), "{body}: {why}");
        }
        assert!(matches!(read(&b"\xff\n"[..], 200, 7, |_, _| {}).await, Err(BodyError::NotText)));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_has_no_answer_even_if_a_whole_one_stands_there_without_its_end() {
        struct Breaks;
        impl AsyncRead for Breaks {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
            }
        }
        let outcome = read(ANSWER.as_bytes().chain(Breaks), 200, 7, |_, _| {}).await;
        assert!(matches!(outcome, Err(BodyError::CutOff(_))), "{outcome:?}");
    }
}
