//! `GET /v1/customers`: all customers, a page at a time.

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::page::{Limit, Page};
use crate::http::v1::{json, query};
use crate::id::CustomerKey;

use super::view::CustomerView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listCustomers",
    tag: Tag::Customers,
    summary: "List customers",
    description: "In the order of their emails.",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "A page of them.",
        contents: &[Content::json(schema_of::<Page<CustomerView>>)],
        headers: &[],
    }],
    problems: &[Code::InvalidRequest],
};

/// Which customers.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub(in crate::http) struct Query {
    /// How many at most.
    #[serde(default)]
    pub(in crate::http) limit: Limit,
    /// `next` of the page before.
    pub(in crate::http) cursor: Option<String>,
}

pub(in crate::http) async fn handle(Call { app, parts, .. }: Call) -> Response {
    list(&app, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn list(app: &App, parts: &Parts) -> Result<Response, Refusal> {
    Ok(json(StatusCode::OK, &page(app, query(parts)?).await?))
}

/// A page of the customers.
pub(in crate::http) async fn page(app: &App, query: Query) -> Result<Page<CustomerView>, Refusal> {
    let Query { limit, cursor } = query;
    let found = app.store.customers(cursor.as_deref().map(CustomerKey::new), limit.and_one()).await?;
    let page = Page::of(found, limit, |customer| customer.key.as_str().to_owned());
    Ok(page.map(|customer| CustomerView::from(&customer)))
}
