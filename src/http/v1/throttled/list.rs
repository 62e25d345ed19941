//! `GET /v1/throttled`: whose sign-ins are being slowed.

use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::credential::slowed::{Name, SlowedOne, Who};
use crate::http::App;
use crate::http::call::Call;
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::json;
use crate::http::v1::page::Page;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listThrottled",
    tag: Tag::Customers,
    summary: "See who is being slowed",
    description: "The accounts and addresses whose sign-ins the server refuses now, because too many have failed; up \
                  to 1,000, the longest first.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "All of them.",
        contents: &[Content::json(schema_of::<Page<ThrottledView>>)],
        headers: &[],
    }],
    problems: &[],
};

/// An account, an address, or one from the other, whose sign-ins are being slowed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Throttled")]
pub struct ThrottledView {
    /// The customer; every account, if neither this nor `operator` is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The id of the operator's token with which somebody signs in, or `unknown` of what is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The address; if absent, all that never succeeded for the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How many failed attempts counted when one was last refused.
    pub failures: u32,
    /// How many attempts were refused since it began.
    pub refused: u64,
    /// When the next one is let through, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
}

impl ThrottledView {
    /// All who are slowed now, the longest first.
    pub(crate) fn all(app: &App) -> Vec<Self> {
        app.gate.slowed(app.clock.now()).into_iter().map(|slowed| Self::of(slowed, &*app.clock)).collect()
    }

    fn of(slowed: SlowedOne, clock: &dyn Clock) -> Self {
        let (name, address) = match slowed.who {
            Who::AccountAndAddress(name, address) => (Some(name), Some(address)),
            Who::Account(name) => (Some(name), None),
            Who::Address(address) => (None, Some(address)),
        };
        let (email, operator) = match name {
            Some(Name::Customer(email)) => (Some(email.into()), None),
            Some(Name::Operator(operator)) => (None, Some(operator.into())),
            None => (None, None),
        };
        Self {
            email,
            operator,
            address: address.map(|address| address.to_string()),
            failures: slowed.failures,
            refused: slowed.refused,
            until: clock.wall_at(slowed.until).to_string(),
        }
    }
}

pub(in crate::http) fn handle(Call { app, .. }: Call) -> Response {
    json(StatusCode::OK, &Page { items: ThrottledView::all(&app), next: None })
}
