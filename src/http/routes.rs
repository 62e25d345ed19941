//! Every route: its method, its path, who may call it, and what it looks like from outside. The only such table: the
//! router, the document of the interface and the test of who may do what are all made from it.

use std::borrow::Cow;

use axum::http::Method;
use percent_encoding::percent_decode_str;

use crate::principal::Scope;

use super::access::Access;
use super::call::{Handler, ready};
use super::operation::{Asks, Operation};
use super::{console, docs, health, metrics, openapi, page, seed, v1};

/// A route.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, variable parts in braces.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it looks like from outside; nothing for the seed's own, which have their page, and for pages.
    pub operation: Option<&'static Operation>,
    /// Whether it is the console's, whose refusals are pages.
    pub is_of_console: bool,
    /// What it asks for, if it takes a part in the admission of sessions.
    pub(super) asks: Option<Asks>,
    /// Whether a browser may call it with the cookie by which it follows the session.
    pub(super) is_followed_by_cookie: bool,
    /// Whether an agent answers, which may take any time.
    pub(super) takes_long: bool,
    /// Whether its handler reads the request's body. Any other is thrown away before the handler is called.
    pub(super) takes_body: bool,
    pub(super) handler: Handler,
}

impl Route {
    /// A variable part of a path of this route, decoded; `None` if it has no such part, or one that is no UTF-8.
    pub fn part<'a>(&self, path: &'a str, name: &str) -> Option<Cow<'a, str>> {
        let mut segments = self.path.split('/').zip(path.split('/'));
        let is_named = |pattern: &str| pattern.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name);
        let (_, part) = segments.find(|(pattern, _)| is_named(pattern))?;
        percent_decode_str(part).decode_utf8().ok()
    }

    const fn asking(mut self, asks: Asks) -> Self {
        self.asks = Some(asks);
        self
    }

    const fn followed_by_cookie(mut self) -> Self {
        self.is_followed_by_cookie = true;
        self
    }

    const fn taking_body(mut self) -> Self {
        self.takes_body = true;
        self
    }

    const fn taking_long(mut self) -> Self {
        self.takes_long = true;
        self
    }
}

