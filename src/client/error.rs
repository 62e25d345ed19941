//! Why a call came to nothing, and what was tried.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::RETRY_AFTER;
use hyper::{Response, StatusCode};

use crate::http::code::Code;
use crate::http::error::Problem;
use crate::http_client::FetchError;

/// Why a call came to nothing. No text of it has a password or a token in it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing was sent: what was given can't be.
    #[error("{0}")]
    Unsendable(&'static str),
    /// No answer came, or a broken one. The server may have acted on the call, except after [`FetchError::Connect`].
    #[error("{cause}{tried}")]
    NoAnswer {
        /// What happened to the last attempt.
        #[source]
        cause: FetchError,
        /// What was tried.
        tried: Tried,
    },
    /// The server refused the call.
    #[error("{refused}{tried}")]
    Refused {
        /// What it said to the last attempt.
        refused: Box<Refused>,
        /// What was tried.
        tried: Tried,
    },
    /// What answers there does not speak as a Frontdesk does.
    #[error("the server is not Frontdesk (it answered {status}){tried}")]
    Stranger {
        /// The status of its last answer.
        status: StatusCode,
        /// What was tried.
        tried: Tried,
    },
}

impl ClientError {
    /// The code of the server's refusal, if it refused and this version knows the code.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { refused, .. } => refused.code,
            Self::Unsendable(_) | Self::NoAnswer { .. } | Self::Stranger { .. } => None,
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its code; none if a newer server has one that is not known here.
    pub code: Option<Code>,
    /// The code's name as the server spelled it.
    pub name: String,
    /// Its status.
    pub status: StatusCode,
    /// The server's sentence.
    pub detail: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.name)
    }
}

impl Refused {
    /// A refusal that came inside of a stream, which has no headers.
    pub(super) fn in_stream(problem: Problem) -> Self {
        const SOON: Duration = Duration::from_secs(1);
        let code = Code::named(&problem.code);
        let retry_after = code.is_some_and(Code::says_when).then_some(SOON);
        Self { retry_after, ..Self::of(problem, StatusCode::OK, None) }
    }

    fn of(problem: Problem, status: StatusCode, retry_after: Option<Duration>) -> Self {
        let code = Code::named(&problem.code);
        let status = StatusCode::from_u16(problem.status).unwrap_or(status);
        Self { code, name: problem.code, status, detail: problem.detail, retry_after }
    }
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// How often the call was sent.
    pub attempts: u32,
    /// For how long, from the first failure to the last.
    pub over: Duration,
}

impl Tried {
    pub(super) const ONCE: Self = Self { attempts: 1, over: Duration::ZERO };
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.attempts < 2 { Ok(()) } else { write!(f, ", tried {} times over {:.1?}", self.attempts, self.over) }
    }
}

/// Why one attempt failed.
#[derive(Debug)]
pub(super) enum Failed {
    Unanswered(FetchError),
    Refused(Box<Refused>),
    Stranger { status: StatusCode, retry_after: Option<Duration> },
}

impl Failed {
    /// What an answer that is no success says.
    pub(super) fn of(answer: &Response<Bytes>) -> Self {
        let (status, retry_after) = (answer.status(), retry_after(answer));
        match serde_json::from_slice(answer.body()) {
            Ok(problem) => Self::Refused(Box::new(Refused::of(problem, status, retry_after))),
            Err(_) => Self::Stranger { status, retry_after },
        }
    }

    /// A stream that ended too early.
    pub(super) fn broken_off() -> Self {
        Self::Unanswered(FetchError::Transport("the stream broke off".into()))
    }

    pub(super) fn after(self, tried: Tried) -> ClientError {
        match self {
            Self::Unanswered(cause) => ClientError::NoAnswer { cause, tried },
            Self::Refused(refused) => ClientError::Refused { refused, tried },
            Self::Stranger { status, .. } => ClientError::Stranger { status, tried },
        }
    }
}

fn retry_after<T>(answer: &Response<T>) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
