//! `GET /metrics`: what the server counts of itself, in the text format of Prometheus (version 0.0.4).
//!
//! `families` has what is told, `text` how it is written, `process` what the system knows of the process.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use prometheus_client::encoding::prometheus_text;

use super::call::Call;
use super::error::Refusal;
use super::operation::{self, Answer, Content, Operation, Tag};

mod families;
mod process;
mod text;

pub(super) static OPERATION: Operation = Operation {
    id: "getMetrics",
    tag: Tag::Server,
    summary: "What the server counts of itself",
    description: "In the text format of Prometheus. Labels are bounded: personas are those of the configuration, and \
                  no customer is named. Without a token it is answered to programs on this machine, under the rules \
                  that hold for the seed's calls without one.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "At this moment.",
        contents: &[Content { media_type: "text/plain", schema: operation::text }],
        headers: &[],
    }],
    problems: &[],
};

pub(super) async fn handle(Call { app, .. }: Call) -> Response {
    let Ok(text) = text::write(families::now(&app).await) else { return Refusal::Failed.problem() };
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(prometheus_text::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
