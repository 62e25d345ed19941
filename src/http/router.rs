//! From a request to its handler: finds the route, lets the caller in or not, and counts what came of it.
//!
//! ```text
//! request ──> path and method ──> access ──> handler ──> counted ──> answer
//!                    └─ no such ──────┴─ refused ──────────┘
//! ```
//!
//! Every call passes here once, and no layers are wrapped around its handler: each would cost every call its boxes and clones.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_LENGTH};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri};
use axum::response::Response;

use super::access::admit;
use super::auth::Peer;
use super::body::Unread;
use super::call::{Call, Reply};
use super::code::Code;
use super::cors::Cors;
use super::error::Refusal;
use super::operation::Asks;
use super::route_class::RouteClass;
use super::routes::{ROUTES, Route};
use super::{App, body, console, head, page};

/// What answers requests.
pub trait Answers: Send + Sync {
    /// Begins to answer a request of this peer.
    fn answer(&self, peer: Peer, request: Request) -> Answering;
}

/// A request that is being answered.
pub struct Answering {
    /// Whether that may take any time: an agent answers, or the caller says how long to wait. Nobody works on for a
    /// caller of these who is gone.
    pub may_take_long: bool,
    /// The answer.
    pub reply: Reply,
}

/// All routes that are switched on, and the node that answers them.
pub struct Router {
    app: Arc<App>,
    paths: matchit::Router<Methods>,
}

/// The routes of one path.
struct Methods {
    routes: Vec<&'static Route>,
    /// Their methods, for who tries another.
    allow: HeaderValue,
}

impl Router {
    /// Builds it for the configuration in force.
    pub fn new(app: Arc<App>) -> Self {
        let config = app.config();
        let is_on = |route: &&Route| {
            (config.page.enabled || !page::is_at(route.path)) && (config.console.enabled || !route.is_of_console)
        };
        let mut by_path = BTreeMap::<_, Vec<_>>::new();
        for route in ROUTES.iter().filter(is_on) {
            by_path.entry(route.path).or_default().push(route);
        }
        let mut paths = matchit::Router::new();
        for (path, routes) in by_path {
            paths.insert(path, Methods::of(routes)).expect("the table's paths are apart");
        }
        Self { app, paths }
    }
}

impl Methods {
    fn of(routes: Vec<&'static Route>) -> Self {
        let names: Vec<_> = routes
            .iter()
            .map(|route| if route.method == Method::GET { "GET,HEAD" } else { route.method.as_str() })
            .collect();
        let allow = HeaderValue::from_str(&names.join(",")).expect("methods are plain words");
        Self { routes, allow }
    }

    /// Who is asked for the head of an answer only does as if for all of it.
    fn find(&self, method: &Method) -> Option<&'static Route> {
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        self.routes.iter().find(|route| route.method == *wanted).copied()
    }
}

impl Answers for Router {
    fn answer(&self, peer: Peer, request: Request) -> Answering {
        let (parts, body) = request.into_parts();
        let body = Unread::new(body, peer);
        if let Err(refusal) = head::check(&parts) {
            return Answering { may_take_long: false, reply: Box::pin(malformed(refusal, parts, body)) };
        }
        let app = Arc::clone(&self.app);
        let cors = Cors::of(&app, &parts);
        let Ok(found) = self.paths.at(parts.uri.path()) else {
            return Answering { may_take_long: false, reply: Box::pin(not_found(app, peer, parts, body)) };
        };
        let methods = found.value;
        let Some(route) = methods.find(&parts.method) else {
            let allow = methods.allow.clone();
            return Answering { may_take_long: false, reply: Box::pin(method_not_allowed(cors, allow, parts, body)) };
        };
        let may_take_long = route.takes_long || waits(&parts.uri);
        Answering { may_take_long, reply: Box::pin(answer(app, cors, route, peer, parts, body)) }
    }
}

async fn answer(
    app: Arc<App>,
    cors: Option<Cors>,
    route: &'static Route,
    peer: Peer,
    parts: Parts,
    body: Unread,
) -> Response {
    let began = app.clock.now();
    let class = RouteClass::of(route, waits(&parts.uri));
    let is_head = parts.method == Method::HEAD;
    let mut answer = match admit(&app, route, peer, &parts).await {
        Ok(admitted) => {
            let body = if route.takes_body { body } else { thrown_away(&parts, body, peer).await };
            (route.handler)(Call { app: Arc::clone(&app), route, admitted, parts, body }).await
        }
        Err(refusal) => Box::pin(refuse(&app, route, peer, parts, body, refusal)).await,
    };
    count(&app, route, &answer);
    if let Some((_, latencies)) = app.metrics.latencies.get(class as usize) {
        latencies.record(app.clock.now().saturating_since(began));
    }
    if let Some(cors) = cors {
        cors.mark(&mut answer);
    }
    if is_head { without_body(answer) } else { answer }
}

async fn refuse(app: &App, route: &Route, peer: Peer, parts: Parts, body: Unread, refusal: Refusal) -> Response {
    body::discard(&parts, body).await;
    if route.is_of_console {
        return console::refuse(app, peer, &parts, &refusal).await;
    }
    refusal.answer(parts.uri.path())
}

/// What is left of a body that nobody asks for.
async fn thrown_away(parts: &Parts, body: Unread, peer: Peer) -> Unread {
    body::discard(parts, body).await;
    Unread::new(Body::empty(), peer)
}

/// Counts how calls are answered, and how those were refused that ask for a session or for its agent.
fn count(app: &App, route: &Route, answer: &Response) {
    let code = answer.extensions().get::<Code>().copied();
    app.metrics.answers.add_one(code.map_or(Code::ALL.len(), |code| code as usize));
    if let Some(code) = code
        && match route.asks {
            Some(Asks::ForSession) => true,
            // Whatever else is refused there is no matter of admission.
            Some(Asks::ForAgent) => code == Code::NoCapacity,
            None => false,
        }
    {
        app.metrics.refused.add_one(code as usize);
    }
}

/// The head of an answer alone, which says how long the rest would be (RFC 9110, section 9.3.2).
fn without_body(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    Response::from_parts(parts, Body::empty())
}

async fn not_found(app: Arc<App>, peer: Peer, parts: Parts, body: Unread) -> Response {
    body::discard(&parts, body).await;
    if parts.uri.path().starts_with("/console/") {
        return console::nothing_here(&app, peer, &parts).await;
    }
    Refusal::NotFound.answer(parts.uri.path())
}

async fn malformed(refusal: Refusal, parts: Parts, body: Unread) -> Response {
    body::discard(&parts, body).await;
    head::refuse(&refusal, &parts)
}

async fn method_not_allowed(cors: Option<Cors>, allow: HeaderValue, parts: Parts, body: Unread) -> Response {
    body::discard(&parts, body).await;
    let mut answer = match cors.as_ref().and_then(|cors| cors.preflight(&parts, &allow)) {
        Some(answer) => answer,
        None => {
            let mut answer = Refusal::MethodNotAllowed.answer(parts.uri.path());
            answer.headers_mut().insert(ALLOW, allow);
            answer
        }
    };
    if let Some(cors) = cors {
        cors.mark(&mut answer);
    }
    answer
}

/// Whether the caller says how long to wait.
fn waits(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("wait=")))
}
