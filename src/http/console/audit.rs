//! `GET /console/audit`: who did what, by filters and pages.

use axum::http::request::Parts;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::http::App;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::v1::audit::list;
use crate::http::v1::audit::view::{ActorKind, EntryView};
use crate::store::Action;

use super::section::Section;
use super::{Page, address, answer, query, words};

/// What the form says, to be shown in it again; the audit itself reads the same address.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Form {
    email: String,
    session: String,
    action: String,
    cursor: String,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    let page = page(&app, &parts).await;
    answer(&app, &admitted, page)
}

async fn page(app: &App, parts: &Parts) -> Result<Page, Refusal> {
    let form: Form = query(parts)?;
    let found = list::page(app, &query(parts)?).await?;
    let content = html! {
        h1 { "Audit" }
        (filters(&form))
        div #list data-live {
            @if found.items.is_empty() {
                p.empty {
                    "No entry matches."
                    @if !form.email.is_empty() { " " (words::WHOLE_EMAIL) }
                }
            } @else {
                (table(&found.items))
            }
            nav.pages aria-label="Pages" {
                @if !form.cursor.is_empty() { a href=(form.address(Section::Audit.path(), "")) { "First page" } }
                @if let Some(next) = &found.next {
                    a href=(form.address(Section::Audit.path(), next)) rel="next" { "Older entries" }
                }
            }
        }
    };
    Ok(Page { title: "Audit".into(), section: Section::Audit, stream: None, content })
}

impl Form {
    fn address(&self, path: &str, cursor: &str) -> String {
        let parameters =
            [("email", &*self.email), ("session", &self.session), ("action", &self.action), ("cursor", cursor)];
        address(path, &parameters)
    }
}

fn filters(form: &Form) -> Markup {
    html! {
        form.filters method="get" action=(Section::Audit.path()) role="search" aria-label="Audit" {
            label { "Customer (whole email)" input name="email" type="text" value=(form.email) autocomplete="off" spellcheck="false"; }
            label { "Session" input name="session" type="text" value=(form.session) autocomplete="off" spellcheck="false"; }
            label {
                "Action"
                select name="action" {
                    option value="" { "any" }
                    @for action in Action::ALL {
                        option value=(action.name()) selected[form.action == action.name()] { (action.name()) }
                    }
                }
            }
            button type="submit" { "Filter" }
            @let shown = form.address(Section::Audit.path(), "");
            @if shown != Section::Audit.path() { a href=(Section::Audit.path()) { "Show all" } }
            button type="button" data-download=(form.address("/v1/audit", "")) data-type="application/x-ndjson"
                data-name="audit.ndjson" { "Export" }
        }
    }
}

fn table(entries: &[EntryView]) -> Markup {
    html! {
        table.cards {
            thead {
                tr {
                    th scope="col" { "When" }
                    th scope="col" { "Who" }
                    th scope="col" { "What" }
                    th scope="col" { "To whom" }
                    th scope="col" { "From" }
                    th scope="col" { "More" }
                }
            }
            tbody { @for entry in entries { (row(entry)) } }
        }
    }
}

fn row(entry: &EntryView) -> Markup {
    html! {
        tr {
            td { time datetime=(entry.at) { (entry.at) } }
            td data-label="Who" {
                @match (entry.actor.kind, &entry.actor.name) {
                    (_, Some(name)) => { (words::text(name)) }
                    (ActorKind::Customer, None) => "the customer",
                    (ActorKind::Operator, None) => "an operator",
                    (ActorKind::CommandLine, None) => "the command line",
                    (ActorKind::Unknown, None) => "unknown",
                }
            }
            th scope="row" { (entry.action.0.name()) }
            td.customer data-label="To whom" {
                @if let Some(customer) = &entry.customer { (words::text(customer)) " " }
                @if let Some(session) = entry.session {
                    a href={ (Section::Sessions.path()) "/" (session) } { "session" }
                }
            }
            td data-label="From" { @if let Some(from) = entry.from { (from) } }
            td.why { @if let Some(detail) = &entry.detail { (words::text(detail)) } }
        }
    }
}
