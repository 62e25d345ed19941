//! What stands around every page: the menu, who is signed in, what the server says of itself, and the dialog that asks.

use maud::{DOCTYPE, Markup, html};

use crate::http::App;
use crate::http::v1::nodes::NodeView;
use crate::principal::Operator;

use super::section::Section;
use super::{Page, assets};

/// A whole page for somebody who is signed in, or for nobody.
pub(super) fn page(app: &App, operator: Option<&Operator>, page: &Page) -> Markup {
    let content = html! {
        a.skip href="#main" { "Skip to the content" }
        header.top {
            a.brand href=(Section::Overview.path()) { (mark()) "Frontdesk" }
            @if let Some(operator) = operator {
                nav aria-label="Console" {
                    ul {
                        @for section in Section::open_to(operator) {
                            li {
                                a href=(section.path()) aria-current=[(section == page.section).then_some("page")] {
                                    (section.title())
                                }
                            }
                        }
                    }
                }
                div.who {
                    span.quiet { "Signed in as " } strong { (operator.name) }
                    button.plain type="button" data-sign-out { "Sign out" }
                }
            }
        }
        @if operator.is_some() { (said(&NodeView::of(app))) }
        noscript { p.alert { "Without JavaScript this page shows the state and changes nothing." } }
        main #main tabindex="-1" { (page.content) }
        @if operator.is_some() { (footer(app, page.stream.is_some())) (dialog()) }
    };
    document(&page.title, page.stream.as_deref(), operator.is_some(), &content)
}

/// A document around a body. `live` pages look at themselves again.
pub(super) fn document(title: &str, stream: Option<&str>, live: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Frontdesk" }
                link rel="icon" href=(assets::path("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::path("style.css"));
                script type="module" src=(assets::path("console.js")) {}
            }
            body data-live-page[live] data-stream=[stream] { (content) }
        }
    }
}

/// What must be known on every page: that the server takes no work.
fn said(node: &NodeView) -> Markup {
    html! {
        div #standing data-live {
            @if let Some(reason) = &node.reason {
                p.alert role="alert" { strong { "The server takes no new work: " } (reason) "." }
            }
        }
        p.said #said role="status" {}
        p.unseen #announced role="status" {}
    }
}

fn footer(app: &App, is_live: bool) -> Markup {
    html! {
        footer {
            p {
                "Frontdesk " (env!("CARGO_PKG_VERSION")) " on " (app.presence.address)
                " · " a href="/docs" { "The interface" }
            }
            p.pulse #pulse { (if is_live { "Updates as things happen" } else { "Refreshes every 10 s" }) }
        }
    }
}

/// The dialog that asks before something is done; the scripts fill it in.
fn dialog() -> Markup {
    html! {
        dialog #ask aria-labelledby="ask-title" aria-describedby="ask-text" {
            form method="dialog" {
                h2 #ask-title {}
                p #ask-text {}
                ul #ask-list hidden {}
                div.buttons {
                    button type="submit" value="" autofocus { "Cancel" }
                    button.danger #ask-do type="submit" value="do" {}
                }
            }
        }
    }
}

/// The sign beside the name: a desk's bell.
pub(super) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
            path d="M3 19h18v2H3zM4 17a8 8 0 0 1 7-7.94V7H9V5h6v2h-2v2.06A8 8 0 0 1 20 17z" fill="currentColor" {}
        }
    }
}
