//! Who a request comes from when proxies have passed it on: `Forwarded` (RFC 7239), and the older `X-Forwarded-For` and
//! `X-Forwarded-Proto`.
//!
//! Only a proxy that the configuration trusts is believed: by its address, by a secret that it sends along, or because it
//! came over the Unix socket, which the permissions of a file guard. Each proxy appends whom it got the request from, so that the
//! header is read from its end: as long as the address found there is a trusted proxy's, that one wrote what stands
//! before it. What a client has written itself stands further to the left and is never reached; and however it is
//! written, it cannot change how what stands to its right is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::header::{FORWARDED, GetAll};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{Config, Network};

use super::auth::{Ends, Peer};

pub mod secret;

use secret::Secret;

/// Which proxies stand in front of the server.
#[derive(Clone, Debug)]
pub struct Proxies {
    trusted: Vec<Network>,
    /// What a proxy has to send along, and in which header.
    secret: Option<(HeaderName, Secret)>,
    /// Everybody comes through a proxy of which nothing more is known.
    hide_everybody: bool,
    /// The proxies take nothing that is not encrypted.
    encrypt: bool,
}

impl Proxies {
    /// What the configuration says of them, with the secret that its file holds.
    pub fn new(config: &Config, secret: Option<Secret>) -> Self {
        let secret = secret.map(|secret| (secret::header(&config.proxy_secret), secret));
        let hide_everybody = config.behind_proxy && config.trusted_proxies.is_empty() && secret.is_none();
        Self { trusted: config.trusted_proxies.clone(), secret, hide_everybody, encrypt: config.behind_proxy }
    }

    /// Who sent a request with these headers on a connection with these ends. Takes the secret out of the headers,
    /// whether or not it is good, so that nothing can pass it on or write it down.
    pub fn peer(&self, ends: Option<Ends>, is_encrypted: bool, headers: &mut HeaderMap) -> Peer {
        let is_proven = self.secret.as_ref().is_none_or(|(name, secret)| secret.is_taken_from(headers, name));
        // Whoever may write to the socket's file is a proxy on this machine.
        let address = ends.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ends| ends.remote.ip().to_canonical());
        let hop = if is_proven && (ends.is_none() || self.is_trusted_first(address)) {
            self.client(address, headers)
        } else {
            Hop { address, is_proxy: self.hide_everybody, is_secure: None }
        };
        let is_secure = hop.is_secure.unwrap_or(is_encrypted || self.encrypt);
        Peer { ends, client: hop.address, is_proxy: hop.is_proxy, is_secure }
    }

    /// Whether the proxy that has connected may speak for others. One that proves itself needs no address that is
    /// trusted, unless addresses are written out.
    fn is_trusted_first(&self, address: IpAddr) -> bool {
        self.trusts(address) || (self.secret.is_some() && self.trusted.is_empty())
    }

    /// Whether this address is a proxy's, so that many customers come from it.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.hide_everybody || self.trusts(address.to_canonical())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// A proxy writes one of the two kinds of header and may pass on what a client wrote into the other. If they tell
    /// of different clients, nobody knows which was forged, and the request counts as the proxy's own.
    fn client(&self, proxy: IpAddr, headers: &HeaderMap) -> Hop {
        let standard = headers.get_all(FORWARDED);
        let older = (headers.get_all("x-forwarded-for"), headers.get_all("x-forwarded-proto"));
        let by_standard = is_there(&standard).then(|| self.walk(proxy, elements(&standard, b'"').map(element)));
        let by_older = is_there(&older.0).then(|| self.walk(proxy, older_hops(&older.0, &older.1)));
        match (by_standard, by_older) {
            (Some(hop), Some(other)) if hop.address != other.address => {
                Hop { address: proxy, is_proxy: false, is_secure: None }
            }
            (Some(hop), _) | (None, Some(hop)) => hop,
            (None, None) => {
                let is_secure = elements(&older.1, NEVER).next().and_then(scheme);
                Hop { address: proxy, is_proxy: true, is_secure }
            }
        }
    }

    /// Goes from the nearest proxy towards the client, to the first address that is no trusted proxy's, or to the last
    /// that is known.
    fn walk(&self, proxy: IpAddr, hops: impl Iterator<Item = Claim>) -> Hop {
        let mut last = Hop { address: proxy, is_proxy: true, is_secure: None };
        for claim in hops {
            last.is_secure = claim.is_secure.or(last.is_secure);
            let Some(address) = claim.address else { return last };
            last = Hop { address, is_proxy: self.trusts(address), is_secure: last.is_secure };
            if !last.is_proxy {
                return last;
            }
        }
        last
    }
}

