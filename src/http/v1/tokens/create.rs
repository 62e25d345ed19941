//! `POST /v1/tokens`: makes an operator's token.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::App;
use crate::http::call::Call;
use crate::http::caller::Caller;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Body, Content, Operation, Tag, schema_of};
use crate::http::v1::secret::Secret;
use crate::http::v1::{json, object, present};
use crate::id::Printable;
use crate::operator_token::{self, LIFETIME, LIFETIMES, LONGEST_NAME, Made, TokenError};
use crate::principal::Scope;
use crate::store::Action;

use super::list::TokenView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "createToken",
    tag: Tag::Operators,
    summary: "Make an operator's token",
    description: "The answer has the token itself, which is not shown again. Only one token of each name is valid at \
                  a time. A call that is repeated after a lost answer gets `token_exists`: find the token's id in \
                  the list, revoke it, and make another.",
    query: None,
    headers: &[],
    body: Some(Body { required: true, contents: &[Content::json(schema_of::<NewToken>)] }),
    answers: &[Answer {
        status: 201,
        description: "It is made.",
        contents: &[Content::json(schema_of::<CreatedToken>)],
        headers: &[],
    }],
    problems: &[Code::TokenExists],
};

/// A token to be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewOperatorToken")]
pub struct NewToken {
    /// What people call it, and what the audit says of who it was: no control characters, no spaces around it, and no
    /// id.
    #[schemars(
        length(min = 1, max = LONGEST_NAME),
        regex(
            pattern = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$"
        )
    )]
    pub name: String,
    /// What it allows.
    #[schemars(length(min = 1))]
    pub scopes: Vec<Scope>,
    /// How long it is valid; 90 days unless said otherwise.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = LIFETIMES.start().as_secs(), max = LIFETIMES.end().as_secs()))]
    pub valid_for_seconds: Option<f64>,
    /// It is valid until it is revoked, whatever else is said.
    #[serde(default)]
    pub never_expires: bool,
}

/// A token that was just made.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CreatedOperatorToken")]
pub struct CreatedToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub kept: TokenView,
    /// The token itself, for `Authorization: Bearer`.
    pub token: Secret,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, body, .. }: Call) -> Response {
    let new = match object::<NewToken>(&app, &parts, body).await {
        Ok(new) => new,
        Err(refusal) => return refusal.problem(),
    };
    let (creating, caller) = (Arc::clone(&app), admitted.caller);
    match app.tasks.carry_out(async move { create(&creating, &caller, new).await }).await {
        Ok(created) => json(StatusCode::CREATED, &created),
        Err(refusal) => refusal.problem(),
    }
}

async fn create(app: &App, caller: &Caller, new: NewToken) -> Result<CreatedToken, Refusal> {
    let seconds = new.valid_for_seconds.map(Duration::try_from_secs_f64).transpose();
    let valid_for = seconds.ok().map(|time| time.unwrap_or(LIFETIME)).filter(|time| LIFETIMES.contains(time));
    // What is no time is a mistake, also where it would not count.
    let valid_for = valid_for.ok_or(TokenError::Lifetime)?;
    let valid_for = (!new.never_expires).then_some(valid_for);
    let Made { token, text } = operator_token::make(&*app.store, &*app.clock, &new.name, &new.scopes, valid_for)?;
    let known = app.store.operator_tokens().await?;
    if known.iter().any(|known| known.name == token.name && known.revoked.is_none()) {
        return Err(TokenError::Exists.into());
    }
    app.audit(caller, Action::TokenMade, None, &operator_token::in_words(&token)).await?;
    operator_token::keep(&*app.store, token.clone()).await?;
    tracing::info!(token.id = %token.id, token.name = %Printable(&token.name), "operator's token made");
    Ok(CreatedToken { kept: TokenView::of(token, app.clock.wall()), token: Secret(text.into()) })
}
