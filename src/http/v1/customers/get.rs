//! `GET /v1/customers/{email}`: one customer.

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use crate::http::App;
use crate::http::call::{Call, path_part};
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::routes::Route;
use crate::http::v1::json;

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

pub(in crate::http) async fn handle(Call { app, route, parts, .. }: Call) -> Response {
    see(&app, route, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn see(app: &App, route: &Route, parts: &Parts) -> Result<Response, Refusal> {
    let email = path_part(route, parts, "email")?;
    let customer = app.embedded.customer(&email).await?;
    Ok(json(StatusCode::OK, &CustomerView::from(&customer)))
}
