//! `/v1/console/session`: an operator's sign-in at the console.
//!
//! The cookie holds 32 random bytes, of which the store keeps a hash; a new sign-in has new ones and ends the one before.
//! Scripts never see it, and other sites' pages never send it.

use axum::http::HeaderValue;

use super::super::auth::Peer;
use super::super::caller::{SECURE_COOKIE, cookie_name};

pub(in crate::http) mod sign_in;
pub(in crate::http) mod sign_out;
pub(in crate::http) mod who;

/// The cookie with this secret, until the browser is closed.
fn cookie(peer: Peer, secret: &str) -> HeaderValue {
    header(cookie_name(peer), secret, "")
}

/// The same without a secret, which takes it out of the browser.
fn no_cookie(peer: Peer) -> HeaderValue {
    header(cookie_name(peer), "", "; Max-Age=0")
}

fn header(name: &str, secret: &str, age: &str) -> HeaderValue {
    let secure = if name == SECURE_COOKIE { "; Secure" } else { "" };
    let text = format!("{name}={secret}; Path=/{secure}; HttpOnly; SameSite=Strict{age}");
    HeaderValue::from_str(&text).expect("base64url is a header's value")
}

#[cfg(test)]
mod tests {
    use super::super::super::caller::PLAIN_COOKIE;
    use super::*;

    #[test]
    fn the_cookie_is_bound_to_its_host_where_the_connection_is_encrypted() {
        assert_eq!(header(SECURE_COOKIE, "s", ""), "__Host-frontdesk=s; Path=/; Secure; HttpOnly; SameSite=Strict");
        assert_eq!(header(PLAIN_COOKIE, "s", ""), "frontdesk-console=s; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(
            header(PLAIN_COOKIE, "", "; Max-Age=0"),
            "frontdesk-console=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
}
