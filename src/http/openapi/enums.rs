//! String enums in the form that generators of clients understand.
//!
//! schemars writes an enum whose variants have descriptions as `oneOf` with one `const` each. Generators make a union of
//! unnamed strings of that, or fail. Here it becomes `enum`, and the descriptions move into the schema's own.

use serde_json::{Value, json};

/// Rewrites every string enum in `schema` and below it.
pub(super) fn simplify(schema: &mut Value) {
    if let Some((values, meanings)) = string_enum(schema) {
        let summary = schema["description"].as_str().unwrap_or_default();
        let description = [summary, &meanings.join("\n")].join("\n\n");
        *schema = json!({ "type": "string", "enum": values, "description": description.trim() });
        return;
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(simplify),
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The values of such an enum, and a line about each that has a description.
fn string_enum(schema: &Value) -> Option<(Vec<Value>, Vec<String>)> {
    let variants = schema.get("oneOf")?.as_array()?;
    let mut values = Vec::new();
    let mut meanings = Vec::new();
    for variant in variants {
        let description = variant["description"].as_str();
        let describe = |value: &str| description.map(|description| format!("- `{value}`: {description}"));
        // Variants without a description share one entry.
        if let Some(several) = variant.get("enum").and_then(Value::as_array) {
            values.extend(several.iter().cloned());
        } else {
            let value = variant.get("const")?.as_str()?;
            values.push(value.into());
            meanings.extend(describe(value));
        }
    }
    values.iter().all(Value::is_string).then_some((values, meanings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_variants_become_one_enum_with_a_list() {
        let mut schema = json!({ "properties": { "kind": { "description": "Which.", "oneOf": [
            { "const": "a", "type": "string", "description": "The first." },
            { "const": "b", "type": "string", "description": "The second." },
            { "enum": ["c", "d"], "type": "string" },
        ] } } });
        simplify(&mut schema);
        assert_eq!(
            schema["properties"]["kind"],
            json!({
                "type": "string",
                "enum": ["a", "b", "c", "d"],
                "description": "Which.\n\n- `a`: The first.\n- `b`: The second.",
            })
        );
    }

    #[test]
    fn a_choice_between_other_things_stays() {
        let choice = json!({ "oneOf": [{ "const": 1 }, { "$ref": "#/components/schemas/Session" }] });
        let mut schema = choice.clone();
        simplify(&mut schema);
        assert_eq!(schema, choice);
    }
}
