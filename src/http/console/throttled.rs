//! `GET /console/throttled`: whose sign-ins are being slowed, and letting a customer try again.

use axum::response::Response;
use maud::{Markup, html};

use crate::clock::WallTime;
use crate::http::App;
use crate::http::call::Call;
use crate::http::v1::throttled::list::ThrottledView;

use super::acts::{Act, path_of};
use super::section::Section;
use super::{Page, answer, words};

pub(in crate::http) fn handle(Call { app, admitted, .. }: Call) -> Response {
    answer(&app, &admitted, Ok(page(&app)))
}

fn page(app: &App) -> Page {
    let (slowed, now) = (ThrottledView::all(app), app.clock.wall());
    let content = html! {
        h1 { "Throttled" }
        p.quiet { "Customers who have failed to sign in too often and are refused now, the longest first." }
        div #list data-live {
            @if slowed.is_empty() { p.well { "Nobody is being slowed." } } @else { (table(&slowed, now)) }
        }
    };
    Page { title: "Throttled".into(), section: Section::Throttled, stream: None, content }
}

fn table(slowed: &[ThrottledView], now: WallTime) -> Markup {
    html! {
        table.cards {
            thead {
                tr {
                    th scope="col" { "Who" }
                    th scope="col" { "From" }
                    th.number scope="col" { "Failures" }
                    th.number scope="col" { "Refused since" }
                    th.number scope="col" { "Tries again in" }
                    th scope="col" { "What can be done" }
                }
            }
            tbody { @for one in slowed { (row(one, now)) } }
        }
    }
}

fn row(one: &ThrottledView, now: WallTime) -> Markup {
    html! {
        tr {
            th.customer scope="row" {
                @match (&one.email, &one.operator) {
                    (Some(email), _) => { (words::text(email)) }
                    (None, Some(operator)) => { "an operator's token " code { (words::text(operator)) } }
                    (None, None) => "every account",
                }
            }
            td data-label="From" { (one.address.as_deref().unwrap_or("every address")) }
            td.number data-label="Failures" { (words::number(one.failures.into())) }
            td.number data-label="Refused since" { (words::number(one.refused)) }
            td.number data-label="Tries again in" { (words::left(&one.until, now)) }
            td { @if let Some(email) = &one.email { div.acts { (forgive(email)) } } }
        }
    }
}

fn forgive(email: &str) -> Markup {
    let forgive = Act {
        method: "DELETE",
        path: &path_of("/v1/throttled/", email, ""),
        body: None,
        label: "Let try again",
        question: None,
        done: "The failed attempts of this customer are cleared.",
        is_dangerous: false,
    };
    forgive.button()
}
