//! One call on the page.

use maud::{Markup, html};
use serde_json::Value;

use crate::http::operation::Operation;
use crate::http::routes::Route;

use super::{schema, text};

/// Everything about a call, as the document has it.
pub(super) fn show(route: &Route, operation: &Operation, document: &Value) -> Markup {
    let method = route.method.as_str();
    let call = &document["paths"][route.path][method.to_ascii_lowercase()];
    html! {
        article id=(operation.id) {
            h3 { (operation.summary) }
            p.call { span class={ "method " (method.to_ascii_lowercase()) } { (method) } " " code { (route.path) } }
            (text::blocks(call["description"].as_str().unwrap_or_default()))
            (parameters(&call["parameters"]))
            (request(&call["requestBody"]))
            (answers(&call["responses"]))
        }
    }
}

fn parameters(parameters: &Value) -> Markup {
    let Some(parameters) = parameters.as_array().filter(|parameters| !parameters.is_empty()) else { return html! {} };
    html! {
        table {
            thead { tr { th { "Parameter" } th { "In" } th { "Type" } th { "Meaning" } } }
            tbody {
                @for parameter in parameters {
                    tr {
                        td { code { (parameter["name"].as_str().unwrap_or_default()) } }
                        td { (parameter["in"].as_str().unwrap_or_default()) }
                        td { (schema::kind(&parameter["schema"])) }
                        td { (text::inline(parameter["description"].as_str().unwrap_or_default())) }
                    }
                }
            }
        }
    }
}

fn request(body: &Value) -> Markup {
    html! {
        @for (media_type, content) in body["content"].as_object().into_iter().flatten() {
            p { "Takes " code { (media_type) } ": " (schema::kind(&content["schema"])) }
        }
    }
}

fn answers(responses: &Value) -> Markup {
    html! {
        table {
            thead { tr { th { "Status" } th { "Answer" } } }
            tbody {
                @for (status, response) in responses.as_object().into_iter().flatten() {
                    tr {
                        td { (status) }
                        td {
                            (text::blocks(response["description"].as_str().unwrap_or_default()))
                            @for (media_type, content) in contents(response) {
                                p { code { (media_type) } ": " (schema::kind(&content["schema"])) }
                            }
                            @for (name, header) in response["headers"].as_object().into_iter().flatten() {
                                p {
                                    code { (name) } ": "
                                    (text::inline(header["description"].as_str().unwrap_or_default()))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What an answer carries; that a refusal is a problem is said once, for all of them.
fn contents(response: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let all = response["content"].as_object().into_iter().flatten();
    all.filter(|(media_type, _)| *media_type != "application/problem+json")
}
