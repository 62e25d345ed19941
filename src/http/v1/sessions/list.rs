//! `GET /v1/sessions`: sessions as operators see them.

use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::customer;
use crate::http::App;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::input::{MOST_EMAIL_CHARACTERS_IN_QUERY, check_email_length};
use crate::http::operation::{Answer, Content, Operation, Tag, schema_of};
use crate::http::v1::page::{Limit, Page};
use crate::http::v1::{json, query};
use crate::id::SessionId;
use crate::session::{Outcome, PhaseName};
use crate::store::Filter;

use super::view::OperatorsView;

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listSessions",
    tag: Tag::Sessions,
    summary: "List sessions",
    description: "The newest first; live ones only, unless `ended`, `outcome` or `phase=ENDED` says otherwise. \
                  Several filters must all match.",
    query: Some(schema_of::<Query>),
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "A page of them.",
        contents: &[Content::json(schema_of::<Page<OperatorsView>>)],
        headers: &[],
    }],
    problems: &[Code::InvalidRequest],
};

/// Which sessions.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// Only this customer's: whom the embedded credential server knows by this email, and who was requested by it to the
    /// letter.
    #[schemars(length(min = 1, max = MOST_EMAIL_CHARACTERS_IN_QUERY))]
    pub email: Option<String>,
    /// Only those of this persona.
    pub persona: Option<String>,
    /// Only those in this phase.
    pub phase: Option<PhaseName>,
    /// Only those that ended so, or are about to.
    pub outcome: Option<Outcome>,
    /// Ended ones, too.
    #[serde(default)]
    pub ended: bool,
    /// Only those that were requested at this time or later, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created_after: Option<String>,
    /// Only those that were requested before this time, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub created_before: Option<String>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// Only those older than this one: `next` of the page before.
    pub cursor: Option<SessionId>,
}

pub(in crate::http) async fn handle(Call { app, parts, .. }: Call) -> Response {
    list(&app, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn list(app: &App, parts: &Parts) -> Result<Response, Refusal> {
    Ok(json(StatusCode::OK, &page(app, query(parts)?).await?))
}

/// A page of the sessions that match.
pub(in crate::http) async fn page(app: &App, query: Query) -> Result<Page<OperatorsView>, Refusal> {
    if let Some(email) = &query.email {
        check_email_length(email, MOST_EMAIL_CHARACTERS_IN_QUERY)?;
    }
    let filter = Filter {
        customer: None,
        persona: query.persona,
        phase: query.phase,
        outcome: query.outcome,
        ended: query.ended || query.outcome.is_some() || query.phase == Some(PhaseName::Ended),
        before: [query.cursor, first_of("created_before", query.created_before.as_deref())?]
            .into_iter()
            .flatten()
            .min(),
        from: first_of("created_after", query.created_after.as_deref())?,
    };
    let email = query.email.as_deref();
    let found = customer::sessions(&*app.store, &app.embedded, email, &filter, query.limit.and_one()).await?;
    let page = Page::of(found, query.limit, |record| record.id.to_string());
    let places = app.registry.places(page.items.iter().map(|record| record.id).collect());
    Ok(page.map(|record| OperatorsView::of(app, &record, &places)))
}

/// The least id of a session that was requested at that time: ids sort by it.
pub(super) fn first_of(name: &str, time: Option<&str>) -> Result<Option<SessionId>, Refusal> {
    let read = time.map(|time| {
        let time: Result<WallTime, _> = time.parse();
        time.map_err(|_| Refusal::Invalid(format!("`{name}` must be a time such as 2026-01-31T12:00:00Z.")))
    });
    Ok(read.transpose()?.map(|time| SessionId::new(time, [0; 10])))
}
