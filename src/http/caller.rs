//! Who calls: the principal behind a request's token or cookie.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, Uri};

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::principal::{Operator, OperatorTokenId, Principal};
use crate::store::{ConsoleSession, OperatorToken, Stored};
use crate::token::TokenHash;

use super::App;
use super::auth::{Peer, bearer};
use super::cookie::CONSOLE;
use super::error::Refusal;

/// Who made a request, and from where.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// The connection.
    pub peer: Peer,
    /// By what that is known.
    pub shown: Shown,
}

/// What a caller has shown, as far as it takes to see whether it is still good.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A token of this session.
    SessionToken(SessionId, TokenHash),
    /// This operator's token.
    OperatorToken(OperatorTokenId),
    /// The console's cookie with this secret.
    Cookie(TokenHash),
}

impl App {
    /// Finds out who calls, and which session it is if its token was shown. A token goes before a cookie; one that is
    /// good for nothing is refused even where none is needed, so that nobody goes on with a stale one. `followed` is the
    /// session that the call reads, if the cookie of a browser that follows it may do that. Such a cookie goes before the
    /// console's: a sign-in there that has ended must not keep a customer out.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`] for a token or a cookie that opens nothing, [`Refusal::CrossSite`] for a cookie that
    /// another site's page has sent, or what the store failed with.
    pub async fn caller(
        &self,
        parts: &Parts,
        peer: Peer,
        followed: Option<SessionId>,
    ) -> Result<(Caller, Option<Arc<Stored>>), Refusal> {
        if let (None, Some(id)) = (bearer(&parts.headers), followed)
            && let Some((stored, token)) = self.followed(parts, peer, id).await?
        {
            let shown = Shown::SessionToken(id, token);
            return Ok((Caller { principal: Principal::Session(id), peer, shown }, Some(stored)));
        }
        let mut own = None;
        // Without a console its cookie is as good as none.
        let cookie = CONSOLE.read(&parts.headers, peer).filter(|_| self.config().console.enabled);
        let (principal, shown) = match (bearer(&parts.headers), cookie) {
            (Some(token), _) if self.store.desk().token_key.read_operator(token).is_some() => {
                let operator = self.operator_of(token).await?;
                let shown = Shown::OperatorToken(operator.token);
                (Principal::Operator(operator), shown)
            }
            (Some(token), _) => {
                let claimed = self.store.desk().token_key.read(token).ok_or(Refusal::TokenRequired)?;
                own = Some(self.session_by(&claimed).await?);
                let id = claimed.session;
                (Principal::Session(id), Shown::SessionToken(id, claimed.hash))
            }
            (None, Some(secret)) => {
                if !may_use_cookie(parts) {
                    return Err(Refusal::CrossSite);
                }
                if !self.is_our_host(peer, parts) {
                    return Err(Refusal::UnknownHost);
                }
                let hash = TokenHash::of(secret.as_bytes());
                (Principal::Operator(self.operator_at_console(hash, is_attended(parts)).await?), Shown::Cookie(hash))
            }
            (None, None) => (Principal::Nobody, Shown::Nothing),
        };
        Ok((Caller { principal, peer, shown }, own))
    }

    /// Whether what a caller has shown is still good. To look is no use of it.
    ///
    /// # Errors
    /// What the store failed with.
    pub async fn is_still_known(&self, caller: &Caller) -> Result<bool, Refusal> {
        match caller.shown {
            Shown::Nothing => Ok(true),
            Shown::SessionToken(id, hash) => {
                Ok(self.store.session(id).await?.is_some_and(|stored| stored.knows(&hash)))
            }
            Shown::OperatorToken(id) => {
                let token = self.store.operator_token(id).await?;
                Ok(token.is_some_and(|token| token.is_valid(self.clock.wall())))
            }
            Shown::Cookie(hash) => match self.signed_in(hash).await {
                Ok(_) => Ok(true),
                Err(Refusal::TokenRequired) => Ok(false),
                Err(refusal) => Err(refusal),
            },
        }
    }

    /// The operator whose token this is.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`], or what the store failed with.
    pub async fn operator_of(&self, token: &str) -> Result<Operator, Refusal> {
        let claimed = self.store.desk().token_key.read_operator(token).ok_or(Refusal::TokenRequired)?;
        let stored = self.store.operator_token(claimed.token).await?.ok_or(Refusal::TokenRequired)?;
        let knows = stored.hash.matches(&claimed.hash);
        if knows && stored.is_valid(self.clock.wall()) { Ok(operator(stored)) } else { Err(Refusal::TokenRequired) }
    }

    /// The operator who has signed in at the console, seen again now if somebody is there.
    async fn operator_at_console(&self, secret: TokenHash, is_attended: bool) -> Result<Operator, Refusal> {
        let (session, operator) = self.signed_in(secret).await?;
        let now = self.clock.now();
        if is_attended && is_stale(session.seen, now, self.config().console.idle_timeout) {
            self.store.saw_console_session(session.secret, now).await?;
        }
        Ok(operator)
    }

