//! A schema as a table of what an object holds.

use maud::{Markup, html};
use serde_json::Value;

use super::text;

/// The schema's description and its properties.
pub(super) fn show(schema: &Value) -> Markup {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html! {
        @if let Some(description) = schema["description"].as_str() { (text::blocks(description)) }
        @if let Some(properties) = schema["properties"].as_object() {
            table {
                thead { tr { th { "Key" } th { "Type" } th { "Meaning" } } }
                tbody {
                    @for (name, property) in properties {
                        tr {
                            td { code { (name) } @if !required.contains(&name.as_str()) { br; small { "may be missing" } } }
                            td { (kind(property)) }
                            td { (text::inline(property["description"].as_str().unwrap_or_default())) }
                        }
                    }
                }
            }
        } @else {
            p { (kind(schema)) }
        }
    }
}

/// What values the schema takes, in words.
pub(super) fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return html! { a href={ "#object-" (name) } { (name) } };
    }
    let choices = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].as_array());
    if let Some(choices) = choices {
        return joined(choices.iter().filter(|choice| choice["type"] != "null").map(kind));
    }
    if let Some(values) = schema["enum"].as_array() {
        return joined(values.iter().map(literal));
    }
    if !schema["const"].is_null() {
        return literal(&schema["const"]);
    }
    if schema["type"] == "array" {
        return html! { "list of " (kind(&schema["items"])) };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let format = schema["format"].as_str().filter(|format| !format.starts_with("uint") && !format.starts_with("int"));
    html! {
        @if types.is_empty() { "any JSON" } @else { (types.join(" or ")) }
        @if let Some(format) = format { " (" (format) ")" }
    }
}

fn literal(value: &Value) -> Markup {
    html! { code { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) } }
}

fn joined(parts: impl Iterator<Item = Markup>) -> Markup {
    html! { @for (position, part) in parts.enumerate() { @if position > 0 { ", " } (part) } }
}
