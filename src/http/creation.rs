//! Creating a session: the credentials are checked, and then it is admitted. The same for the seed's clients and those
//! of `/v1`, who send and read other words.

use std::sync::Arc;

use bytes::Bytes;

use crate::session::{CreationKey, SessionRecord};

use super::App;
use super::auth::Peer;
use super::body::Body;
use super::error::Refusal;

mod admit;
mod login;

pub use login::Login;

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

/// Checks the credentials and admits the session.
///
/// # Errors
/// The refusal of the credentials, [`Refusal::KeyReused`], or what the store failed with.
pub async fn create(app: &Arc<App>, peer: Peer, creation: Creation) -> Result<Created, Refusal> {
    let Creation { login, data, key, body } = creation;
    let (login, body) = (Arc::new(login), Arc::new(body));
    let customer = login::check(app, peer, &login, &body).await?;
    let Some(persona) = app.registry.persona(&login.persona) else { return Ok(Created::UnknownPersona) };
    let deadline = app.clock.now() + persona.pending_timeout;
    admit::Wanted { customer, login: &login, data, key, origin: peer.remote.ip(), deadline }.admit(app).await
}