    /// The session at the console that the cookie with this secret opens, and whose it is.
    ///
    /// # Errors
    /// [`Refusal::TokenRequired`], or what the store failed with.
    pub async fn signed_in(&self, secret: TokenHash) -> Result<(ConsoleSession, Operator), Refusal> {
        let session = self.store.console_session(secret).await?.ok_or(Refusal::TokenRequired)?;
        let now = self.clock.now();
        if !self.config().console.is_open(session.opened, session.seen, now) {
            self.store.end_console_session(secret).await?;
            return Err(Refusal::TokenRequired);
        }
        let token = self.store.operator_token(session.token).await?.ok_or(Refusal::TokenRequired)?;
        if !token.is_valid(self.clock.wall()) {
            return Err(Refusal::TokenRequired);
        }
        Ok((session, operator(token)))
    }
}

/// Whether a call shows that somebody is there. A page of the console looks at itself again and follows streams all by
/// itself; it says so, and a stream can't be anything else.
fn is_attended(parts: &Parts) -> bool {
    let accepts = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes);
    let follows = parts.method == Method::GET && accepts == Some(b"text/event-stream");
    !follows && !parts.headers.contains_key("x-frontdesk-unattended")
}

/// That somebody is there is written down once a minute, not with every click; more often only if that would be too
/// late.
fn is_stale(seen: Timestamp, now: Timestamp, idle_timeout: Duration) -> bool {
    const BETWEEN_NOTES: Duration = Duration::from_secs(60);
    now.saturating_since(seen) >= BETWEEN_NOTES.min(idle_timeout / 10)
}

fn operator(token: OperatorToken) -> Operator {
    Operator { token: token.id, name: token.name, scopes: token.scopes }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether the console's cookie counts. What changes something must come from a page of ours. What only reads may come
/// from no page at all, from an older browser, or from somebody who followed a link; a script of another port of this
/// host, whose calls carry the cookie, reads nothing and holds no stream open.
fn may_use_cookie(parts: &Parts) -> bool {
    if !is_safe(&parts.method) {
        return is_same_origin(parts);
    }
    let sent = |name| parts.headers.get(name).map(HeaderValue::as_bytes);
    let is_linked = matches!(sent("sec-fetch-site"), Some(b"none")) || sent("sec-fetch-mode") == Some(b"navigate");
    is_linked || !is_cross_site(parts)
}

/// Whether a page sent this that is none of ours. Programs say nothing of pages.
pub fn is_cross_site(parts: &Parts) -> bool {
    let is_of_a_page = parts.headers.contains_key("sec-fetch-site") || parts.headers.contains_key(ORIGIN);
    is_of_a_page && !is_same_origin(parts)
}

/// Whether a page of ours sent this: a browser says so, and a program does not.
pub fn is_of_our_page(parts: &Parts) -> bool {
    is_same_origin(parts)
}

/// Whether the page that sent this is one of ours. Browsers say so themselves; older ones name only the origin.
fn is_same_origin(parts: &Parts) -> bool {
    if let Some(site) = parts.headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = parts.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()?.parse::<Uri>().ok());
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let host = host.or_else(|| parts.uri.authority().cloned());
    matches!((origin.as_ref().and_then(Uri::authority), &host), (Some(origin), Some(host)) if origin == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(headers: &[(&str, &str)]) -> Parts {
        let mut request = axum::http::Request::post("/v1/console/session");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_page_of_this_very_server_may_use_its_cookie() {
        for (headers, may) in [
            (&[("host", "desk:5500"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("host", "desk:5500"), ("sec-fetch-site", "same-site"), ("origin", "http://desk:5500")], false),
            (&[("host", "desk:5500"), ("sec-fetch-site", "none")], false),
            (&[("host", "desk:5500"), ("origin", "http://desk:5500")], true),
            (&[("host", "desk:5500"), ("origin", "http://desk:5501")], false),
            (&[("host", "desk:5500"), ("origin", "null")], false),
            (&[("host", "desk:5500")], false),
            (&[], false),
        ] {
            assert_eq!(is_same_origin(&sent(headers)), may, "{headers:?}");
            // Who names no page may sign in, but has no cookie to use.
            assert_eq!(is_cross_site(&sent(headers)), !may && headers.len() > 1, "{headers:?}");
        }
    }

    #[test]
    fn what_reads_may_use_the_cookie_unless_a_script_of_another_origin_sends_it() {
        for (headers, may) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate")], true),
            (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://localhost:9999"), ("host", "localhost:5500")], false),
            (&[("origin", "http://localhost:5500"), ("host", "localhost:5500")], true),
        ] {
            let mut parts = sent(headers);
            parts.method = Method::GET;
            assert_eq!(may_use_cookie(&parts), may, "{headers:?}");
        }
    }

    #[test]
    fn who_is_seen_is_noted_in_time() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let hour = Duration::from_hours(1);
        assert!(!is_stale(at(0), at(59), hour) && is_stale(at(0), at(60), hour));
        assert!(!is_stale(at(0), at(1), hour / 60) && is_stale(at(0), at(6), hour / 60));
    }
}
