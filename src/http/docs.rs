//! `GET /docs`: the reference of the interface as a page that needs nothing from anywhere else.
//!
//! It is made once, from the same table and the same document as `/openapi.json`, so that it can't say anything else.

use std::sync::LazyLock;

use axum::response::Response;
use bytes::Bytes;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::asset::{HTML, Policy, STYLE, asset};
use super::call::Call;
use super::code::Code;
use super::openapi;
use super::operation::{self, Answer, Content, Operation, Tag};
use super::routes::{ROUTES, Route};

mod call;
mod schema;
mod text;

pub(super) static OPERATION: Operation = Operation {
    id: "getReference",
    tag: Tag::Server,
    summary: "The reference for people",
    description: "This interface as a page.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "The page.",
        contents: &[Content { media_type: HTML, schema: operation::text }],
        headers: &[],
    }],
    problems: &[],
};

pub(super) static STYLE_OPERATION: Operation = Operation {
    id: "getReferenceStyle",
    tag: Tag::Server,
    summary: "How the reference looks",
    description: "The style sheet of the page.",
    query: None,
    headers: &[],
    body: None,
    answers: &[Answer {
        status: 200,
        description: "The style sheet.",
        contents: &[Content { media_type: STYLE, schema: operation::text }],
        headers: &[],
    }],
    problems: &[],
};

pub(super) fn handle(_: Call) -> Response {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| page(&openapi::document()).into_string().into());
    asset(PAGE.clone(), HTML, Policy::WithoutScript)
}

pub(super) fn style(_: Call) -> Response {
    asset(Bytes::from_static(include_bytes!("docs/style.css")), STYLE, Policy::WithoutScript)
}

fn page(document: &Value) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Frontdesk: the interface" }
                link rel="stylesheet" href="/docs/style.css";
            }
            body {
                nav aria-label="Contents" { (contents()) }
                main {
                    h1 { "Frontdesk: the interface" }
                    p {
                        "Version " (env!("CARGO_PKG_VERSION")) ". For programs, the same as "
                        a href="/openapi.json" { "an OpenAPI 3.1 document" } "."
                    }
                    (basics())
                    @for tag in Tag::ALL { (chapter(tag, document)) }
                    (schemas(document))
                    (codes())
                }
            }
        }
    }
}

fn operations(tag: Tag) -> impl Iterator<Item = (&'static Route, &'static Operation)> {
    ROUTES.iter().filter_map(move |route| Some((route, route.operation.filter(|operation| operation.tag == tag)?)))
}

fn contents() -> Markup {
    html! {
        ul {
            li { a href="#basics" { "What all calls share" } }
            @for tag in Tag::ALL {
                li {
                    a href={ "#" (text::anchor(tag.title())) } { (tag.title()) }
                    ul {
                        @for (_, operation) in operations(tag) {
                            li { a href={ "#" (operation.id) } { (operation.summary) } }
                        }
                    }
                }
            }
            li { a href="#objects" { "Objects" } }
            li { a href="#codes" { "Codes" } }
        }
    }
}

fn basics() -> Markup {
    html! {
        section id="basics" {
            h2 { "What all calls share" }
            p {
                "Bodies are JSON, in UTF-8, times in RFC 3339, and unknown keys are ignored. A token stands in "
                code { "Authorization: Bearer TOKEN" } ": a session's begins with " code { "fds_" }
                " and is given at its creation, an operator's begins with " code { "fdo_" } " and is made by "
                code { "frontdesk token create" } "."
            }
            p {
                "A refusal is a problem of RFC 9457, " code { "application/problem+json" } ". Decide by its "
                a href="#codes" { code { "code" } } ", show its " code { "detail" } "."
            }
            p {
                "Every call can be sent again after a lost answer. Where it creates or asks something, send an "
                code { "Idempotency-Key" } " of your own, and the answer is that of the first time."
            }
            p {
                "Lists come in pages: " code { "next" } " of one is " code { "cursor" } " of the following, "
                "and the last one has none."
            }
        }
    }
}

fn chapter(tag: Tag, document: &Value) -> Markup {
    html! {
        section id=(text::anchor(tag.title())) {
            h2 { (tag.title()) }
            p { (tag.about()) }
            @for (route, operation) in operations(tag) { (call::show(route, operation, document)) }
        }
    }
}

fn schemas(document: &Value) -> Markup {
    html! {
        section id="objects" {
            h2 { "Objects" }
            @for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
                article id={ "object-" (name) } {
                    h3 { (name) }
                    (schema::show(schema))
                }
            }
        }
    }
}

fn codes() -> Markup {
    html! {
        section id="codes" {
            h2 { "Codes" }
            table {
                thead { tr { th { "Code" } th { "Status" } th { "What it means" } } }
                tbody {
                    @for code in Code::ALL {
                        tr id=(code.in_lower_case()) {
                            td { code { (code.in_lower_case()) } }
                            td { (code.status().as_u16()) }
                            td { (text::inline(code.meaning())) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_object_and_code_stands_on_the_page_and_every_link_leads_somewhere() {
        let page = page(&openapi::document()).into_string();
        let marks: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let operations = ROUTES.iter().filter_map(|route| Some(route.operation?.id));
        for id in operations.map(str::to_owned).chain(Code::ALL.iter().map(|code| code.in_lower_case())) {
            assert!(marks.contains(&&*id), "{id}");
        }
        for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(marks.contains(&link), "{link}");
        }
    }
}