/// All routes, in the order of the reference.
pub static ROUTES: &[Route] = &[
    seeds(Method::POST, "/requestSessionCreation", Access::Password, |call| Box::pin(seed::create::handle(call)))
        .taking_body()
        .asking(Asks::ForSession),
    seeds(Method::POST, "/initializeSession", Access::LocalOrToken, |call| Box::pin(seed::initialise::handle(call)))
        .taking_body()
        .asking(Asks::ForAgent),
    seeds(Method::PUT, "/handleSessionRequests", Access::Token, |call| Box::pin(seed::relay::handle(call)))
        .taking_body()
        .taking_long(),
    seeds(Method::GET, "/serverRunning", Access::Anyone, |call| ready(seed::running(call))),
    seeds(Method::GET, "/sessionSTATUS", Access::LocalOrToken, |call| Box::pin(seed::status::handle(call))),
    ours(Method::POST, "/v1/sessions", Access::Password, &v1::sessions::create::OPERATION, |call| {
        Box::pin(v1::sessions::create::handle(call))
    })
    .asking(Asks::ForSession),
    ours(
        Method::PUT,
        "/v1/sessions/{id}/data",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::data::OPERATION,
        |call| Box::pin(v1::sessions::data::handle(call)),
    ),
    ours(
        Method::POST,
        "/v1/sessions/{id}/initialize",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::initialise::OPERATION,
        |call| Box::pin(v1::sessions::initialise::handle(call)),
    )
    .asking(Asks::ForAgent),
    ours(
        Method::POST,
        "/v1/sessions/{id}/requests",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::request::OPERATION,
        |call| Box::pin(v1::sessions::request::handle(call)),
    )
    .taking_long(),
    ours(Method::GET, "/v1/sessions", Access::Operator(Scope::SessionsRead), &v1::sessions::list::OPERATION, |call| {
        Box::pin(v1::sessions::list::handle(call))
    }),
    ours(
        Method::POST,
        "/v1/sessions/stop",
        Access::Operator(Scope::SessionsWrite),
        &v1::sessions::stop_many::OPERATION,
        |call| Box::pin(v1::sessions::stop_many::handle(call)),
    ),
    ours(
        Method::GET,
        "/v1/sessions/{id}",
        Access::Session(Scope::SessionsRead),
        &v1::sessions::get::OPERATION,
        |call| Box::pin(v1::sessions::get::handle(call)),
    ),
    ours(
        Method::DELETE,
        "/v1/sessions/{id}",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::stop::OPERATION,
        |call| Box::pin(v1::sessions::stop::handle(call)),
    ),
    ours(
        Method::POST,
        "/v1/sessions/{id}/restart",
        Access::OperatorOfSession(Scope::SessionsWrite),
        &v1::sessions::restart::OPERATION,
        |call| Box::pin(v1::sessions::restart::handle(call)),
    ),
    ours(
        Method::GET,
        "/v1/sessions/{id}/events",
        Access::Session(Scope::SessionsRead),
        &v1::sessions::events::OPERATION,
        |call| Box::pin(v1::sessions::events::handle(call)),
    )
    .followed_by_cookie(),
    ours(Method::POST, "/v1/sessions/{id}/cookie", Access::OwnSession, &v1::sessions::cookie::SET_OPERATION, |call| {
        ready(v1::sessions::cookie::set(call))
    }),
    ours(
        Method::DELETE,
        "/v1/sessions/{id}/cookie",
        Access::OwnSession,
        &v1::sessions::cookie::REMOVE_OPERATION,
        |call| ready(v1::sessions::cookie::remove(call)),
    ),
    ours(
        Method::GET,
        "/v1/sessions/{id}/logs",
        Access::OperatorOfSession(Scope::SessionsRead),
        &v1::sessions::logs::OPERATION,
        |call| Box::pin(v1::sessions::logs::handle(call)),
    ),
    ours(Method::GET, "/v1/events", Access::Operator(Scope::SessionsRead), &v1::all_events::OPERATION, |call| {
        ready(v1::all_events::handle(call))
    }),
    ours(
        Method::GET,
        "/v1/customers",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::list::OPERATION,
        |call| Box::pin(v1::customers::list::handle(call)),
    ),
    ours(
        Method::POST,
        "/v1/customers",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::add::OPERATION,
        |call| Box::pin(v1::customers::add::handle(call)),
    ),
    ours(
        Method::GET,
        "/v1/customers/{email}",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::get::OPERATION,
        |call| Box::pin(v1::customers::get::handle(call)),
    ),
    ours(
        Method::DELETE,
        "/v1/customers/{email}",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::remove::OPERATION,
        |call| Box::pin(v1::customers::remove::handle(call)),
    ),
    ours(
        Method::PUT,
        "/v1/customers/{email}/password",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::set_password::OPERATION,
        |call| Box::pin(v1::customers::set_password::handle(call)),
    ),
    ours(
        Method::PUT,
        "/v1/customers/{email}/disabled",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::disable::OPERATION,
        |call| Box::pin(v1::customers::disable::handle(call)),
    ),
    ours(
        Method::GET,
        "/v1/throttled",
        Access::Operator(Scope::CustomersWrite),
        &v1::throttled::list::OPERATION,
        |call| ready(v1::throttled::list::handle(call)),
    ),
    ours(
        Method::DELETE,
        "/v1/throttled/{email}",
        Access::Operator(Scope::CustomersWrite),
        &v1::throttled::clear::OPERATION,
        |call| Box::pin(v1::throttled::clear::handle(call)),
    ),
    ours(Method::PUT, "/v1/password", Access::Password, &v1::password::OPERATION, |call| {
        Box::pin(v1::password::handle(call))
    }),
    ours(Method::GET, "/v1/tokens", Access::Operator(Scope::Admin), &v1::tokens::list::OPERATION, |call| {
        Box::pin(v1::tokens::list::handle(call))
    }),
    ours(Method::POST, "/v1/tokens", Access::Operator(Scope::Admin), &v1::tokens::create::OPERATION, |call| {
        Box::pin(v1::tokens::create::handle(call))
    }),
    ours(Method::DELETE, "/v1/tokens/{id}", Access::Operator(Scope::Admin), &v1::tokens::revoke::OPERATION, |call| {
        Box::pin(v1::tokens::revoke::handle(call))
    }),
    ours(Method::GET, "/v1/audit", Access::Operator(Scope::Admin), &v1::audit::list::OPERATION, |call| {
        Box::pin(v1::audit::list::handle(call))
    }),
    ours(Method::POST, "/v1/console/session", Access::SignIn, &v1::console::sign_in::OPERATION, |call| {
        Box::pin(v1::console::sign_in::handle(call))
    }),
    ours(Method::GET, "/v1/console/session", Access::AnyOperator, &v1::console::who::OPERATION, |call| {
        Box::pin(v1::console::who::handle(call))
    }),
    ours(Method::DELETE, "/v1/console/session", Access::Anyone, &v1::console::sign_out::OPERATION, |call| {
        Box::pin(v1::console::sign_out::handle(call))
    }),
    ours(Method::GET, "/v1/personas", Access::Known, &v1::personas::OPERATION, |call| {
        ready(v1::personas::handle(call))
    }),
    ours(Method::GET, "/v1/nodes", Access::Operator(Scope::SessionsRead), &v1::nodes::OPERATION, |call| {
        ready(v1::nodes::handle(call))
    }),
    ours(Method::GET, "/v1/overview", Access::Operator(Scope::SessionsRead), &v1::overview::OPERATION, |call| {
        Box::pin(v1::overview::handle(call))
    }),
    ours(Method::GET, "/livez", Access::Anyone, &health::LIVE, |call| ready(health::live(call))),
    ours(Method::GET, "/readyz", Access::Anyone, &health::READY, |call| ready(health::ready(call))),
    ours(Method::GET, "/metrics", Access::OperatorOrLocal(Scope::SessionsRead), &metrics::OPERATION, |call| {
        Box::pin(metrics::handle(call))
    }),
    ours(Method::GET, "/docs", Access::Anyone, &docs::OPERATION, |call| ready(docs::handle(call))),
    ours(Method::GET, "/docs/style.css", Access::Anyone, &docs::STYLE_OPERATION, |call| ready(docs::style(call))),
    ours(Method::GET, "/openapi.json", Access::Anyone, &openapi::OPERATION, |call| ready(openapi::handle(call))),
    file("/", |call| ready(page::handle(call))),
    file("/page/page.js", |call| ready(page::script(call))),
    file("/page/style.css", |call| ready(page::style(call))),
    file("/page/icon.svg", |call| ready(page::icon(call))),
    shown("/console", Access::Operator(Scope::SessionsRead), |call| Box::pin(console::overview::handle(call))),
    shown("/console/sign-in", Access::SignIn, |call| Box::pin(console::sign_in::handle(call))),
    shown("/console/sessions", Access::Operator(Scope::SessionsRead), |call| Box::pin(console::sessions::handle(call))),
    shown("/console/sessions/{id}", Access::OperatorOfSession(Scope::SessionsRead), |call| {
        Box::pin(console::session::handle(call))
    }),
    shown("/console/personas", Access::Operator(Scope::SessionsRead), |call| ready(console::personas::handle(call))),
    shown("/console/customers", Access::Operator(Scope::CustomersWrite), |call| {
        Box::pin(console::customers::handle(call))
    }),
    shown("/console/throttled", Access::Operator(Scope::CustomersWrite), |call| {
        ready(console::throttled::handle(call))
    }),
    shown("/console/tokens", Access::Operator(Scope::Admin), |call| Box::pin(console::tokens::handle(call))),
    shown("/console/audit", Access::Operator(Scope::Admin), |call| Box::pin(console::audit::handle(call))),
    shown("/console/assets/{version}/{name}", Access::Anyone, |call| ready(console::assets::handle(call))),
];

const fn ours(
    method: Method,
    path: &'static str,
    access: Access,
    operation: &'static Operation,
    handler: Handler,
) -> Route {
    let mut route = seeds(method, path, access, handler);
    route.operation = Some(operation);
    route.takes_body = operation.body.is_some();
    route
}

const fn seeds(method: Method, path: &'static str, access: Access, handler: Handler) -> Route {
    Route {
        method,
        path,
        access,
        operation: None,
        is_of_console: false,
        asks: None,
        is_followed_by_cookie: false,
        takes_long: false,
        takes_body: false,
        handler,
    }
}

const fn file(path: &'static str, handler: Handler) -> Route {
    seeds(Method::GET, path, Access::Anyone, handler)
}

const fn shown(path: &'static str, access: Access, handler: Handler) -> Route {
    let mut page = seeds(Method::GET, path, access, handler);
    page.is_of_console = true;
    page
}
