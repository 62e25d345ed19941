//! Who may make a call: from where it may come without a token, and whether a token is good.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN, VIA};
use axum::http::request::Parts;
use axum::http::uri::Authority;

use crate::agent;
use crate::credential::throttle::Sender;
use crate::id::CustomerKey;
use crate::store::Stored;
use crate::token::Claimed;

use super::error::Refusal;
use super::{App, local_user};

/// Who a request came from, and on which connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The two ends of the connection; nothing if that is a Unix socket's, which have no addresses.
    pub ends: Option<Ends>,
    /// The client's address as far as trusted proxies tell, never an IPv4-mapped one; loopback if a proxy at the Unix
    /// socket does not tell.
    pub client: IpAddr,
    /// Whether `client` is a proxy's address: the customer's own is not known.
    pub is_proxy: bool,
    /// Whether the client's request was encrypted on its way.
    pub is_secure: bool,
}

/// The two ends of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client's, or the last proxy's.
    pub remote: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

impl Peer {
    /// Where what this peer sends comes from, as the throttle counts it.
    pub fn sender(&self) -> Sender {
        if self.is_proxy { Sender::proxy(self.client) } else { Sender::address(self.client) }
    }
}

/// An IPv4 address as it is, and an IPv6 address by its /64, which is what one customer gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl App {
    /// Whether a call may be made without a token. The seed's initialise and status name only an email, so that they
    /// are answered to programs on this machine alone, and never to a browser that a page sent here or to a proxy that
    /// speaks for somebody else.
    pub fn is_tokenless(&self, peer: Peer, parts: &Parts) -> bool {
        peer.ends.is_some_and(|ends| self.config().admits_without_token(ends.remote.ip()))
            && !comes_from_a_page(&parts.headers)
            && !was_forwarded(&parts.headers)
            && self.is_our_host(peer, parts)
            && peer.ends.is_some_and(|ends| !self.is_an_agents(ends))
    }

    /// Whether an agent with a user of its own may have made a connection. The kernel is asked only where agents have
    /// one. A program on this machine that has closed its end is not told from an agent.
    fn is_an_agents(&self, ends: Ends) -> bool {
        let users = agent::users(&self.config());
        if users.is_empty() {
            return false;
        }
        let is_from_here = ends.remote.ip().to_canonical().is_loopback() || ends.remote.ip() == ends.local.ip();
        match local_user::owner(ends) {
            Ok(Some(owner)) => users.iter().any(|range| range.contains(&owner)),
            Ok(None) => is_from_here,
            Err(error) => {
                tracing::warn!(error = %error, "the kernel does not tell who has connected; the call needs a token");
                true
            }
        }
    }

    /// A page that rebinds its own name to this address still sends that name (DNS rebinding).
    /// A target in absolute form, as every one of HTTP/2 is, names the host as the header does, or in its place (RFC
    /// 9112, section 3.2.2; RFC 9113, section 8.3.1).
    pub(super) fn is_our_host(&self, peer: Peer, parts: &Parts) -> bool {
        let target = parts.uri.authority();
        let is_ours = |authority: &Authority| self.is_our_name(peer, authority.host());
        let mut hosts = parts.headers.get_all(HOST).iter();
        let is_our_header = match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                host.to_str().ok().and_then(|host| host.parse().ok()).is_some_and(|host| is_ours(&host))
            }
            (None, None) => target.is_some(),
            (Some(_) | None, Some(_)) => false,
        };
        is_our_header && target.is_none_or(is_ours)
    }

    fn is_our_name(&self, peer: Peer, host: &str) -> bool {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        match name.parse::<IpAddr>() {
            Ok(address) => {
                let listen = self.config().listen.tcp();
                address.is_loopback()
                    || peer.ends.is_some_and(|ends| ends.local.ip() == address)
                    || listen.is_some_and(|listen| listen.ip() == address)
            }
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || self.config().hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
            }
        }
    }

    /// The session that a token opens. A wrong token and a missing session are one answer.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`], or what the store failed with.
    pub async fn session_of(&self, token: Option<&str>) -> Result<std::sync::Arc<Stored>, Refusal> {
        let claimed = token.and_then(|token| self.store.desk().token_key.read(token)).ok_or(Refusal::TokenRequired)?;
        self.session_by(&claimed).await
    }

    /// The same by a token that was read.
    ///
    /// # Errors
    /// As [`App::session_of`].
    pub async fn session_by(&self, claimed: &Claimed) -> Result<std::sync::Arc<Stored>, Refusal> {
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
