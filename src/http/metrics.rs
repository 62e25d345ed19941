//! `GET /metrics`: what the server counts of itself, in the text format of Prometheus (version 0.0.4), or as `OpenMetrics`
//! for a client that asks for it.
//!
//! `families` has what is told, `text` how it is written, `process` what the system knows of the process.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;

use super::call::Call;
use super::error::Refusal;
use super::operation::{self, Answer, Content, Operation, Tag};
use super::v1::stream::accepts;

mod families;
mod process;
mod text;

use text::Format;

pub(super) static OPERATION: Operation = Operation {
    id: "getMetrics",
    tag: Tag::Server,
    summary: "What the server counts of itself",
    description: "In the text format of Prometheus, or as OpenMetrics if the client accepts \
                  `application/openmetrics-text`. Labels are bounded: personas are those of the configuration, and \
                  no customer is named. Without a token it is answered to programs on this machine, under the rules \
                  that hold for the seed's calls without one.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "At this moment.",
        contents: &[
            Content { media_type: "text/plain", schema: operation::text },
            Content { media_type: "application/openmetrics-text", schema: operation::text },
        ],
        headers: &[],
    }],
    problems: &[],
};

pub(super) async fn handle(Call { app, parts, .. }: Call) -> Response {
    let is_open = accepts(&parts.headers, "application/openmetrics-text");
    let format = if is_open { Format::OpenMetrics } else { Format::Prometheus };
    let Ok(text) = text::write(families::now(&app).await, format) else { return Refusal::Failed.problem() };
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
