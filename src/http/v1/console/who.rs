//! `GET /v1/console/session`: who is signed in.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, WallTime};
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::caller::Shown;
use crate::http::error::Refusal;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::json;
use crate::principal::{Principal, Scope};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "whoIsSignedIn",
    tag: Tag::Operators,
    summary: "See who is signed in",
    description: "The operator that the console's cookie, or the token, stands for.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "The operator.",
        contents: &[Content::json(schema_of::<SignedIn>)],
        headers: &[],
    }],
    problems: &[],
};

/// An operator who is signed in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct SignedIn {
    /// The token's name.
    name: String,
    /// What the operator may do.
    scopes: Vec<Scope>,
    /// When the sign-in ends unless it is used, in RFC 3339; absent for who calls by token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    idle_end: Option<String>,
    /// When it ends in any case, in RFC 3339; absent for who calls by token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    lifetime_end: Option<String>,
}

pub(in crate::http) async fn handle(Call { app, admitted, .. }: Call) -> Response {
    match who(&app, &admitted).await {
        Ok(signed_in) => json(StatusCode::OK, &signed_in),
        Err(refusal) => refusal.problem(),
    }
}

async fn who(app: &App, admitted: &Admitted) -> Result<SignedIn, Refusal> {
    match (&admitted.caller.principal, admitted.caller.shown) {
        (Principal::Operator(_), Shown::Cookie(secret)) => {
            let (session, operator) = app.signed_in(secret).await?;
            let (now, wall, console) = (app.clock.now(), app.clock.wall(), app.config().console.clone());
            let end = |from: Timestamp, after: Duration| {
                let left = i64::try_from((from + after).saturating_since(now).as_millis()).unwrap_or(i64::MAX);
                WallTime::from_unix_millis(wall.unix_millis().saturating_add(left)).to_string()
            };
            Ok(SignedIn {
                name: operator.name,
                scopes: operator.scopes,
                idle_end: Some(end(session.seen, console.idle_timeout)),
                lifetime_end: Some(end(session.opened, console.lifetime)),
            })
        }
        (Principal::Operator(operator), _) => Ok(SignedIn {
            name: operator.name.clone(),
            scopes: operator.scopes.clone(),
            idle_end: None,
            lifetime_end: None,
        }),
        (Principal::Session(_) | Principal::Nobody, _) => Err(Refusal::OperatorRequired),
    }
}
