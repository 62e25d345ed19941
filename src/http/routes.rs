//! Every route: its method, its path, who may call it, and what it looks like from outside. The only such table: the
//! router, the document of the interface and the test of who may do what are all made from it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn};
use axum::routing::{MethodRouter, delete, get, post, put};

use crate::principal::Scope;

use super::access::{Access, enforce};
use super::measured::measure;
use super::operation::{Asks, Operation};
use super::{App, console, docs, health, metrics, openapi, page, seed, v1};

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
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// All routes, in the order of the reference.
pub static ROUTES: &[Route] = &[
    seeds(Method::POST, "/requestSessionCreation", Access::Password, || post(seed::create::handle)),
    seeds(Method::POST, "/initializeSession", Access::LocalOrToken, || post(seed::initialise::handle)),
    seeds(Method::PUT, "/handleSessionRequests", Access::Token, || put(seed::relay::handle)),
    seeds(Method::GET, "/serverRunning", Access::Anyone, || get(seed::running)),
    seeds(Method::GET, "/sessionSTATUS", Access::LocalOrToken, || get(seed::status::handle)),
    ours(Method::POST, "/v1/sessions", Access::Password, &v1::sessions::create::OPERATION, || {
        post(v1::sessions::create::handle)
    }),
    ours(
        Method::PUT,
        "/v1/sessions/{id}/data",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::data::OPERATION,
        || put(v1::sessions::data::handle),
    ),
    ours(
        Method::POST,
        "/v1/sessions/{id}/initialize",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::initialise::OPERATION,
        || post(v1::sessions::initialise::handle),
    ),
    ours(
        Method::POST,
        "/v1/sessions/{id}/requests",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::request::OPERATION,
        || post(v1::sessions::request::handle),
    ),
    ours(Method::GET, "/v1/sessions", Access::Operator(Scope::SessionsRead), &v1::sessions::list::OPERATION, || {
        get(v1::sessions::list::handle)
    }),
    ours(
        Method::POST,
        "/v1/sessions/stop",
        Access::Operator(Scope::SessionsWrite),
        &v1::sessions::stop_many::OPERATION,
        || post(v1::sessions::stop_many::handle),
    ),
    ours(Method::GET, "/v1/sessions/{id}", Access::Session(Scope::SessionsRead), &v1::sessions::get::OPERATION, || {
        get(v1::sessions::get::handle)
    }),
    ours(
        Method::DELETE,
        "/v1/sessions/{id}",
        Access::Session(Scope::SessionsWrite),
        &v1::sessions::stop::OPERATION,
        || delete(v1::sessions::stop::handle),
    ),
    ours(
        Method::POST,
        "/v1/sessions/{id}/restart",
        Access::OperatorOfSession(Scope::SessionsWrite),
        &v1::sessions::restart::OPERATION,
        || post(v1::sessions::restart::handle),
    ),
    ours(
        Method::GET,
        "/v1/sessions/{id}/events",
        Access::Session(Scope::SessionsRead),
        &v1::sessions::events::OPERATION,
        || get(v1::sessions::events::handle),
    ),
    ours(
        Method::GET,
        "/v1/sessions/{id}/logs",
        Access::OperatorOfSession(Scope::SessionsRead),
        &v1::sessions::logs::OPERATION,
        || get(v1::sessions::logs::handle),
    ),
    ours(Method::GET, "/v1/events", Access::Operator(Scope::SessionsRead), &v1::all_events::OPERATION, || {
        get(v1::all_events::handle)
    }),
    ours(
        Method::GET,
        "/v1/customers",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::list::OPERATION,
        || get(v1::customers::list::handle),
    ),
    ours(
        Method::POST,
        "/v1/customers",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::add::OPERATION,
        || post(v1::customers::add::handle),
    ),
    ours(
        Method::GET,
        "/v1/customers/{email}",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::get::OPERATION,
        || get(v1::customers::get::handle),
    ),
    ours(
        Method::DELETE,
        "/v1/customers/{email}",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::remove::OPERATION,
        || delete(v1::customers::remove::handle),
    ),
    ours(
        Method::PUT,
        "/v1/customers/{email}/password",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::set_password::OPERATION,
        || put(v1::customers::set_password::handle),
    ),
    ours(
        Method::PUT,
        "/v1/customers/{email}/disabled",
        Access::Operator(Scope::CustomersWrite),
        &v1::customers::disable::OPERATION,
        || put(v1::customers::disable::handle),
    ),
    ours(
        Method::GET,
        "/v1/throttled",
        Access::Operator(Scope::CustomersWrite),
        &v1::throttled::list::OPERATION,
        || get(v1::throttled::list::handle),
    ),
    ours(
        Method::DELETE,
        "/v1/throttled/{email}",
        Access::Operator(Scope::CustomersWrite),
        &v1::throttled::clear::OPERATION,
        || delete(v1::throttled::clear::handle),
    ),
    ours(Method::PUT, "/v1/password", Access::Password, &v1::password::OPERATION, || put(v1::password::handle)),
    ours(Method::GET, "/v1/tokens", Access::Operator(Scope::Admin), &v1::tokens::list::OPERATION, || {
        get(v1::tokens::list::handle)
    }),
    ours(Method::POST, "/v1/tokens", Access::Operator(Scope::Admin), &v1::tokens::create::OPERATION, || {
        post(v1::tokens::create::handle)
    }),
    ours(Method::DELETE, "/v1/tokens/{id}", Access::Operator(Scope::Admin), &v1::tokens::revoke::OPERATION, || {
        delete(v1::tokens::revoke::handle)
    }),
    ours(Method::GET, "/v1/audit", Access::Operator(Scope::Admin), &v1::audit::list::OPERATION, || {
        get(v1::audit::list::handle)
    }),
    ours(Method::POST, "/v1/console/session", Access::SignIn, &v1::console::sign_in::OPERATION, || {
        post(v1::console::sign_in::handle)
    }),
    ours(Method::GET, "/v1/console/session", Access::AnyOperator, &v1::console::who::OPERATION, || {
        get(v1::console::who::handle)
    }),
    ours(Method::DELETE, "/v1/console/session", Access::Anyone, &v1::console::sign_out::OPERATION, || {
        delete(v1::console::sign_out::handle)
    }),
    ours(Method::GET, "/v1/personas", Access::Known, &v1::personas::OPERATION, || get(v1::personas::handle)),
    ours(Method::GET, "/v1/nodes", Access::Operator(Scope::SessionsRead), &v1::nodes::OPERATION, || {
        get(v1::nodes::handle)
    }),
    ours(Method::GET, "/v1/overview", Access::Operator(Scope::SessionsRead), &v1::overview::OPERATION, || {
        get(v1::overview::handle)
    }),
    ours(Method::GET, "/livez", Access::Anyone, &health::LIVE, || get(health::live)),
    ours(Method::GET, "/readyz", Access::Anyone, &health::READY, || get(health::ready)),
    ours(Method::GET, "/metrics", Access::OperatorOrLocal(Scope::SessionsRead), &metrics::OPERATION, || {
        get(metrics::handle)
    }),
    ours(Method::GET, "/docs", Access::Anyone, &docs::OPERATION, || get(docs::handle)),
    ours(Method::GET, "/docs/style.css", Access::Anyone, &docs::STYLE_OPERATION, || get(docs::style)),
    ours(Method::GET, "/openapi.json", Access::Anyone, &openapi::OPERATION, || get(openapi::handle)),
    file("/", || get(page::handle)),
    file("/page/page.js", || get(page::script)),
    file("/page/style.css", || get(page::style)),
    file("/page/icon.svg", || get(page::icon)),
    shown("/console", Access::Operator(Scope::SessionsRead), || get(console::overview::handle)),
    shown("/console/sign-in", Access::SignIn, || get(console::sign_in::handle)),
    shown("/console/sessions", Access::Operator(Scope::SessionsRead), || get(console::sessions::handle)),
    shown("/console/sessions/{id}", Access::OperatorOfSession(Scope::SessionsRead), || get(console::session::handle)),
    shown("/console/personas", Access::Operator(Scope::SessionsRead), || get(console::personas::handle)),
    shown("/console/customers", Access::Operator(Scope::CustomersWrite), || get(console::customers::handle)),
    shown("/console/throttled", Access::Operator(Scope::CustomersWrite), || get(console::throttled::handle)),
    shown("/console/tokens", Access::Operator(Scope::Admin), || get(console::tokens::handle)),
    shown("/console/audit", Access::Operator(Scope::Admin), || get(console::audit::handle)),
    shown("/console/assets/{version}/{name}", Access::Anyone, || get(console::assets::handle)),
];

