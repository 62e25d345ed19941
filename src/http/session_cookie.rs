//! The cookie by which a browser follows a session: an `EventSource` can send no `Authorization` header, and connects
//! again to the same address, so that a ticket in it would not do.
//!
//! A page of this server asks for it with a session's token. Its value is made of that token and ends with it, but is
//! no token itself: it reads the session's events and does nothing else. One cookie holds those of the [`MOST`] sessions
//! that the browser asked for last, so that two tabs may follow two.

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::request::Parts;

use crate::id::SessionId;
use crate::store::Stored;
use crate::token::{Followed, TokenHash};

use super::App;
use super::auth::Peer;
use super::caller;
use super::cookie::{Keep, SESSION};
use super::error::Refusal;

/// Of how many sessions one cookie holds a value.
const MOST: usize = 4;
/// Stands between the values.
const SEPARATOR: char = '.';

impl App {
    /// The session with this id and the token that the cookie of a page of ours stands for; None if it stands for none.
    ///
    /// # Errors
    /// [`Refusal::CrossSite`] for a cookie that another site's page has sent, [`Refusal::UnknownHost`], or what the store
    /// failed with.
    pub(super) async fn followed(
        &self,
        parts: &Parts,
        peer: Peer,
        id: SessionId,
    ) -> Result<Option<(Arc<Stored>, TokenHash)>, Refusal> {
        let Some((_, shown)) = values(self, parts, peer).find(|(_, followed)| followed.session == id) else {
            return Ok(None);
        };
        if caller::is_cross_site(parts) {
            return Err(Refusal::CrossSite);
        }
        if !self.is_our_host(peer, parts) {
            return Err(Refusal::UnknownHost);
        }
        let Some(stored) = self.store.session(id).await? else { return Ok(None) };
        let key = &self.store.desk().token_key;
        let token = stored.tokens.iter().find(|token| key.follows(&shown, token)).copied();
        Ok(token.map(|token| (stored, token)))
    }
}

/// The cookie with which a browser follows this session as well, as long as this token of it is valid.
pub(super) fn following(app: &App, parts: &Parts, peer: Peer, id: SessionId, token: &TokenHash) -> HeaderValue {
    let own = app.store.desk().token_key.follow(id, token);
    let others = values(app, parts, peer).filter(|(_, followed)| followed.session != id).map(|(text, _)| text);
    set(peer, std::iter::once(own.as_str()).chain(others))
}

/// The cookie with which a browser no longer follows this session.
pub(super) fn leaving(app: &App, parts: &Parts, peer: Peer, id: SessionId) -> HeaderValue {
    let others = values(app, parts, peer).filter(|(_, followed)| followed.session != id).map(|(text, _)| text);
    set(peer, others)
}

fn set<'a>(peer: Peer, values: impl Iterator<Item = &'a str>) -> HeaderValue {
    let value = values.take(MOST).collect::<Vec<_>>().join(&SEPARATOR.to_string());
    if value.is_empty() { SESSION.end(peer) } else { SESSION.set(peer, &value, Keep::UntilClosed) }
}

/// What the cookie holds, as far as this desk may have made it.
fn values<'a>(app: &'a App, parts: &'a Parts, peer: Peer) -> impl Iterator<Item = (&'a str, Followed)> {
    let key = &app.store.desk().token_key;
    let cookie = SESSION.read(&parts.headers, peer).unwrap_or_default();
    cookie.split(SEPARATOR).take(MOST).filter_map(move |text| Some((text, key.read_followed(text)?)))
}
