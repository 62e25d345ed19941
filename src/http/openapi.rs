//! `GET /openapi.json`: the document of the interface (`OpenAPI` 3.1.1), made from the table of routes.
//!
//! An [`Operation`] says what is its own. What follows from its route is added here: who may call, the path's
//! parameters, and the refusals that every token, session and body can meet.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::Response;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::access::Access;
use super::call::Call;
use super::code::Code;
use super::cookie::CONSOLE;
use super::error::Problem;
use super::operation::{Answer, Asks, Content, Header, Operation, Tag, schema_of};
use super::routes::{ROUTES, Route};

mod enums;
mod examples;
mod served;

pub(super) static OPERATION: Operation = Operation {
    id: "getOpenApi",
    tag: Tag::Server,
    summary: "This document",
    description: "The interface as an OpenAPI 3.1 document, for generators of clients and for tests. Compressed for \
                  clients that take gzip.",
    query: None,
    headers: &[Header::text("If-None-Match", "The tag of the document that the client has.")],
    body: None,
    answers: &[
        Answer {
            status: 200,
            description: "The document.",
            contents: &[Content::json(any_object)],
            headers: &[Header::text("ETag", "Changes when the document does.")],
        },
        Answer { status: 304, description: "The client has this document.", contents: &[], headers: &[] },
    ],
    problems: &[],
};

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

pub(super) fn handle(Call { parts, .. }: Call) -> Response {
    served::answer(&parts.headers)
}

/// The whole document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for (route, operation) in ROUTES.iter().filter_map(|route| Some((route, route.operation?))) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = describe(route, operation, &mut generator);
    }
    let problem = schema_of::<Problem>(&mut generator);
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    schemas.entry("Problem").or_insert_with(|| problem.into());
    examples::add(&mut schemas);
    let mut document = json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Frontdesk",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "contact": { "name": "Frontdesk's maintainers" },
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [
            { "url": "/", "description": "The server that this document comes from." },
            { "url": "http://127.0.0.1:5500", "description": "A server on this machine with its defaults." },
        ],
        "tags": Tag::ALL.map(|tag| json!({ "name": tag.title(), "description": tag.about() })),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "fds_",
                    "description": "A session's token, as its creation gives it.",
                },
                "operator": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "fdo_",
                    "description": "An operator's token, made by `frontdesk token create`; it has scopes.",
                },
                "console": {
                    "type": "apiKey", "in": "cookie", "name": CONSOLE.secure,
                    "description": "The cookie of an operator who has signed in at the console, with TLS. What changes \
                                    anything must come from a page of this server.",
                },
                "plainConsole": {
                    "type": "apiKey", "in": "cookie", "name": CONSOLE.plain,
                    "description": "The same without TLS.",
                },
            },
        },
    });
    enums::simplify(&mut document);
    document
}

fn describe(route: &Route, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag.title()],
        "summary": operation.summary,
        "description": description(route.access, operation),
        "parameters": parameters(route, operation, generator),
        "responses": responses(route, operation, generator),
        "security": security(route.access),
    });
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({ "required": body.required, "content": contents(body.contents, generator) });
    }
    described
}

fn description(access: Access, operation: &Operation) -> String {
    let who = match access {
        Access::Anyone => "Anybody may call this.".to_owned(),
        Access::Password => "This call needs the customer's password.".to_owned(),
        Access::LocalOrToken => "Programs on this machine may call this, and the session's token.".to_owned(),
        Access::Token | Access::OwnSession => "The session's token may call this.".to_owned(),
        Access::SignIn => "This call needs an operator's token in the body.".to_owned(),
        Access::AnyOperator => "Every operator may call this.".to_owned(),
        Access::Known => "A session's token and every operator may call this.".to_owned(),
        Access::Session(scope) => format!("The session's token may call this, and operators with `{scope}`."),
        Access::OperatorOfSession(scope) | Access::Operator(scope) => {
            format!("Operators with `{scope}` may call this.")
        }
        Access::OperatorOrLocal(scope) => {
            format!("Operators with `{scope}` may call this, and programs on this machine without a token.")
        }
    };
    format!("{}\n\n{who}", operation.description)
}

