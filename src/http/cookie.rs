//! The cookies that this server sets. All are out of reach of scripts and of other sites' pages.
//!
//! Browsers share cookies between all ports of a host, and a page on another port may set some. Where the connection is
//! encrypted a cookie therefore has another name, whose prefix keeps it from being set without TLS or by other hosts,
//! and only that name counts there.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use super::auth::Peer;

/// A cookie of this server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name where the connection is encrypted. The prefix binds it to this very host (RFC 6265bis).
    pub secure: &'static str,
    /// Its name where it is not.
    pub plain: &'static str,
}

/// Signs an operator in at the console.
pub const CONSOLE: Cookie = Cookie { secure: "__Host-frontdesk", plain: "frontdesk-console" };
/// Proves that its browser has been used to sign in to an account.
pub const DEVICE: Cookie = Cookie { secure: "__Host-frontdesk-device", plain: "frontdesk-device" };
/// Lets its browser follow sessions.
pub const SESSION: Cookie = Cookie { secure: "__Host-frontdesk-session", plain: "frontdesk-session" };

/// How long a browser keeps a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Until it is closed.
    UntilClosed,
    /// For so many seconds.
    Seconds(u64),
    /// Not at all: it is taken out of the browser.
    Not,
}

impl Cookie {
    /// Its name on such a connection.
    pub fn name(self, peer: Peer) -> &'static str {
        if peer.is_secure { self.secure } else { self.plain }
    }

    /// What was sent in it.
    pub fn read(self, headers: &HeaderMap, peer: Peer) -> Option<&str> {
        value(self.name(peer), headers)
    }

    /// The header that sets it.
    pub fn set(self, peer: Peer, value: &str, keep: Keep) -> HeaderValue {
        let secure = if peer.is_secure { "; Secure" } else { "" };
        let age = match keep {
            Keep::UntilClosed => String::new(),
            Keep::Seconds(seconds) => format!("; Max-Age={seconds}"),
            Keep::Not => "; Max-Age=0".to_owned(),
        };
        let text = format!("{}={value}; Path=/{secure}; HttpOnly; SameSite=Strict{age}", self.name(peer));
        HeaderValue::from_str(&text).expect("base64url is a header's value")
    }

    /// The header that takes it out of the browser.
    pub fn end(self, peer: Peer) -> HeaderValue {
        self.set(peer, "", Keep::Not)
    }
}

fn value<'a>(wanted: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    let mut named = pairs.filter_map(|pair| pair.trim().split_once('='));
    named.find_map(|(name, value)| (name == wanted).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(is_secure: bool) -> Peer {
        Peer { ends: None, client: "192.0.2.1".parse().unwrap(), is_proxy: false, is_secure }
    }

    #[test]
    fn a_cookie_is_bound_to_its_host_where_the_connection_is_encrypted() {
        let set = |cookie: Cookie, is_secure, keep| cookie.set(peer(is_secure), "s", keep);
        for (is_secure, name, attributes) in [
            (true, "__Host-frontdesk", "Path=/; Secure; HttpOnly; SameSite=Strict"),
            (false, "frontdesk-console", "Path=/; HttpOnly; SameSite=Strict"),
        ] {
            assert_eq!(set(CONSOLE, is_secure, Keep::UntilClosed), format!("{name}=s; {attributes}"));
            assert_eq!(CONSOLE.end(peer(is_secure)), format!("{name}=; {attributes}; Max-Age=0"));
        }
        for cookie in [CONSOLE, DEVICE, SESSION] {
            assert!(cookie.name(peer(true)).starts_with("__Host-") && !cookie.name(peer(false)).starts_with("__"));
        }
        let kept = set(DEVICE, true, Keep::Seconds(60));
        assert_eq!(kept, "__Host-frontdesk-device=s; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60");
    }

    #[test]
    fn a_cookie_is_found_among_others_by_the_name_of_its_connection() {
        let headers = HeaderMap::from_iter([
            (COOKIE, HeaderValue::from_static("a=1; frontdesk-console=plain")),
            (COOKIE, HeaderValue::from_static("__Host-frontdesk=secure; b=2")),
        ]);
        assert_eq!(CONSOLE.read(&headers, peer(false)), Some("plain"));
        assert_eq!(CONSOLE.read(&headers, peer(true)), Some("secure"));
        assert_eq!(DEVICE.read(&headers, peer(true)), None);
    }
}
