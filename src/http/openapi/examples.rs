//! An example of each object that a call sends, and of the answers that a first program meets.
//!
//! Generators and the reference show them; tests hold the requests to the types that read them.

use serde_json::{Map, Value, json};

/// The session of all examples.
const SESSION: &str = "019e5b2c-7a41-7c55-9b1d-2f0c6a3d8e11";

/// Adds the examples to the schemas of these names.
pub(super) fn add(schemas: &mut Map<String, Value>) {
    for (name, example) in examples() {
        schemas[name]["examples"] = json!([example]);
    }
}

fn examples() -> [(&'static str, Value); 14] {
    let session = json!({
        "id": SESSION, "email": "ada@example.org", "persona": "CUSTOMERS", "phase": "RUNNING", "epoch": 1,
        "revision": 3, "created": "2026-11-30T09:15:00.000000Z",
    });
    let problem = json!({
        "type": "/docs#session_not_found", "title": "Not Found", "status": 404, "code": "session_not_found",
        "detail": "There is no such session.",
    });
    let created = json!({
        "id": SESSION, "email": "ada@example.org", "persona": "CUSTOMERS",
        "created": "2026-11-30T09:15:00.000000Z", "token": "fds_EXAMPLE",
    });
    [
        ("NewSession", new_session()),
        ("CreatedSession", created),
        ("Session", session),
        ("AgentRequest", json!({ "request": { "say": "hello" } })),
        ("AgentResponse", json!({ "response": { "echo": { "say": "hello" }, "handled": 1 } })),
        ("StopSessions", json!({ "email": "nobody@example.org" })),
        ("NewCustomer", json!({ "email": "ada@example.org", "password": "nine brass kettles" })),
        ("NewPassword", json!({ "password": "seven paper lanterns" })),
        ("DisableCustomer", json!({ "disabled": true })),
        ("PasswordChange", password_change()),
        ("NewOperatorToken", json!({ "name": "monitoring", "scopes": ["sessions:read"] })),
        ("SignIn", json!({ "token": "fdo_EXAMPLE" })),
        ("Health", json!({ "status": "alive" })),
        ("Problem", problem),
    ]
}

fn new_session() -> Value {
    json!({
        "email": "ada@example.org", "password": "nine brass kettles", "persona": "CUSTOMERS",
        "data": { "language": "en" },
    })
}

fn password_change() -> Value {
    json!({
        "email": "ada@example.org", "password": "nine brass kettles", "new_password": "seven paper lanterns",
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::document;
    use super::*;

    fn keys(object: &Value) -> BTreeSet<&str> {
        object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
    }

    #[test]
    fn an_example_has_what_its_schema_requires_and_nothing_that_the_schema_lacks() {
        let document = document();
        for (name, example) in examples() {
            let schema = &document["components"]["schemas"][name];
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for key in required {
                assert!(keys(&example).contains(key), "{name} lacks {key}");
            }
            let unknown: Vec<_> = keys(&example).difference(&keys(&schema["properties"])).copied().collect();
            assert!(unknown.is_empty(), "{name} has no {unknown:?}");
        }
    }

    #[test]
    fn every_object_that_a_call_sends_has_an_example() {
        let document = document();
        let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
        for (method, operation) in operations {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if let Some(path) = schema["$ref"].as_str() {
                let named = document.pointer(path.trim_start_matches('#')).unwrap();
                assert!(named["examples"].is_array(), "{method} {path} has no example");
            }
        }
    }
}
