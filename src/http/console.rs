//! `/console`: the operators' pages, made on the server and kept fresh by it.
//!
//! ```text
//! router ──> access ──> a page: the views of `/v1`, by the functions of `/v1` ──> layout ──> HTML
//!               └────> whoever is not signed in goes to the sign-in; who lacks a scope is told which
//! ```
//!
//! A page shows what `/v1` shows, since it is made of the same values. It changes nothing: what operators do goes to
//! `/v1` from the scripts in [`assets`], with the cookie that `/v1` knows, and is checked and audited there. The scripts
//! fetch the page that they stand on again when the event stream says that something happened, and take over what is
//! marked with `data-live`; so nothing is drawn in two places. Pages come without anything from elsewhere, and the
//! content security policy says so.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::de::DeserializeOwned;

use crate::principal::{Operator, Principal};

use super::App;
use super::access::Admitted;
use super::asset::{HTML, Policy, asset};
use super::auth::Peer;
use super::error::Refusal;

mod acts;
pub(super) mod assets;
pub(super) mod audit;
mod chart;
pub(super) mod customers;
mod layout;
pub(super) mod overview;
pub(super) mod personas;
mod phase;
mod section;
pub(super) mod session;
pub(super) mod sessions;
pub(super) mod sign_in;
pub(super) mod throttled;
mod timeline;
pub(super) mod tokens;
mod trouble;
mod words;

use section::Section;

/// The stream that tells of every session's steps.
const STEPS: &str = "/v1/events?kind=transition";

/// A page: what of it is its own.
struct Page {
    /// What the browser's tab says.
    title: String,
    /// The part of the console that it belongs to.
    section: Section,
    /// The stream of events that says when to look again; without one, it is looked at now and then.
    stream: Option<String>,
    /// What stands in its middle.
    content: Markup,
}

/// Answers for a path of the console at which there is nothing.
pub(super) async fn nothing_here(app: &App, peer: Peer, parts: &Parts) -> Response {
    if !app.config().console.enabled {
        return Refusal::NotFound.problem();
    }
    refuse(app, peer, parts, &Refusal::NotFound).await
}

/// Answers a call that is not let in with a page that says why, or leads to the sign-in.
pub(super) async fn refuse(app: &App, peer: Peer, parts: &Parts, refusal: &Refusal) -> Response {
    if matches!(refusal, Refusal::TokenRequired | Refusal::OperatorRequired) {
        return see_other(&sign_in::path_back_to(&parts.uri));
    }
    let caller = app.caller(parts, peer, None).await.ok();
    let operator = caller.as_ref().and_then(|(caller, _)| operator(&caller.principal));
    problem(app, operator, refusal)
}

/// Answers with a page for whoever was let in.
fn answer(app: &App, admitted: &Admitted, page: Result<Page, Refusal>) -> Response {
    let operator = operator(&admitted.caller.principal);
    match page {
        Ok(page) => document(layout::page(app, operator, &page)),
        Err(refusal) => problem(app, operator, &refusal),
    }
}

/// A page that says why there is no other, under the refusal's own status.
fn problem(app: &App, operator: Option<&Operator>, refusal: &Refusal) -> Response {
    let problem = refusal.to_problem();
    let content = html! {
        section.problem data-problem=(problem.code) {
            h1 { (problem.title) }
            p { (problem.detail) }
            @if let (Refusal::ScopeRequired(_), Some(operator)) = (refusal, operator) {
                p { "You are signed in as " strong { (operator.name) } "." }
            }
            p { (section::way_out(refusal, operator)) }
        }
    };
    let page = Page { title: problem.title, section: Section::None, stream: None, content };
    let mut response = document(layout::page(app, operator, &page));
    let (mut parts, _) = refusal.problem().into_parts();
    // All that the refusal says beside its body, such as when to try again.
    for name in [CONTENT_TYPE, CACHE_CONTROL] {
        parts.headers.remove(name);
    }
    *response.status_mut() = parts.status;
    response.headers_mut().extend(parts.headers);
    response
}

fn operator(principal: &Principal) -> Option<&Operator> {
    match principal {
        Principal::Operator(operator) => Some(operator),
        Principal::Session(_) | Principal::Nobody => None,
    }
}

fn document(text: Markup) -> Response {
    let mut response = asset(text.into_string().into(), HTML, Policy::WithForms);
    // What was seen while signed in is not seen afterwards.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn see_other(path: &str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(LOCATION, HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static(Section::Overview.path())));
    response
}

/// What is known of something, a name and a value a line; without what is not known.
fn facts(facts: &[(&str, Option<Markup>)]) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                @if let Some(value) = value { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}

/// A page's parameters. A form sends the fields that were left empty, too: they are as good as missing.
fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Refusal> {
    let pairs = parts.uri.query().unwrap_or_default().split('&');
    let filled: Vec<_> =
        pairs.filter(|pair| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty())).collect();
    serde_urlencoded::from_str(&filled.join("&"))
        .map_err(|error| Refusal::Invalid(format!("The address is not as it must be: {error}.")))
}

/// The address of a page with these parameters.
fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let filled: Vec<_> = parameters.iter().filter(|(_, value)| !value.is_empty()).collect();
    match serde_urlencoded::to_string(filled) {
        Ok(query) if !query.is_empty() => format!("{path}?{query}"),
        Ok(_) | Err(_) => path.to_owned(),
    }
}
