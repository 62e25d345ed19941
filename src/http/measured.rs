//! Counts what comes of calls, in one place behind the guard of each route.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use super::App;
use super::code::Code;
use super::operation::Asks;

/// Runs the call, and counts how it was refused if it asks for a session or for its agent.
pub(super) async fn measure(app: Arc<App>, asks: Option<Asks>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let code = response.extensions().get::<Code>().copied();
    app.metrics.answers.add_one(code.map_or(Code::ALL.len(), |code| code as usize));
    if let Some(code) = code
        && match asks {
            Some(Asks::ForSession) => true,
            // Whatever else is refused there is no matter of admission.
            Some(Asks::ForAgent) => code == Code::NoCapacity,
            None => false,
        }
    {
        app.metrics.refused.add_one(code as usize);
    }
    response
}
