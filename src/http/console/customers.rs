//! `GET /console/customers`: the accounts of the embedded credential server, and what can be done to each.

use axum::http::request::Parts;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use crate::clock::WallTime;
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::v1::customers::list;
use crate::http::v1::customers::view::CustomerView;
use crate::principal::{Operator, Scope};

use super::acts::{self, Act, path_of};
use super::section::Section;
use super::{Page, address, answer, operator, query, words};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    cursor: String,
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    let page = page(&app, &admitted, &parts).await;
    answer(&app, &admitted, page)
}

async fn page(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Page, Refusal> {
    let place: Place = query(parts)?;
    let found = list::page(app, query(parts)?).await?;
    let operator = operator(&admitted.caller.principal);
    let now = app.clock.wall();
    let path = Section::Customers.path();
    let content = html! {
        h1 { "Customers" }
        p.quiet {
            "The accounts of the embedded credential server. While the service mapping names a "
            code { "CREDENTIAL_SERVER" } ", that one decides, and these wait."
        }
        (add())
        div #list data-live {
            @if found.items.is_empty() {
                p.empty { "There is no customer. Add the first one above." }
            } @else {
                table.cards {
                    thead {
                        tr {
                            th scope="col" { "Customer" }
                            th.number scope="col" { "Added" }
                            th scope="col" { "What can be done" }
                        }
                    }
                    tbody { @for customer in &found.items { (row(customer, operator, now)) } }
                }
            }
            nav.pages aria-label="Pages" {
                @if !place.cursor.is_empty() { a href=(path) { "First page" } }
                @if let Some(next) = &found.next { a href=(address(path, &[("cursor", next)])) rel="next" { "More customers" } }
            }
        }
    };
    Ok(Page { title: "Customers".into(), section: Section::Customers, stream: None, content })
}

fn add() -> Markup {
    html! {
        details.form {
            summary { "Add a customer" }
            form data-method="POST" data-path="/v1/customers" data-done="The customer was added." {
                label { "Email" input name="email" type="text" required autocomplete="off" spellcheck="false"; }
                label { "Password" input name="password" type="password" required autocomplete="new-password"; }
                button.primary type="submit" { "Add" }
                p.alert role="alert" hidden {}
            }
        }
    }
}

fn row(customer: &CustomerView, operator: Option<&Operator>, now: WallTime) -> Markup {
    let sessions = address(Section::Sessions.path(), &[("email", &customer.email)]);
    let may = |scope| operator.is_some_and(|operator| operator.may(scope));
    let (sees_sessions, ends_sessions) = (may(Scope::SessionsRead), may(Scope::SessionsWrite));
    html! {
        tr id=(path_of("customer-", &customer.email, "")) class=[customer.disabled.then_some("over")] {
            th.customer scope="row" {
                (words::text(&customer.email))
                @if let Some(since) = &customer.disabled_since {
                    " " span.mark-off title={ "since " (since) } { "disabled" }
                }
            }
            td.number data-label="Added" { (words::ago(&customer.created, now)) " ago" }
            td {
                div.acts {
                    @if sees_sessions { a href=(sessions) { "Session" } }
                    (set_password(&customer.email))
                    @if ends_sessions { (end_sessions(&customer.email)) }
                    (disable(customer))
                    (remove(&customer.email))
                }
            }
        }
    }
}

fn set_password(email: &str) -> Markup {
    let path = path_of("/v1/customers/", email, "/password");
    html! {
        details.form {
            summary { "Set the password" }
            form data-method="PUT" data-path=(path) data-done="The password was set." {
                label { "New password" input name="password" type="password" required autocomplete="new-password"; }
                label.check { input name="sign_out" type="checkbox" checked; "Revoke the tokens of its session" }
                button.primary type="submit" { "Set" }
                p.alert role="alert" hidden {}
            }
        }
    }
}

fn end_sessions(email: &str) -> Markup {
    let who = words::plain(email);
    let end = Act {
        method: "POST",
        path: "/v1/sessions/stop",
        body: Some(&acts::json(&json!({ "email": email }))),
        label: "End its session",
        question: Some((
            &format!("End the session of {who}?"),
            "Its agent is asked to finish, and killed if it has not after its persona's grace. The account stays as it is.",
        )),
        done: "Its session is ending, if it had one.",
        is_dangerous: true,
    };
    end.button()
}

fn disable(customer: &CustomerView) -> Markup {
    let (who, disable) = (words::plain(&customer.email), !customer.disabled);
    let question = format!("Disable {who}?");
    let act = Act {
        method: "PUT",
        path: &path_of("/v1/customers/", &customer.email, "/disabled"),
        body: Some(&acts::json(&json!({ "disabled": disable }))),
        label: if disable { "Disable" } else { "Enable" },
        question: disable.then_some((
            &*question,
            "Its password is refused from now on as a wrong one is, and its session is stopped. Enabled again, the password is \
             what it was.",
        )),
        done: if disable { "The customer is disabled." } else { "The customer is enabled." },
        is_dangerous: disable,
    };
    act.button()
}

fn remove(email: &str) -> Markup {
    let who = words::plain(email);
    let remove = Act {
        method: "DELETE",
        path: &path_of("/v1/customers/", email, ""),
        body: None,
        label: "Remove",
        question: Some((
            &format!("Remove {who}?"),
            "The account and its password are deleted, and its session's agent is killed at once. It can be added again.",
        )),
        done: "The customer was removed.",
        is_dangerous: true,
    };
    remove.button()
}