fn security(access: Access) -> Value {
    match access {
        Access::Anyone | Access::Password | Access::LocalOrToken | Access::SignIn => json!([]),
        Access::Token | Access::OwnSession => json!([{ "session": [] }]),
        Access::Known => either(true, &[]),
        Access::Session(scope) => either(true, &[scope.name()]),
        Access::AnyOperator => either(false, &[]),
        Access::OperatorOfSession(scope) | Access::Operator(scope) => either(false, &[scope.name()]),
        // An empty requirement is what OpenAPI has for "or without".
        Access::OperatorOrLocal(scope) => {
            let mut schemes = either(false, &[scope.name()]);
            schemes.as_array_mut().into_iter().for_each(|schemes| schemes.push(json!({})));
            schemes
        }
    }
}

/// An operator, by token or by one of the console's cookies, or if need be a session's token.
fn either(or_session: bool, scopes: &[&str]) -> Value {
    let session = or_session.then(|| json!({ "session": [] }));
    let operator = ["operator", "console", "plainConsole"].map(|scheme| json!({ scheme: scopes }));
    session.into_iter().chain(operator).collect()
}

fn parameters(route: &Route, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters = Vec::new();
    for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = if name == "id" {
            json!({ "type": "string", "format": "uuid" })
        } else {
            json!({ "type": "string", "minLength": 1 })
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(query, generator));
    }
    for Header { name, description, schema } in operation.headers {
        let schema = schema(generator);
        parameters.push(json!({ "name": name, "in": "header", "description": description, "schema": schema }));
    }
    parameters.into()
}

/// The properties of the query's object, each as a parameter.
fn query_parameters(query: fn(&mut SchemaGenerator) -> Schema, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = query(generator);
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    // It stands under its parameters and nowhere else.
    let object = name.and_then(|name| generator.definitions_mut().remove(&name)).unwrap_or_else(|| schema.into());
    let required: BTreeSet<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = object["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = without_null(schema.clone());
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        json!({
            "name": name, "in": "query", "required": required.contains(name.as_str()),
            "description": description.unwrap_or_default(), "schema": schema,
        })
    };
    properties.map(parameter).collect()
}

/// A parameter that may be left out has no null: a query can't say it.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        schema["type"] = types.iter().find(|kind| *kind != "null").cloned().unwrap_or_default();
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let mut real = choices.iter().filter(|choice| choice["type"] != "null").cloned();
        if let (Some(Value::Object(only)), None) = (real.next(), real.next())
            && let Some(schema) = schema.as_object_mut()
        {
            schema.remove("anyOf");
            schema.extend(only);
        }
    }
    schema
}

fn contents(contents: &[Content], generator: &mut SchemaGenerator) -> Value {
    contents
        .iter()
        .map(|content| (content.media_type.to_owned(), json!({ "schema": (content.schema)(generator) })))
        .collect::<Map<_, _>>()
        .into()
}

fn responses(route: &Route, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for answer in operation.answers {
        let mut response = json!({ "description": answer.description, "headers": headers(answer.headers, generator) });
        if !answer.contents.is_empty() {
            response["content"] = contents(answer.contents, generator);
        }
        responses.insert(answer.status.to_string(), response);
    }
    let problems = refusals(route, operation);
    for problems in problems.chunk_by(|one, other| one.status() == other.status()) {
        let status = problems[0].status();
        responses.insert(status.as_u16().to_string(), problem_response(status, problems, generator));
    }
    responses.into()
}

/// Every refusal that a call can meet, ordered by status and name.
fn refusals(route: &Route, operation: &Operation) -> Vec<Code> {
    let mut codes: Vec<Code> = operation.problems.iter().copied().chain(implied(route, operation)).collect();
    codes.sort_by_key(|code| (code.status().as_u16(), code.name()));
    codes.dedup();
    codes
}

