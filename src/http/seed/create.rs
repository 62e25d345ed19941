//! `POST /requestSessionCreation`: checks the credentials and admits a session.
//!
//! A check that has begun runs to its end, also for a client that has hung up: only its outcome tells the throttle
//! whether anybody guessed.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::credential::gate::Admitted;
use crate::credential::throttle::Sender;
use crate::credential::{Credentials, InForce, Verdict, Verifier};
use crate::http::App;
use crate::http::auth::{Peer, peer};
use crate::http::body::{self, Body};
use crate::http::error::Refusal;
use crate::http::input::{LARGEST_PARSED_INLINE_BYTES, check_email, invalid, parse, read, refuse_encoding};
use crate::id::{CustomerKey, Revision, SessionId};
use crate::pickle;
use crate::session::{NewSession, Phase, SessionData, SessionRecord};
use crate::store::{Admission, StoreError};

use super::ok;

/// A well-formed request for a session.
struct Creation {
    login: Login,
    data: Bytes,
    /// What the data is a part of.
    body: Body,
}

/// Who asks for it.
struct Login {
    email: String,
    password: SecretString,
    persona: String,
}

/// One check of a login, which may outlive the request.
struct Check {
    app: Arc<App>,
    peer: Peer,
    verifier: InForce,
    login: Arc<Login>,
    attempt: Admitted,
    /// The memory of the login counts until the check has ended.
    _body: Arc<Body>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ContentType {
    Json,
    Pickle,
}

/// A session and a token that opens it.
struct Opened {
    session: SessionId,
    token: String,
}

pub(in crate::http) async fn handle(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let content_type = match refuse_encoding(&parts.headers).and_then(|()| content_type(&parts.headers)) {
        Ok(content_type) => content_type,
        Err(refusal) => {
            body::discard(&parts, body).await;
            return refusal.seed();
        }
    };
    let peer = peer(&parts);
    let body = match app.bodies.read(&parts, body).await {
        Ok(body) => body,
        Err(error) => return Refusal::from(error).seed(),
    };
    let most_bytes = app.bodies.most_bytes();
    let is_large_pickle = content_type == ContentType::Pickle && body.bytes.len() > LARGEST_PARSED_INLINE_BYTES;
    let turn = if is_large_pickle { app.bodies.large_pickle().await } else { None };
    let parsed = parse(body, move |body| {
        let _turn = turn;
        Creation::read(body, content_type, most_bytes)
    });
    let creation = match parsed.await {
        Ok(creation) => creation,
        Err(refusal) => return refusal.seed(),
    };
    create(&app, peer, creation).await.unwrap_or_else(|refusal| refusal.seed())
}

async fn create(app: &Arc<App>, peer: Peer, creation: Creation) -> Result<Response, Refusal> {
    let Creation { login, data, body } = creation;
    let (login, body) = (Arc::new(login), Arc::new(body));
    let verifier = app.verifiers.in_force();
    let key = verifier.key(&login.email);
    check(app, peer, verifier, &key, &login, &body).await?;
    let Some(persona) = app.registry.persona(&login.persona) else {
        return Err(Refusal::Invalid("PERSONA_TYPE is not a persona of this server.".into()));
    };
    let deadline = app.clock.now() + persona.pending_timeout;
    loop {
        let (new, opened) = session(app, peer, &key, &login, &data, Phase::admitted(deadline));
        match app.registry.admit(new).await? {
            Admission::Admitted(record) => {
                tracing::info!(session.id = %record.id, customer = %record.customer, persona = %record.persona,
                    to = "PENDING", "session admitted");
                return Ok(ok(opened.text("SESSION_CREATION_REQUEST_ACCEPTED")));
            }
            // The seed's clients send no keys, so that what is there is live; if not any more, that shows below.
            Admission::AlreadyLive(record) | Admission::Repeated(record, _) => {
                let (token, hash) = app.store.desk().token_key.issue(record.id, &crate::random::bytes());
                match app.store.add_token(record.id, hash).await {
                    Ok(()) => {
                        let opened = Opened { session: record.id, token };
                        let mut response = ok(opened.text("SESSION_ALREADY_RUNNING"));
                        *response.status_mut() = axum::http::StatusCode::BAD_REQUEST;
                        return Ok(response);
                    }
                    // It has ended since: there is room for this one now.
                    Err(StoreError::Missing) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Asks the credential server, once, unless too many attempts have failed lately.
async fn check(
    app: &Arc<App>,
    peer: Peer,
    verifier: InForce,
    key: &CustomerKey,
    login: &Arc<Login>,
    body: &Arc<Body>,
) -> Result<(), Refusal> {
    let patience = app.config.credential.timeout;
    let address = peer.remote.ip();
    let sender = if app.config.behind_proxy { Sender::Proxy(address) } else { Sender::Address(address) };
    let attempt = app.gate.admit(key.as_str(), sender, patience, || app.clock.now()).await?;
    let (login, _body) = (Arc::clone(login), Arc::clone(body));
    let mut check = Box::pin(Check { app: Arc::clone(app), peer, verifier, login, attempt, _body }.run());
    // What was good a moment ago is known at once and needs no task.
    if let Poll::Ready(outcome) = poll_fn(|context| Poll::Ready(check.as_mut().poll(context))).await {
        return outcome;
    }
    let (tell, outcome) = oneshot::channel();
    app.tasks.spawn(async move {
        // Nobody listens once the client has hung up.
        let _ = tell.send(check.await);
    });
    outcome.await.unwrap_or(Err(Refusal::NotReady("The server is shutting down.")))
}

impl Check {
    async fn run(self) -> Result<(), Refusal> {
        let Self { app, peer, verifier, login, attempt, _body } = self;
        let credentials =
            Credentials { email: &login.email, password: login.password.expose_secret(), persona: &login.persona };
        match verifier.verify(credentials).await {
            Ok(Verdict::Accepted) => {
                attempt.succeeded(app.clock.now());
                Ok(())
            }
            Ok(Verdict::Refused) => {
                attempt.refused(app.clock.now());
                let key = verifier.key(&login.email);
                tracing::info!(customer = %key, peer = %peer.remote.ip(), "credentials refused");
                Err(Refusal::BadCredentials)
            }
            Err(error) => {
                attempt.failed_to_check();
                Err(error.into())
            }
        }
    }
}

fn session(
    app: &App,
    peer: Peer,
    key: &CustomerKey,
    login: &Login,
    data: &Bytes,
    phase: Phase,
) -> (NewSession, Opened) {
    let wall = app.clock.wall();
    let id = SessionId::new(wall, crate::random::bytes());
    let (token, hash) = app.store.desk().token_key.issue(id, &crate::random::bytes());
    let email = (login.email != key.as_str()).then(|| login.email.as_str().into());
    let record = SessionRecord {
        id,
        customer: key.clone(),
        email,
        persona: login.persona.as_str().into(),
        created: wall,
        revision: Revision::FIRST,
        phase,
    };
    let data = SessionData::Inline(data.clone());
    (NewSession { record, data, token: hash, origin: Some(peer.remote.ip()), key: None }, Opened { session: id, token })
}

impl Opened {
    fn text(&self, message: &str) -> Bytes {
        // None of the three has a character that JSON escapes.
        format!(r#"{{"MESSAGE":"{message}","SESSION_ID":"{}","TOKEN":"{}"}}"#, self.session, self.token).into()
    }
}

impl Creation {
    fn read(mut body: Body, content_type: ContentType, most_bytes: usize) -> Result<Self, Refusal> {
        match content_type {
            ContentType::Json => Self::from_json(body),
            ContentType::Pickle => {
                let limits = pickle::Limits { input_bytes: most_bytes, output_bytes: most_bytes, ..Default::default() };
                let pickle = body.bytes.clone();
                let measured =
                    pickle::decode(&pickle, &limits).map_err(|error| invalid("The body", &error.to_string()))?;
                body.charge(measured.json_bytes())?;
                body.bytes = measured.write().into();
                drop(measured);
                Self::from_json(body)
            }
        }
    }

    fn from_json(body: Body) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "UPPERCASE", expecting = "an object with EMAIL, PASSWORD, PERSONA_TYPE and DATA")]
        struct Wire<'a> {
            #[serde(borrow)]
            email: Cow<'a, str>,
            #[serde(borrow)]
            password: Cow<'a, str>,
            #[serde(borrow)]
            persona_type: Cow<'a, str>,
            #[serde(borrow)]
            data: &'a RawValue,
        }
        let wire: Wire<'_> = read(&body.bytes)?;
        check_email(&wire.email)?;
        if !wire.data.get().starts_with('{') {
            return Err(Refusal::Invalid("DATA must be an object.".into()));
        }
        let login = Login {
            email: wire.email.into_owned(),
            password: SecretString::from(&*wire.password),
            persona: wire.persona_type.into_owned(),
        };
        let data = body.bytes.slice_ref(wire.data.get().as_bytes());
        Ok(Self { login, data, body })
    }
}

/// The part before `;`, trimmed, whatever its case (RFC 9110, section 8.3.1).
fn content_type(headers: &HeaderMap) -> Result<ContentType, Refusal> {
    let unknown = Refusal::UnsupportedContentType("The Content-Type must be application/json or application/bytes.");
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return Err(unknown) };
    let media_type = text.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        Ok(ContentType::Json)
    } else if media_type.eq_ignore_ascii_case("application/bytes") {
        Ok(ContentType::Pickle)
    } else {
        Err(unknown)
    }
}
