//! `GET /console/tokens`: operators' tokens, never their secrets.

use axum::response::Response;
use maud::{Markup, html};

use crate::clock::WallTime;
use crate::http::App;
use crate::http::access::Admitted;
use crate::http::call::Call;
use crate::http::error::Refusal;
use crate::http::v1::tokens::list::{self, TokenView};
use crate::principal::{Operator, Scope};

use super::acts::Act;
use super::section::Section;
use super::{Page, answer, operator, words};

pub(in crate::http) async fn handle(Call { app, admitted, .. }: Call) -> Response {
    let page = page(&app, &admitted).await;
    answer(&app, &admitted, page)
}

async fn page(app: &App, admitted: &Admitted) -> Result<Page, Refusal> {
    // The youngest are those that somebody looks for.
    let (mut tokens, now) = (list::all(app).await?.items, app.clock.wall());
    tokens.reverse();
    tokens.sort_by_key(|token| !token.valid);
    let operator = operator(&admitted.caller.principal);
    let content = html! {
        h1 { "Operators' tokens" }
        (make())
        div #list data-live {
            table.cards {
                thead {
                    tr {
                        th scope="col" { "Name" }
                        th scope="col" { "May" }
                        th scope="col" { "Good" }
                        th.number scope="col" { "Made" }
                        th scope="col" { "What can be done" }
                    }
                }
                tbody { @for token in &tokens { (row(token, operator, now)) } }
            }
        }
    };
    Ok(Page { title: "Operators' tokens".into(), section: Section::Tokens, stream: None, content })
}

fn make() -> Markup {
    html! {
        details.form {
            summary { "Make a token" }
            form data-method="POST" data-path="/v1/tokens" data-done="The token was made." {
                label { "Name" input name="name" type="text" required maxlength="100" autocomplete="off" spellcheck="false"; }
                label {
                    "Good for"
                    select name="valid_for_seconds" data-number {
                        @for days in [1, 7, 30, 90, 365] {
                            option value=(days * 86_400) selected[days == 90] {
                                (days) @if days == 1 { " day" } @else { " days" }
                            }
                        }
                    }
                }
                fieldset {
                    legend { "May" }
                    @for scope in Scope::ALL {
                        label.check { input name="scopes" type="checkbox" value=(scope) data-list; (scope) }
                    }
                }
                button.primary type="submit" { "Make it" }
                p.alert role="alert" hidden {}
                p.note hidden { "The token. It is not shown again: " output data-shows="token" {} }
            }
        }
    }
}

fn row(token: &TokenView, operator: Option<&Operator>, now: WallTime) -> Markup {
    let is_own = operator.is_some_and(|operator| operator.token == token.id);
    html! {
        tr id={ "token-" (token.id) } class=[(!token.valid).then_some("over")] {
            th scope="row" { (words::text(&token.name)) @if is_own { span.quiet { " (yours)" } } }
            td data-label="May" { (token.scopes.iter().map(Scope::to_string).collect::<Vec<_>>().join(", ")) }
            td data-label="Good" { (standing(token)) }
            td.number data-label="Made" { (words::ago(&token.created, now)) " ago" }
            td { @if token.valid { div.acts { (revoke(token, is_own)) } } }
        }
    }
}

fn standing(token: &TokenView) -> Markup {
    html! {
        @match (&token.revoked, &token.expires) {
            (Some(at), _) => { "revoked " time datetime=(at) { (at) } }
            (None, Some(at)) if token.valid => { "until " time datetime=(at) { (at) } }
            (None, Some(at)) => { "expired " time datetime=(at) { (at) } }
            (None, None) => "for ever",
        }
    }
}

fn revoke(token: &TokenView, is_own: bool) -> Markup {
    let name = words::plain(&token.name);
    let own = if is_own { " It is the token by which you are signed in: you are signed out with it." } else { "" };
    let says = format!(
        "It stops working at once, and everybody who signed in with it is signed out. This can't be undone.{own}"
    );
    let revoke = Act {
        method: "DELETE",
        path: &format!("/v1/tokens/{}", token.id),
        body: None,
        label: "Revoke",
        question: Some((&format!("Revoke the token {name}?"), &says)),
        done: "The token was revoked.",
        is_dangerous: true,
    };
    revoke.button()
}
