//! Creating a session: the credentials are checked, and then it is admitted. The same for the seed's clients and those
//! of `/v1`, who send and read other words.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;

use crate::credential::throttle::Sender;
use crate::credential::{InForce, Verifier};
use crate::id::CustomerKey;
use crate::session::{CreationKey, SessionRecord};

use super::auth::Peer;
use super::body::Body;
use super::error::Refusal;
use super::server_timing::Timing;
use super::{App, rate_limit};

mod admit;
pub mod known_customer;
pub mod login;

use known_customer::Shown;
use login::Login;

/// A well-formed request for a session.
pub struct Creation {
    /// Who asks for it.
    pub login: Login,
    /// The customer's data: the text of a JSON object.
    pub data: Bytes,
    /// By which it is known if it comes again.
    pub key: Option<CreationKey>,
    /// What the data is a part of.
    pub body: Body,
}

/// What came of it, once the password was good.
pub enum Created {
    /// The session is there, by this call or by an earlier one with the same key.
    Opened(Opened),
    /// The customer has a live session: this.
    AlreadyLive(Opened),
    /// No persona has this name.
    UnknownPersona,
}

/// A session and a token that opens it.
pub struct Opened {
    /// The session.
    pub record: SessionRecord,
    /// The token.
    pub token: String,
}

/// Checks the credentials and admits the session. `answer` puts what came of it into the caller's words; how many more
/// attempts the caller has is added to that.
pub async fn create(
    app: &Arc<App>,
    peer: Peer,
    shown: Shown,
    creation: Creation,
    answer: impl FnOnce(Result<Created, Refusal>) -> Response,
) -> Response {
    let verifier = app.verifiers.in_force();
    let customer = verifier.key(&creation.login.email);
    let mut timing = Timing::begin(&*app.clock);
    let sender = match shown.proof(app, &customer).await {
        Ok(proof) => peer.sender().with_proof(proof),
        Err(refusal) => return answer(Err(refusal)),
    };
    let created = attempt(app, (peer, sender), verifier, &customer, creation, &mut timing).await;
    if matches!(created, Ok(Created::Opened(_))) {
        app.metrics.admissions.record(timing.all());
    }
    let is_customer = created.is_ok();
    let mut answer = answer(created);
    if is_customer {
        shown.remember_device(app, peer, &customer, &mut answer);
    }
    timing.write(&mut answer);
    let quotas = app.gate.quotas(&customer, sender, app.clock.now());
    rate_limit::write(answer.headers_mut(), &quotas);
    answer
}

async fn attempt(
    app: &Arc<App>,
    (peer, sender): (Peer, Sender),
    verifier: InForce,
    customer: &CustomerKey,
    creation: Creation,
    timing: &mut Timing<'_>,
) -> Result<Created, Refusal> {
    let Creation { login, data, key, body } = creation;
    let (login, body) = (Arc::new(login), Arc::new(body));
    let account = login::check(app, (peer, sender), verifier.clone(), customer, &login, &body).await?;
    timing.end("credential");
    let Some(persona) = app.registry.persona(&login.persona) else { return Ok(Created::UnknownPersona) };
    let deadline = app.clock.now() + persona.pending_timeout;
    let mut wanted = admit::Wanted { customer, login: &login, data, key, peer, deadline, account };
    loop {
        let created = wanted.admit(app).await;
        timing.end("commit");
        if let Some(created) = created? {
            return Ok(created);
        }
        wanted.account = login::check_again(app, peer, &verifier, &login).await?;
        timing.end("credential");
    }
}
