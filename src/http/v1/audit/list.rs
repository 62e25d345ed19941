//! `GET /v1/audit`: the audit, a page at a time or all of it.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::customer;
use crate::http::App;
use crate::http::call::Call;
use crate::http::code::Code;
use crate::http::error::Refusal;
use crate::http::input::{MOST_EMAIL_CHARACTERS_IN_QUERY, check_email_length};
use crate::http::operation::{Answer, Content, Header, Operation, Tag, schema_of};
use crate::http::v1::page::{Limit, Page};
use crate::http::v1::{json, query};
use crate::id::{CustomerKey, SessionId};
use crate::store::{AuditCursor, AuditFilter, NumberedEntry, StoreError};

use super::export::{NDJSON, export};
use super::view::{ActionName, Cursor, EntryView};

pub(in crate::http) static OPERATION: Operation = Operation {
    id: "listAudit",
    tag: Tag::Operators,
    summary: "Read the audit",
    description: "Who did what to which session, from where; the newest first. With `Accept: application/x-ndjson` \
                  all matching entries come as one stream, an entry a line, whatever `limit` says. A stream that \
                  breaks off lacks its last chunk.",
    query: Some(schema_of::<Query>),
    headers: &[Header::text("Accept", "`application/x-ndjson` exports everything that matches.")],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "A page of it, or all of it.",
        contents: &[
            Content::json(schema_of::<Page<EntryView>>),
            Content { media_type: NDJSON, schema: schema_of::<EntryView> },
        ],
        headers: &[],
    }],
    problems: &[Code::InvalidRequest],
};

/// Which entries.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// Only what was done to this session.
    pub session: Option<SessionId>,
    /// Only what was done to this customer or to its sessions.
    #[schemars(length(min = 1, max = MOST_EMAIL_CHARACTERS_IN_QUERY))]
    pub email: Option<String>,
    /// Only this.
    pub action: Option<ActionName>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
    /// `next` of the page before.
    pub cursor: Option<Cursor>,
}

/// Which entries somebody wants to see.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Whom the email may name; nobody if none was given.
    customers: Option<Vec<CustomerKey>>,
    filter: AuditFilter,
}

pub(in crate::http) async fn handle(Call { app, parts, .. }: Call) -> Response {
    list(&app, &parts).await.unwrap_or_else(|refusal| refusal.problem())
}

async fn list(app: &Arc<App>, parts: &Parts) -> Result<Response, Refusal> {
    let query: Query = query(parts)?;
    if wants_all(parts) {
        return export(app, Wanted::by(app, &query)?).await;
    }
    Ok(json(StatusCode::OK, &page(app, &query).await?))
}

/// A page of the entries that match.
pub(in crate::http) async fn page(app: &App, query: &Query) -> Result<Page<EntryView>, Refusal> {
    let found = Wanted::by(app, query)?.find(app, query.limit.and_one()).await?;
    let page = Page::of(found, query.limit, |numbered| Cursor(numbered.cursor).text());
    Ok(page.map(|numbered| EntryView::from(numbered.entry)))
}

fn wants_all(parts: &Parts) -> bool {
    let lines = parts.headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut types = lines.flat_map(|line| line.split(',')).filter_map(|part| part.split(';').next());
    types.any(|media_type| media_type.trim().eq_ignore_ascii_case(NDJSON))
}

impl Wanted {
    /// What a query asks for.
    fn by(app: &App, query: &Query) -> Result<Self, Refusal> {
        if let Some(email) = &query.email {
            check_email_length(email, MOST_EMAIL_CHARACTERS_IN_QUERY)?;
        }
        Ok(Self {
            customers: query.email.as_deref().map(|email| customer::keys(&app.embedded, email)),
            filter: AuditFilter {
                session: query.session,
                customer: None,
                action: query.action.map(|action| action.0),
                before: query.cursor.map(|cursor| cursor.0),
            },
        })
    }

    /// Up to `most` of them, the youngest first.
    pub(super) async fn find(&self, app: &App, most: usize) -> Result<Vec<NumberedEntry>, StoreError> {
        let Some(customers) = &self.customers else { return app.store.audit(self.filter.clone(), most).await };
        let mut found = Vec::new();
        for key in customers {
            let filter = AuditFilter { customer: Some(key.clone()), ..self.filter.clone() };
            found.extend(app.store.audit(filter, most).await?);
        }
        found.sort_unstable_by_key(|numbered| Reverse(numbered.cursor));
        found.truncate(most);
        Ok(found)
    }

    /// Only those older than this one from here on.
    pub(super) fn go_on_before(&mut self, cursor: AuditCursor) {
        self.filter.before = Some(cursor);
    }
}