/// Where the way back to the client has led so far.
struct Hop {
    address: IpAddr,
    is_proxy: bool,
    is_secure: Option<bool>,
}

/// What one proxy says of the one before it.
#[derive(Default)]
struct Claim {
    /// Nothing if it is hidden, unknown or malformed.
    address: Option<IpAddr>,
    is_secure: Option<bool>,
}

type Lines<'a> = GetAll<'a, HeaderValue>;

/// Stands for no quotation mark: a header's value has no such byte.
const NEVER: u8 = 0;

fn is_there(lines: &Lines<'_>) -> bool {
    lines.iter().next().is_some()
}

/// The elements of a header's list, the last one first; those that are empty do not count (RFC 9110, section 5.6.1).
fn elements<'a>(lines: &Lines<'a>, quote: u8) -> impl Iterator<Item = &'a str> {
    lines
        .iter()
        .rev()
        .flat_map(move |line| {
            let mut is_quoted = false;
            line.as_bytes().rsplit(move |byte| {
                is_quoted ^= *byte == quote;
                *byte == b',' && !is_quoted
            })
        })
        // What is no text is no element that says anything, but it is one.
        .map(|bytes| std::str::from_utf8(bytes).unwrap_or("?").trim())
        .filter(|element| !element.is_empty())
}

/// `for=192.0.2.1;proto=https`
fn element(text: &str) -> Claim {
    let mut claim = Claim::default();
    for pair in text.split(';') {
        let Some((name, value)) = pair.split_once('=') else { return Claim::default() };
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let name = name.trim();
        if name.eq_ignore_ascii_case("for") {
            claim.address = address(value);
        } else if name.eq_ignore_ascii_case("proto") {
            claim.is_secure = scheme(value);
        }
    }
    claim
}

/// The schemes stand beside the addresses if there are as many, else there is one for all.
fn older_hops<'a>(addresses: &Lines<'a>, schemes: &Lines<'a>) -> impl Iterator<Item = Claim> {
    let schemes: Vec<_> = elements(schemes, NEVER).map(scheme).collect();
    let for_all = if schemes.len() == elements(addresses, NEVER).count() { None } else { schemes.first().copied() };
    elements(addresses, NEVER).enumerate().map(move |(place, text)| Claim {
        address: address(text),
        is_secure: for_all.or_else(|| schemes.get(place).copied()).flatten(),
    })
}

