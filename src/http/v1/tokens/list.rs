//! `GET /v1/tokens`: all operators' tokens.

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::http::App;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::json;
use crate::http::v1::page::Page;
use crate::principal::{OperatorTokenId, Scope};
use crate::store::OperatorToken;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listTokens",
    tag: Tag::Operators,
    summary: "List operators' tokens",
    description: "All tokens, the oldest first, also revoked and expired ones; never their secrets.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "All of them.",
        contents: &[Content::json(schema_of::<Page<TokenView>>)],
        headers: &[],
    }],
    problems: &[],
};

/// An operator's token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OperatorToken")]
pub struct TokenView {
    /// Its id, a `UUIDv7`.
    pub id: OperatorTokenId,
    /// What people call it, and what the audit says of who it was.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Whether it is good for anything now.
    pub valid: bool,
    /// When it was made, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created: String,
    /// When it expires, in RFC 3339; never, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub expires: Option<String>,
    /// When it was revoked, in RFC 3339, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub revoked: Option<String>,
}

pub(in crate::http) async fn handle(Call { app, .. }: Call) -> Response {
    match all(&app).await {
        Ok(tokens) => json(StatusCode::OK, &tokens),
        Err(refusal) => refusal.problem(),
    }
}

/// All tokens, the oldest first.
pub(in crate::http) async fn all(app: &App) -> Result<Page<TokenView>, Refusal> {
    let (tokens, now) = (app.store.operator_tokens().await?, app.clock.wall());
    Ok(Page { items: tokens, next: None }.map(|token| TokenView::of(token, now)))
}

impl TokenView {
    pub(super) fn of(token: OperatorToken, now: WallTime) -> Self {
        Self {
            valid: token.is_valid(now),
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            created: token.created.to_string(),
            expires: token.expires.map(|at| at.to_string()),
            revoked: token.revoked.map(|at| at.to_string()),
        }
    }
}
