//! `GET /console/sign-in`: where an operator shows a token, and is sent on to where they were going.
//!
//! Whoever is signed in already is sent on at once. A link from elsewhere comes without the cookie, which other sites'
//! pages never send; so the script asks for this page once more from here.

use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::cookie::CONSOLE;
use crate::http::error::Refusal;
use crate::token::TokenHash;

use super::section::Section;
use super::{document, layout, problem, query, see_other, words};

const PATH: &str = "/console/sign-in";

#[derive(Default, Deserialize)]
struct Query {
    /// Where to go on.
    next: Option<String>,
    /// Whether somebody has just signed out.
    #[serde(default)]
    out: bool,
}

/// Where somebody signs in who is then to be sent to this page.
pub(super) fn path_back_to(uri: &Uri) -> String {
    let wanted = uri.path_and_query().map_or("", |wanted| wanted.as_str());
    match of_the_console(wanted) {
        Some(wanted) if wanted != Section::Overview.path() => super::address(PATH, &[("next", wanted)]),
        Some(_) | None => PATH.to_owned(),
    }
}

pub(in crate::http) async fn handle(Call { app, admitted, parts, .. }: Call) -> Response {
    let Query { next, out } = query(&parts).unwrap_or_default();
    let next = next.as_deref().and_then(of_the_console);
    match home(&app, &admitted, &parts).await {
        Ok(Some(home)) => see_other(next.unwrap_or(home.path())),
        Ok(None) => {
            let was_signed_in = CONSOLE.read(&parts.headers, admitted.caller.peer).is_some();
            let content = page(&app, next, said(&app, out, was_signed_in));
            document(layout::document("Sign in", None, false, &content))
        }
        Err(refusal) => problem(&app, None, &refusal),
    }
}

/// Where an operator begins who is signed in.
async fn home(app: &App, admitted: &Admitted, parts: &Parts) -> Result<Option<Section>, Refusal> {
    let Some(secret) = CONSOLE.read(&parts.headers, admitted.caller.peer) else { return Ok(None) };
    match app.signed_in(TokenHash::of(secret.as_bytes())).await {
        Ok((_, operator)) => Ok(Some(Section::home(&operator))),
        Err(Refusal::TokenRequired) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The address if it is one of the console's pages, so that nobody is sent from here to anywhere else.
fn of_the_console(address: &str) -> Option<&str> {
    let rest = address.strip_prefix(Section::Overview.path())?;
    let is_inside = rest.is_empty() || rest.starts_with(['/', '?']);
    let is_plain = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_a_page = !address.starts_with(PATH) && !rest.starts_with("/assets");
    (is_inside && is_plain && is_a_page).then_some(address)
}

/// Why somebody stands here who did not ask for it.
fn said(app: &App, out: bool, was_signed_in: bool) -> Option<String> {
    if out {
        return Some("You have signed out.".to_owned());
    }
    let idle = words::duration(app.config().console.idle_timeout);
    was_signed_in.then(|| {
        format!("Your sign-in has ended: it was not used for {idle}, its time was over, or its token was revoked.")
    })
}

fn page(app: &App, next: Option<&str>, said: Option<String>) -> Markup {
    // Without a page to go to, this one knows where the operator begins.
    let next = next.unwrap_or(PATH);
    html! {
        main.sign-in #main {
            p.brand { (layout::mark()) "Frontdesk" }
            h1 { "Sign in" }
            @if let Some(said) = said { p.note role="status" { (said) } }
            form data-sign-in data-next=(next) {
                label for="token" { "Operator's token" }
                input #token name="token" type="password" autocomplete="current-password" required autofocus
                    spellcheck="false" placeholder="fdo_…";
                button.primary type="submit" { "Sign in" }
                p.alert role="alert" hidden {}
            }
            noscript { p.alert { "Signing in takes JavaScript." } }
            h2 { "No token yet?" }
            p { "Make one on the server's machine, as the user who runs it:" }
            pre tabindex="0" { code { "frontdesk token create NAME --scope admin" } }
            p.quiet {
                "Narrower scopes: " code { "sessions:read" } " sees sessions, " code { "sessions:write" }
                " also stops and asks them, " code { "customers:write" } " keeps the customers' accounts. A sign-in ends after "
                (words::duration(app.config().console.idle_timeout)) " without use."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_from_the_sign_in_to_another_site() {
        for inside in
            ["/console", "/console/sessions?phase=RUNNING&email=a%40b", "/console?x=1", "/console//evil.example"]
        {
            assert_eq!(of_the_console(inside), Some(inside));
        }
        for outside in [
            "",
            "//evil.example",
            "https://evil.example/console",
            "/consoles",
            "/console@evil.example",
            "/console/\\evil.example",
            "/\t/evil.example",
            "/console/a\r\nSet-Cookie: a=b",
            "/v1/sessions",
            "/console/sign-in?next=/console/sign-in",
            "/console/assets/1/console.js",
            "javascript:alert(1)",
        ] {
            assert_eq!(of_the_console(outside), None, "{outside}");
        }
    }

    #[test]
    fn whoever_must_sign_in_comes_back_to_the_page_with_its_parameters() {
        let path = |wanted: &str| path_back_to(&wanted.parse().unwrap());
        assert_eq!(path("/console"), "/console/sign-in");
        assert_eq!(path("/console/audit?email=a%40b"), "/console/sign-in?next=%2Fconsole%2Faudit%3Femail%3Da%2540b");
        assert_eq!(path("http://desk.example/console/tokens"), "/console/sign-in?next=%2Fconsole%2Ftokens");
    }
}
