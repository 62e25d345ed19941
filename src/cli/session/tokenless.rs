//! The seed's calls that need no token on the server's own machine: by a customer's email alone.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;

use crate::client::{self, ClientError, Code, Refused, Tried};

/// Agents may take their time to start, and the server knows its own limits.
const LONGEST: Duration = Duration::from_hours(1);
const MOST_BYTES: usize = 1 << 20;
const ONCE: Tried = Tried { attempts: 1, over: Duration::ZERO };

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Reply {
    message: String,
    #[serde(default)]
    detail: String,
}

/// Makes one call, and returns the `MESSAGE` of its success.
pub(super) async fn ask(server: &str, method: Method, path: &str, body: String) -> Result<String, ClientError> {
    let (client, server) = client::transport(server)?;
    let request = Request::builder().method(method).uri(format!("{server}{path}"));
    let request = if body.is_empty() { request } else { request.header(CONTENT_TYPE, "application/json") };
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|_| ClientError::Unsendable("the email is too long"))?;
    let answer = client.fetch(request, LONGEST, MOST_BYTES).await;
    let answer = answer.map_err(|cause| ClientError::NoAnswer { cause, tried: ONCE })?;
    let status = answer.status();
    let reply: Reply =
        serde_json::from_slice(answer.body()).map_err(|_| ClientError::Stranger { status, tried: ONCE })?;
    if status == StatusCode::OK { Ok(reply.message) } else { Err(refused(&answer, reply)) }
}

fn refused(answer: &Response<Bytes>, reply: Reply) -> ClientError {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let refused = Refused {
        code: Code::named(&reply.message),
        name: reply.message,
        status: answer.status(),
        detail: reply.detail,
        retry_after: seconds.map(Duration::from_secs),
    };
    ClientError::Refused { refused: Box::new(refused), tried: ONCE }
}
