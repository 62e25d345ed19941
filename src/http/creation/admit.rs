//! The admission of a session whose customer's password was good.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::http::App;
use crate::http::auth::Peer;
use crate::http::error::{DRAINED, Refusal};
use crate::id::{CustomerKey, Revision, SessionId};
use crate::session::{CreationKey, NewSession, Phase, SessionData, SessionRecord};
use crate::store::{Admission, CheckedAccount, StoreError};
use crate::token::TokenHash;

use super::{Created, Login, Opened};

/// A session that asks to be admitted.
pub(super) struct Wanted<'a> {
    pub(super) customer: &'a CustomerKey,
    pub(super) login: &'a Login,
    pub(super) data: Bytes,
    pub(super) key: Option<CreationKey>,
    pub(super) peer: Peer,
    /// When it expires.
    pub(super) deadline: Timestamp,
    /// The account whose password was good, if it is the store's.
    pub(super) account: Option<CheckedAccount>,
}

impl Wanted<'_> {
    /// Nothing if the account is another by now than the one that was checked.
    pub(super) async fn admit(&self, app: &App) -> Result<Option<Created>, Refusal> {
        // Who has a live session is given a token of it all the same: a lost answer locks nobody out.
        if app.registry.is_drained() && app.store.live(self.customer).await?.is_none() {
            return Err(Refusal::NotReady(DRAINED));
        }
        loop {
            let (new, token) = self.new_session(app);
            match app.registry.admit(new).await? {
                Admission::Admitted(record) => {
                    app.metrics.admitted.add_one();
                    tracing::info!(session.id = %record.id, customer = %record.customer, persona = %record.persona,
                        to = "PENDING", "session admitted");
                    return Ok(Some(Created::Opened(Opened { record, token })));
                }
                Admission::AccountChanged => return Ok(None),
                Admission::AlreadyLive(record) => {
                    app.audit_sign_in(self.peer, &record).await?;
                    let (token, hash) = app.store.desk().token_key.issue(record.id, &crate::random::bytes());
                    match app.store.add_token(record.id, hash).await {
                        // Looked at after the token is there: a change after this signs that out, too, if it does others.
                        Ok(()) if !self.is_still(app).await? => return Ok(None),
                        Ok(()) => return Ok(Some(Created::AlreadyLive(Opened { record, token }))),
                        // It has ended since: there is room for this one now.
                        Err(StoreError::Missing) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Admission::Repeated(record, digest) => {
                    let token = match &self.key {
                        Some(key) if key.digest == digest => repeat_token(app, record.id, key).await?,
                        Some(_) | None => return Err(Refusal::KeyReused),
                    };
                    let is_still = self.is_still(app).await?;
                    return Ok(is_still.then_some(Created::Opened(Opened { record, token })));
                }
            }
        }
    }

    async fn is_still(&self, app: &App) -> Result<bool, Refusal> {
        match self.account {
            Some(account) => Ok(app.store.is_still(self.customer, account).await?),
            None => Ok(true),
        }
    }

    fn new_session(&self, app: &App) -> (NewSession, String) {
        let wall = app.clock.wall();
        let id = SessionId::new(wall, crate::random::bytes());
        let (token, hash) = match &self.key {
            Some(key) => token_of_call(app, id, key),
            None => app.store.desk().token_key.issue(id, &crate::random::bytes()),
        };
        let login = self.login;
        let email = (login.email != self.customer.as_str()).then(|| login.email.as_str().into());
        let record = SessionRecord {
            id,
            customer: self.customer.clone(),
            email,
            persona: login.persona.as_str().into(),
            created: wall,
            revision: Revision::FIRST,
            phase: Phase::admitted(self.deadline),
        };
        let data = SessionData::Inline(self.data.clone());
        (
            NewSession {
                record,
                data,
                token: hash,
                origin: Some(self.peer.client),
                key: self.key,
                account: self.account,
            },
            token,
        )
    }
}

/// The token that the first answer to this call had. Later ones may have driven it out of a live session: then it is
/// made valid again, so that whoever repeats the call can go on.
async fn repeat_token(app: &App, session: SessionId, key: &CreationKey) -> Result<String, Refusal> {
    let (token, hash) = token_of_call(app, session, key);
    let stored = app.store.session(session).await?;
    if stored.is_some_and(|stored| stored.record.phase.is_live() && !stored.knows(&hash)) {
        match app.store.add_token(session, hash).await {
            // It has ended since.
            Ok(()) | Err(StoreError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(token)
}

fn token_of_call(app: &App, session: SessionId, key: &CreationKey) -> (String, TokenHash) {
    let token_key = &app.store.desk().token_key;
    token_key.issue(session, &token_key.repeatable_secret(session, &key.key))
}
