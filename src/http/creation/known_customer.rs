//! What a caller shows beside the password to prove that they are no stranger, and what a browser is given to show it
//! next time.

use axum::http::HeaderValue;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::response::Response;

use crate::credential::device::{DeviceKey, LIFETIME};
use crate::credential::throttle::Proof;
use crate::http::App;
use crate::http::auth::{Peer, bearer};
use crate::http::caller;
use crate::http::cookie::{DEVICE, Keep};
use crate::http::error::Refusal;
use crate::id::CustomerKey;

/// What came with the password. None of it is needed, and none of it is refused.
pub struct Shown {
    /// The session's token.
    token: Option<String>,
    /// The device cookie of a page of ours; nothing if another site's page sends it.
    device: Option<String>,
    /// Whether a page of ours sends it, whose browser keeps a device cookie.
    is_our_page: bool,
}

impl Shown {
    /// What a request shows.
    pub fn new(parts: &Parts, peer: Peer) -> Self {
        let is_our_page = caller::is_of_our_page(parts);
        let device = DEVICE.read(&parts.headers, peer).filter(|_| is_our_page).map(str::to_owned);
        Self { token: bearer(&parts.headers).map(str::to_owned), device, is_our_page }
    }

    /// The proof that it holds for this very customer: a device cookie, or the token of its live session.
    ///
    /// # Errors
    /// What the store failed with.
    pub async fn proof(&self, app: &App, customer: &CustomerKey) -> Result<Option<Proof>, Refusal> {
        if self.device.is_some()
            && let Some(proof) = device_key(app).proof(self.device.as_deref(), customer.as_str(), app.clock.now())
        {
            return Ok(Some(proof));
        }
        let Some(claimed) = self.token.as_deref().and_then(|token| app.store.desk().token_key.read(token)) else {
            return Ok(None);
        };
        let stored = match app.session_by(&claimed).await {
            Ok(stored) => stored,
            Err(Refusal::TokenRequired) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        let record = &stored.record;
        let is_own = record.customer == *customer && record.phase.is_live();
        Ok(is_own.then_some(Proof(claimed.hash.0)))
    }

    /// Gives a browser the cookie that proves its device, after the password was good.
    pub fn remember_device(&self, app: &App, peer: Peer, customer: &CustomerKey, answer: &mut Response) {
        if self.is_our_page {
            let now = app.clock.now();
            let device = self.device.as_deref();
            let value = device_key(app).sign_in(device, customer.as_str(), &crate::random::bytes(), now);
            let header: HeaderValue = DEVICE.set(peer, &value, Keep::Seconds(LIFETIME.as_secs()));
            answer.headers_mut().append(SET_COOKIE, header);
        }
    }
}

fn device_key(app: &App) -> DeviceKey {
    DeviceKey::new(app.store.desk().token_key.device_key())
}
