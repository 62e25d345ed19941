//! `GET /v1/customers/{email}`: one customer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use crate::http::App;
use crate::http::body;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::{json, path_part};

use super::view::CustomerView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "getCustomer",
    tag: Tag::Customers,
    summary: "See a customer",
    description: "The email is percent-encoded. Its case, and how its accents are composed, do not matter.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "The customer.",
        contents: &[Content::json(schema_of::<CustomerView>)],
        headers: &[],
    }],
    problems: &[Code::InvalidRequest, Code::CustomerNotFound],
};

pub(in crate::http) async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    body::discard(&parts, body).await;
    see(&app, &mut parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn see(app: &App, parts: &mut Parts) -> Result<Response, Refusal> {
    let email = path_part(parts, "email").await?;
    let customer = app.embedded.customer(&email).await?;
    Ok(json(StatusCode::OK, &CustomerView::from(&customer)))
}
