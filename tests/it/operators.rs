//! What the tests of operators' calls share: a server that knows operators' tokens, and calls with one of them.

use frontdesk::principal::Scope;
use serde_json::Value;

use crate::harness::{ADA, Answer, Server, Setup};

/// A server that knows an operator for each scope, by its name, and Ada.
pub struct Operated {
    pub server: Server,
    /// What each scope's operator shows.
    tokens: Vec<(Scope, String)>,
}

impl Operated {
    pub fn new(setup: Setup) -> Self {
        let server = Server::start(setup);
        server.add_customer(ADA);
        let tokens = Scope::ALL.map(|scope| (scope, make_token(&server, scope.name(), scope))).to_vec();
        Self { server, tokens }
    }

    /// The token of a scope's operator.
    pub fn token(&self, scope: Scope) -> &str {
        &self.tokens.iter().find(|(known, _)| *known == scope).unwrap().1
    }

    /// A call by a scope's operator.
    pub fn call(&self, scope: Scope, method: &str, path: &str, body: &Value) -> Answer {
        self.call_with(self.token(scope), method, path, body)
    }

    /// A call with a token.
    pub fn call_with(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
    }

    /// A call with these headers; without a body if that is null.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // An answer without a body has no length: it ends with the connection.
        let headers = [headers, &[("Connection", "close"), ("Content-Type", "application/json")]].concat();
        self.server.send(method, path, &headers, body.as_bytes())
    }

    /// The audit's entries of an action over HTTP, the youngest first.
    pub fn audited(&self, action: &str) -> Vec<Value> {
        let answer = self.call(Scope::Admin, "GET", &format!("/v1/audit?action={action}"), &Value::Null);
        assert_eq!(answer.status, 200, "{answer:?}");
        items(&answer).into_iter().filter(|entry| entry["actor"]["kind"] != "command_line").collect()
    }
}

/// The items of a list.
pub fn items(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().unwrap_or_else(|| panic!("no list: {answer:?}")).clone()
}

/// Status and code of a problem.
pub fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

/// Makes an operator's token of this name.
pub fn make_token(server: &Server, name: &str, scope: Scope) -> String {
    let (status, token, errors) = server.run(&["token", "create", name, "--scope", scope.name()], "");
    assert!(status.success(), "{errors}");
    token.trim_end().to_owned()
}