const fn ours(
    method: Method,
    path: &'static str,
    access: Access,
    operation: &'static Operation,
    handler: fn() -> MethodRouter<Arc<App>>,
) -> Route {
    Route { method, path, access, operation: Some(operation), is_of_console: false, handler }
}

const fn seeds(method: Method, path: &'static str, access: Access, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { method, path, access, operation: None, is_of_console: false, handler }
}

const fn file(path: &'static str, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { method: Method::GET, path, access: Access::Anyone, operation: None, is_of_console: false, handler }
}

const fn shown(path: &'static str, access: Access, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { method: Method::GET, path, access, operation: None, is_of_console: true, handler }
}

/// Whether a call may take any time: an agent answers it, or its caller says how long to wait. Nobody works on for a
/// caller of these who is gone.
pub fn may_take_long(method: &Method, uri: &Uri) -> bool {
    let path = uri.path();
    let is_relay = match *method {
        Method::PUT => path == "/handleSessionRequests",
        Method::POST => path.starts_with("/v1/sessions/") && path.ends_with("/requests"),
        _ => false,
    };
    is_relay || uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("wait=")))
}

/// Adds every route to a router, each behind its rule of access; what is switched off has none.
pub(super) fn add_all(router: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
    let is_on = |route: &&Route| {
        let (config, is_page) = (app.config(), page::is_at(route.path));
        (config.page.enabled || !is_page) && (config.console.enabled || !route.is_of_console)
    };
    ROUTES.iter().filter(is_on).fold(router, |router, route| {
        let (guarded, access) = (Arc::clone(app), route.access);
        let handler = if route.is_of_console {
            let guard = move |request: Request, next: Next| console::guard(Arc::clone(&guarded), access, request, next);
            (route.handler)().route_layer(from_fn(guard))
        } else {
            let guard = move |request: Request, next: Next| enforce(Arc::clone(&guarded), access, request, next);
            (route.handler)().route_layer(from_fn(guard))
        };
        let (measured, asks) = (Arc::clone(app), asks(route));
        let measure = move |request: Request, next: Next| measure(Arc::clone(&measured), asks, request, next);
        router.route(route.path, handler.route_layer(from_fn(measure)))
    })
}

/// What a call of the route asks for.
fn asks(route: &Route) -> Option<Asks> {
    match route.path {
        "/requestSessionCreation" => Some(Asks::ForSession),
        "/v1/sessions" if route.method == Method::POST => Some(Asks::ForSession),
        "/initializeSession" | "/v1/sessions/{id}/initialize" => Some(Asks::ForAgent),
        _ => None,
    }
}
