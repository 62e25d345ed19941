//! Who may make a call: from where it may come without a token, and whether a token is good.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN, VIA};
use axum::http::request::Parts;
use axum::http::uri::Authority;

use crate::credential::throttle::Sender;
use crate::id::CustomerKey;
use crate::store::Stored;

use super::App;
use super::error::Refusal;

/// The two ends of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client's.
    pub remote: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

impl App {
    /// Where what a peer sends comes from, as the throttle counts it.
    pub fn sender(&self, peer: Peer) -> Sender {
        let address = peer.remote.ip();
        if self.config.behind_proxy { Sender::Proxy(address) } else { Sender::Address(address) }
    }

    /// Whether what a peer sends is encrypted on its way here: the proxy in front speaks TLS.
    pub fn is_encrypted(&self, _: Peer) -> bool {
        self.config.behind_proxy
    }

    /// Whether a call may be made without a token. The seed's initialise and status name only an email, so that they
    /// are answered to programs on this machine alone, and never to a browser that a page sent here or to a proxy that
    /// speaks for somebody else.
    pub fn is_tokenless(&self, peer: Peer, parts: &Parts) -> bool {
        self.config.admits_without_token(peer.remote.ip())
            && !comes_from_a_page(&parts.headers)
            && !was_forwarded(&parts.headers)
            && self.is_our_host(peer, &parts.headers)
            // A target in absolute form names the host in place of the header (RFC 9112, section 3.2.2).
            && parts.uri.authority().is_none_or(|authority| self.is_our_name(peer, authority.host()))
    }

    /// A page that rebinds its own name to this address still sends that name (DNS rebinding).
    fn is_our_host(&self, peer: Peer, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
        self.is_our_name(peer, authority.host())
    }

    fn is_our_name(&self, peer: Peer, host: &str) -> bool {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        match name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || address == peer.local.ip() || address == self.config.listen.ip(),
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.config.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }

    /// The session that a token opens. A wrong token and a missing session are one answer.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`], or what the store failed with.
    pub async fn session_of(&self, token: Option<&str>) -> Result<std::sync::Arc<Stored>, Refusal> {
        let claimed = token.and_then(|token| self.store.desk().token_key.read(token)).ok_or(Refusal::TokenRequired)?;
        let stored = self.store.session(claimed.session).await?.ok_or(Refusal::TokenRequired)?;
        if stored.knows(&claimed.hash) { Ok(stored) } else { Err(Refusal::TokenRequired) }
    }

    /// The session that a token opens, if it is that of the customer whom `email` names.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`], or what the store failed with.
    pub async fn session_of_customer(
        &self,
        token: Option<&str>,
        email: &str,
        key: &CustomerKey,
    ) -> Result<std::sync::Arc<Stored>, Refusal> {
        let stored = self.session_of(token).await?;
        // The sent form counts too: the key of an email changes when the credential server does.
        let is_owner = stored.record.customer == *key || stored.record.email() == email;
        if is_owner { Ok(stored) } else { Err(Refusal::TokenRequired) }
    }
}

/// The connection that a request came on.
pub fn peer(parts: &Parts) -> Peer {
    *parts.extensions.get().expect("the server notes the peer of every connection")
}

/// The token of an `Authorization: Bearer` header (RFC 6750, section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn comes_from_a_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    headers.contains_key(ORIGIN) || !matches!(site, None | Some(b"none" | b"same-origin"))
}

fn was_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        || headers.contains_key(VIA)
        || headers.contains_key("x-real-ip")
        || headers.keys().any(|name| name.as_str().starts_with("x-forwarded-"))
}
