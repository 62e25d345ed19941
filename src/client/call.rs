//! One call: what is sent, and how its answer is got. Every method of the client is made of these.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http_client::{AnswerBody, FetchError, read_body};

use super::error::{Failed, Tried};
use super::retries::Attempts;
use super::{Client, ClientError, IdempotencyKey};

/// How long an answer may take that waits for nothing.
const PROMPT: Duration = Duration::from_secs(60);
const MOST_BYTES: usize = 1 << 30;
const MOST_BYTES_OF_A_PROBLEM: usize = 1 << 20;

pub(super) struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    accept: &'static str,
    key: Option<IdempotencyKey>,
    last_event_id: Option<u64>,
    is_repeatable: bool,
    patience: Duration,
    /// A status that is an answer to it although it is no success.
    expected: Option<StatusCode>,
}

impl Call {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            is_repeatable: method.is_idempotent(),
            method,
            path: path.into(),
            body: None,
            accept: "application/json",
            key: None,
            last_event_id: None,
            patience: PROMPT,
            expected: None,
        }
    }

    pub(super) fn query(mut self, query: &impl Serialize) -> Self {
        let query = serde_urlencoded::to_string(query).expect("a query is flat and serialises");
        if !query.is_empty() {
            self.path = format!("{}?{query}", self.path);
        }
        self
    }

    pub(super) fn json(self, body: &impl Serialize) -> Self {
        let text = serde_json::to_vec(body).expect("a body has string keys only and serialises");
        self.body(text.into())
    }

    pub(super) fn body(self, json: Bytes) -> Self {
        Self { body: Some(json), ..self }
    }

    pub(super) fn accept(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }

    /// Under a key, which makes it repeatable.
    pub(super) fn under(self, key: Option<IdempotencyKey>) -> Self {
        Self { key: Some(key.unwrap_or_else(IdempotencyKey::random)), ..self }.repeatable()
    }

    pub(super) fn repeatable(self) -> Self {
        Self { is_repeatable: true, ..self }
    }

    pub(super) fn after(self, event: u64) -> Self {
        Self { last_event_id: Some(event), ..self }
    }

    /// Its answer may take so much longer than one that waits for nothing.
    pub(super) fn waits(self, wait: Duration) -> Self {
        Self { patience: PROMPT.saturating_add(wait), ..self }
    }

    pub(super) fn expects(self, status: StatusCode) -> Self {
        Self { expected: Some(status), ..self }
    }

    fn is_answered_by(&self, status: StatusCode) -> bool {
        status.is_success() || self.expected == Some(status)
    }

    fn request(&self, client: &Client) -> Result<Request<Full<Bytes>>, ClientError> {
        const UNSENDABLE: ClientError = ClientError::Unsendable("the call is too long to be sent");
        let mut request = Request::builder().method(&self.method).uri(format!("{}{}", client.server, self.path));
        request = request.header(ACCEPT, self.accept);
        if let Some(token) = &client.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
            let mut bearer =
                bearer.map_err(|_| ClientError::Unsendable("the token holds characters that no token has"))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key.header());
        }
        if let Some(event) = self.last_event_id {
            request = request.header("last-event-id", event);
        }
        request.body(Full::new(self.body.clone().unwrap_or_default())).map_err(|_| UNSENDABLE)
    }
}

impl Client {
    /// The attempts at a call.
    pub(super) fn attempts(&self, call: &Call) -> Attempts {
        Attempts::new(self.retries, call.is_repeatable)
    }

    /// Makes a call and reads its whole answer, which is a success.
    pub(super) async fn call(&self, call: &Call) -> Result<Response<Bytes>, ClientError> {
        let mut attempts = self.attempts(call);
        loop {
            let failed = match self.http.fetch(call.request(self)?, call.patience, MOST_BYTES).await {
                Ok(answer) if call.is_answered_by(answer.status()) => return Ok(answer),
                Ok(answer) => Failed::of(&answer),
                Err(error) => Failed::Unanswered(error),
            };
            attempts.again(failed).await?;
        }
    }

    /// The same, for an answer in JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        read(&self.call(call).await?)
    }

    /// Makes a call and returns its answer, which is a success, with the body still to be read.
    pub(super) async fn open(&self, call: &Call) -> Result<Response<AnswerBody>, ClientError> {
        let mut attempts = self.attempts(call);
        loop {
            match self.try_to_open(call).await? {
                Ok(answer) => return Ok(answer),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    async fn try_to_open(&self, call: &Call) -> Result<Result<Response<AnswerBody>, Failed>, ClientError> {
        let opening = self.http.open(call.request(self)?, false);
        let opened = tokio::time::timeout(call.patience, opening).await;
        let opened = opened.unwrap_or(Err(FetchError::Timeout { after: call.patience }));
        Ok(match opened {
            Ok(answer) if call.is_answered_by(answer.status()) => Ok(answer),
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let reading = tokio::time::timeout(PROMPT, read_body(body, MOST_BYTES_OF_A_PROBLEM)).await;
                match reading.unwrap_or(Err(FetchError::Timeout { after: PROMPT })) {
                    Ok(body) => Err(Failed::of(&Response::from_parts(head, body))),
                    Err(error) => Err(Failed::Unanswered(error)),
                }
            }
            Err(error) => Err(Failed::Unanswered(error)),
        })
    }
}

/// What an answer says, which is JSON if a Frontdesk wrote it.
pub(super) fn read<T: DeserializeOwned>(answer: &Response<Bytes>) -> Result<T, ClientError> {
    let stranger = |_| ClientError::Stranger { status: answer.status(), tried: Tried::ONCE };
    serde_json::from_slice(answer.body()).map_err(stranger)
}