fn scheme(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("https") => Some(true),
        _ if text.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::from(address.parse::<Ipv6Addr>().ok()?), port)
        }
        None => {
            let colon = text.find(':')?;
            (IpAddr::from(text[..colon].parse::<Ipv4Addr>().ok()?), &text[colon..])
        }
    };
    // A port may be hidden behind a name (RFC 7239, section 6).
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let is_good = port.is_empty() || port.strip_prefix(':').is_some_and(|port| !port.is_empty() && is_port(port));
    is_good.then(|| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn proxies(behind_proxy: bool, trusted: &[&str]) -> Proxies {
        let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Proxies::new(&Config { behind_proxy, trusted_proxies, ..Config::default() }, None)
    }

    fn peer(proxies: &Proxies, remote: &str, headers: &[(&'static str, &str)]) -> Peer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let remote = SocketAddr::new(remote.parse().unwrap(), 40_000);
        proxies.peer(Some(Ends { remote, local: "10.9.9.9:443".parse().unwrap() }), false, &mut map)
    }

    fn seen(remote: &str, headers: &[(&'static str, &str)]) -> (String, bool, bool) {
        let peer = peer(&proxies(false, &["10.0.0.0/8", "::1/128"]), remote, headers);
        (peer.client.to_string(), peer.is_proxy, peer.is_secure)
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        for name in ["forwarded", "x-forwarded-for"] {
            for value in ["for=192.0.2.1;proto=https", "192.0.2.1"] {
                let headers = [(name, value), ("x-forwarded-proto", "https")];
                assert_eq!(seen("203.0.113.7", &headers), ("203.0.113.7".into(), false, false));
            }
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxys() {
        for (forwarded, client, is_proxy) in [
            ("for=192.0.2.1", "192.0.2.1", false),
            ("For=\"192.0.2.1:4711\"", "192.0.2.1", false),
            ("for=192.0.2.1:_port", "192.0.2.1", false),
            ("for=\"[2001:db8::1]\"", "2001:db8::1", false),
            ("for=\"[2001:db8::1]:80\" ; proto=http", "2001:db8::1", false),
            ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1", false),
            ("for=198.51.100.1, for=192.0.2.1", "192.0.2.1", false),
            ("for=192.0.2.1,for=10.1.1.1 ,, for=\"[::1]\"", "192.0.2.1", false),
            ("for=10.1.1.1", "10.1.1.1", true),
            // From here on, no address is known behind the last good one.
            ("for=192.0.2.1, for=unknown", PROXY, true),
            ("for=192.0.2.1, for=_hidden, for=10.1.1.1", "10.1.1.1", true),
            ("for=192.0.2.1, by=10.0.0.1", PROXY, true),
            ("for=192.0.2.1, nonsense", PROXY, true),
            ("for=192.0.2.1, for=192.0.2.300", PROXY, true),
            ("for=192.0.2.1, for=\"[2001:db8::1\"", PROXY, true),
            ("for=192.0.2.1, for=192.0.2.1:", PROXY, true),
            ("", PROXY, true),
            // A client cannot hide what the proxy appends.
            ("for=\", for=192.0.2.1", "192.0.2.1", false),
            ("for=\"\\\", for=192.0.2.1", "192.0.2.1", false),
            ("host=\"a,b\", for=192.0.2.1;host=\"c,d\"", "192.0.2.1", false),
            ("ä, for=192.0.2.1", "192.0.2.1", false),
        ] {
            assert_eq!(seen(PROXY, &[("forwarded", forwarded)]), (client.into(), is_proxy, false), "{forwarded}");
        }
    }

    #[test]
    fn the_older_headers_are_read_in_the_same_way() {
        for (forwarded, client, is_proxy) in [
            ("192.0.2.1", "192.0.2.1", false),
            ("198.51.100.1, 192.0.2.1:80,10.1.1.1", "192.0.2.1", false),
            ("2001:db8::1", "2001:db8::1", false),
            ("192.0.2.1, unknown", PROXY, true),
            ("\", 192.0.2.1", "192.0.2.1", false),
            ("", PROXY, true),
        ] {
            assert_eq!(seen(PROXY, &[("x-forwarded-for", forwarded)]), (client.into(), is_proxy, false), "{forwarded}");
        }
        let lines = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(seen(PROXY, &lines), ("192.0.2.1".into(), false, false));
        assert_eq!(seen(PROXY, &[]), (PROXY.into(), true, false));
    }

    #[test]
    fn two_headers_that_tell_of_different_clients_count_as_the_proxys_own() {
        let of_two = |forwarded| seen(PROXY, &[("forwarded", forwarded), ("x-forwarded-for", "192.0.2.1")]);
        assert_eq!(of_two("for=192.0.2.1"), ("192.0.2.1".into(), false, false));
        for forged in ["for=198.51.100.1", "for=10.1.1.1", "nonsense", ""] {
            assert_eq!(of_two(forged), (PROXY.into(), false, false), "{forged}");
        }
    }

    #[test]
    fn the_scheme_is_the_one_of_the_clients_own_connection() {
        for (headers, is_secure) in [
            (&[("forwarded", "for=192.0.2.1;proto=HTTPS")][..], true),
            (&[("forwarded", "for=192.0.2.1;proto=https, for=10.1.1.1;proto=http")], true),
            (&[("forwarded", "for=192.0.2.1;proto=http, for=10.1.1.1;proto=https")], false),
            (&[("forwarded", "for=192.0.2.1, for=10.1.1.1;proto=https")], true),
            (&[("forwarded", "for=198.51.100.1;proto=https, for=192.0.2.1;proto=http")], false),
            (&[("forwarded", "for=unknown;proto=https")], true),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-for", "192.0.2.1, 10.1.1.1"), ("x-forwarded-proto", "https, http")], true),
            (&[("x-forwarded-for", "192.0.2.1, 10.1.1.1"), ("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https, http")], false),
            (&[("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "ftp")], false),
        ] {
            assert_eq!(seen(PROXY, headers).2, is_secure, "{headers:?}");
        }
    }

    #[test]
    fn behind_a_proxy_that_nobody_named_everybody_is_a_proxy_and_comes_encrypted() {
        let peer = peer(&proxies(true, &[]), "203.0.113.7", &[("x-forwarded-for", "192.0.2.1")]);
        assert_eq!((peer.client.to_string().as_str(), peer.is_proxy, peer.is_secure), ("203.0.113.7", true, true));
    }

    #[test]
    fn who_goes_around_the_named_proxy_comes_from_an_address_of_his_own() {
        let named = proxies(true, &["10.0.0.0/8"]);
        assert!(!peer(&named, "203.0.113.7", &[]).is_proxy);
        assert!(named.is_proxy("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!named.is_proxy("203.0.113.7".parse().unwrap()));
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn proving(trusted: &[&str]) -> Proxies {
        let trusted_proxies = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let config = Config { behind_proxy: true, trusted_proxies, ..Config::default() };
        Proxies::new(&config, Some(Secret::of(SECRET.as_bytes())))
    }

    #[test]
    fn a_proxy_that_sends_the_secret_is_believed_and_others_come_from_their_own_address() {
        let client = |proxies: &Proxies, remote, secrets: &[&str]| {
            let mut headers = vec![("forwarded", "for=192.0.2.1")];
            headers.extend(secrets.iter().map(|secret| ("x-frontdesk-proxy", *secret)));
            let peer = peer(proxies, remote, &headers);
            (peer.client.to_string(), peer.is_proxy)
        };
        let (believed, own) = (("192.0.2.1".to_owned(), false), ("127.0.0.1".to_owned(), false));
        assert_eq!(client(&proving(&[]), "127.0.0.1", &[SECRET]), believed);
        for wrong in
            [&[][..], &[""], &["0123"], &["0123456789abcdef0123456789abcdeg"], &[SECRET, SECRET], &["x", SECRET]]
        {
            assert_eq!(client(&proving(&[]), "127.0.0.1", wrong), own, "{wrong:?}");
        }
        // With addresses both have to be good.
        assert_eq!(client(&proving(&["127.0.0.1"]), "127.0.0.1", &[SECRET]), believed);
        assert_eq!(client(&proving(&["127.0.0.1"]), "127.0.0.1", &[]), own);
        assert_eq!(client(&proving(&["10.0.0.1"]), "127.0.0.1", &[SECRET]), own);
    }

    #[test]
    fn the_secret_is_taken_out_of_the_request_whether_or_not_it_is_good() {
        for secret in [SECRET, "wrong"] {
            let mut headers = HeaderMap::new();
            headers.append("x-frontdesk-proxy", HeaderValue::from_str(secret).unwrap());
            headers.append("x-frontdesk-proxy", HeaderValue::from_str(secret).unwrap());
            proving(&[]).peer(None, false, &mut headers);
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn over_the_unix_socket_a_proxy_is_believed_and_is_loopback_if_it_does_not_tell() {
        let client = |forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", HeaderValue::from_str(forwarded).unwrap());
            let peer = proxies(false, &[]).peer(None, false, &mut headers);
            (peer.client.to_string(), peer.is_proxy)
        };
        assert_eq!(client("198.51.100.1, 192.0.2.1"), ("192.0.2.1".to_owned(), false));
        for hidden in ["", "unix:", "192.0.2.1, unix:"] {
            assert_eq!(client(hidden), ("127.0.0.1".to_owned(), true), "{hidden}");
        }
    }
}
