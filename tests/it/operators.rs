//! What the tests of operators' calls share: a server that knows operators' tokens, and calls with one of them.

use frontdesk::clock::WallTime;
use frontdesk::data_dir::DataDir;
use frontdesk::principal::{OperatorTokenId, Scope};
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::store::{OperatorToken, Operators, Store};
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
        let mut server = Server::start(setup);
        server.add_customer(ADA);
        server.terminate();
        let tokens = make_tokens(&server);
        server.start_again();
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

    /// The audit's entries of an action, the youngest first.
    pub fn audited(&self, action: &str) -> Vec<Value> {
        let answer = self.call(Scope::Admin, "GET", &format!("/v1/audit?action={action}"), &Value::Null);
        assert_eq!(answer.status, 200, "{answer:?}");
        items(&answer)
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

fn make_tokens(server: &Server) -> Vec<(Scope, String)> {
    let data_dir = DataDir::open(&server.data_dir()).unwrap();
    let store = SqliteStore::open(data_dir.paths()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tokens = (1..).zip(Scope::ALL).map(|(number, scope)| {
        let created = WallTime::from_unix_millis(i64::from(number));
        let id = OperatorTokenId::new(created, [number; 10]);
        let (text, hash) = store.desk().token_key.issue_operator(id, &[number; 32]);
        let (name, scopes) = (scope.name().to_owned(), vec![scope]);
        let token = OperatorToken { id, name, scopes, hash, created, expires: None, revoked: None };
        runtime.block_on(store.add_operator_token(token)).unwrap();
        (scope, text)
    });
    tokens.collect()
}