/// Whether a call for a session can be refused with the code of this name, in lower case.
pub(super) fn refuses_admission(name: &str) -> bool {
    static CODES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let for_sessions = ROUTES.iter().filter(|route| route.asks == Some(Asks::ForSession));
        let described = for_sessions.filter_map(|route| Some((route, route.operation?)));
        let codes = described.flat_map(|(route, operation)| refusals(route, operation));
        // Initialise is refused with it for a session that was admitted.
        codes.chain([Code::NoCapacity]).map(Code::in_lower_case).collect()
    });
    CODES.contains(name)
}

fn problem_response(status: StatusCode, codes: &[Code], generator: &mut SchemaGenerator) -> Value {
    let lines = codes.iter().map(|code| format!("- `{}`: {}", code.in_lower_case(), code.meaning()));
    let mut answer_headers = Vec::new();
    if codes.iter().any(|code| code.says_when()) {
        answer_headers.push(Header::number("Retry-After", "Seconds after which to try again."));
    }
    if status == StatusCode::UNAUTHORIZED {
        answer_headers.push(Header::text("WWW-Authenticate", "What would be taken."));
    }
    json!({
        "description": lines.collect::<Vec<_>>().join("\n"),
        "headers": headers(&answer_headers, generator),
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn headers(headers: &[Header], generator: &mut SchemaGenerator) -> Value {
    let described = |Header { name, description, schema }: &Header| {
        ((*name).to_owned(), json!({ "description": description, "schema": schema(generator) }))
    };
    headers.iter().map(described).collect::<Map<_, _>>().into()
}

/// The refusals that follow from who may call and from there being a body.
fn implied(route: &Route, operation: &Operation) -> Vec<Code> {
    let mut codes = Vec::new();
    match route.access {
        Access::Anyone => {}
        Access::Password => codes.extend([Code::InvalidEmailOrPassword, Code::TooManyAttempts]),
        Access::LocalOrToken | Access::Token => codes.push(Code::TokenRequired),
        Access::SignIn => {
            codes.extend([Code::TokenRequired, Code::TooManyAttempts, Code::CrossSiteRequest, Code::UnknownHost]);
        }
        Access::AnyOperator => codes.extend([Code::TokenRequired, Code::CrossSiteRequest, Code::UnknownHost]),
        Access::Known => codes.extend([Code::TokenRequired, Code::CrossSiteRequest, Code::UnknownHost]),
        Access::OwnSession => {
            codes.extend([Code::TokenRequired, Code::CrossSiteRequest, Code::UnknownHost, Code::SessionNotFound]);
        }
        Access::Session(_) | Access::OperatorOfSession(_) => {
            codes.extend([
                Code::TokenRequired,
                Code::ScopeRequired,
                Code::CrossSiteRequest,
                Code::UnknownHost,
                Code::SessionNotFound,
            ]);
        }
        Access::Operator(_) | Access::OperatorOrLocal(_) => {
            codes.extend([Code::TokenRequired, Code::ScopeRequired, Code::CrossSiteRequest, Code::UnknownHost]);
        }
    }
    if operation.body.is_some() {
        codes.extend([Code::InvalidRequest, Code::RequestTimeout, Code::RequestTooLarge, Code::UnsupportedContentType]);
    }
    if route.access != Access::Anyone {
        codes.extend([Code::ServerError, Code::ServerBusy, Code::NotReady]);
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_describes_a_success() {
        let operations: Vec<_> = ROUTES.iter().filter_map(|route| route.operation).collect();
        let names: BTreeSet<_> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(names.len(), operations.len());
        assert!(operations.iter().all(|operation| !operation.answers.is_empty()));
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            if let Some(path) = value.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(path.trim_start_matches('#')).is_some(), "{path}");
            }
            match value {
                Value::Object(members) => open.extend(members.values()),
                Value::Array(items) => open.extend(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }
}
