//! Asks a Frontdesk over HTTP, and says in words why there is no answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use anyhow::{Context, anyhow};

use crate::cli::Failure;
use crate::http_client::{FetchError, HttpClient};
use crate::id::Printable;

/// Agents may take their time, and the server knows its own limits.
const LONGEST: Duration = Duration::from_secs(3_600);
const MOST_BYTES: usize = 1 << 30;

pub(super) struct Client {
    server: String,
    runtime: tokio::runtime::Runtime,
    idempotency_key: Option<String>,
}

/// What a Frontdesk answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Bytes,
}

/// The seed's answers, all in one.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) struct Reply<'a> {
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) session_id: Option<String>,
    pub(super) token: Option<String>,
    #[serde(borrow)]
    pub(super) response: Option<&'a RawValue>,
}

impl Client {
    pub(super) fn new(server: &str) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        Ok(Self { server: server.to_owned(), runtime, idempotency_key: None })
    }

    /// The same, for requests that are to be handled once.
    pub(super) fn under_key(self, key: Option<&str>) -> Self {
        Self { idempotency_key: key.map(str::to_owned), ..self }
    }

    /// Sends one request, and waits for the answer.
    pub(super) fn ask(&self, method: Method, path: &str, token: Option<&str>, body: String) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| {
            Failure::Usage("this cannot be sent: the email is too long, or the token or the key is none".into())
        })?;
        let answer = self.runtime.block_on(async { HttpClient::new().fetch(request, LONGEST, MOST_BYTES).await });
        answer.map(Answer::from).map_err(|error| self.words(&error))
    }

    /// Reads the answer of one of the seed's endpoints.
    pub(super) fn read<'a>(&self, answer: &'a Answer) -> Result<Reply<'a>, Failure> {
        serde_json::from_slice(&answer.body).map_err(|_| self.stranger(answer))
    }

    /// Whatever answered, it was no Frontdesk.
    pub(super) fn stranger(&self, answer: &Answer) -> Failure {
        Failure::Failed(format!(
            "what answers at {} is no Frontdesk (it said {}); name the right address with --server",
            self.server, answer.status
        ))
    }

    fn words(&self, error: &FetchError) -> Failure {
        let server = &self.server;
        match error {
            FetchError::Connect(cause) if is_refused(cause.as_ref()) => Failure::Failed(format!(
                "no Frontdesk answers at {server}; start one with `frontdesk serve`, or name another with --server"
            )),
            FetchError::Connect(_) => {
                anyhow!("{server} cannot be reached ({error}); name another server with --server").into()
            }
            FetchError::InvalidUri
            | FetchError::Timeout { .. }
            | FetchError::Transport(_)
            | FetchError::TooLarge { .. } => anyhow!(
                "{server} did not answer ({error}); whether it did what was asked is unknown: see `frontdesk session \
                 status`"
            )
            .into(),
        }
    }
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self { status: response.status(), retry_after, body: response.into_body() }
    }
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An email as a shell takes it, safe to paste.
pub(super) fn quoted(email: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "@._+-%=:,/".contains(character);
    if !email.is_empty() && !email.starts_with('-') && email.chars().all(is_plain) {
        return email.to_owned();
    }
    format!("'{}'", Printable(email).to_string().replace('\'', r"'\''"))
}
