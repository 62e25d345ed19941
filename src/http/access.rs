//! Who may make which call, decided in one place before any handler runs.

use std::sync::Arc;

use axum::http::request::Parts;

use crate::id::SessionId;
use crate::principal::{Principal, Scope};
use crate::store::{Action, StoreError, Stored};

use super::App;
use super::auth::Peer;
use super::caller::{Caller, Shown};
use super::error::Refusal;
use super::routes::Route;

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Anyone,
    /// Whoever sends a customer's password; the handler checks it.
    Password,
    /// Programs on this machine, and the session's token from elsewhere; the handler checks it.
    LocalOrToken,
    /// The session's token alone, in a header or in the body; the handler checks it.
    Token,
    /// Whoever sends an operator's token in the body; the handler checks it.
    SignIn,
    /// Whoever is known: a session's token, or any operator.
    Known,
    /// The session's customer by its token, and operators with the scope.
    Session(Scope),
    /// The session's customer by its token, and no operator.
    OwnSession,
    /// Operators with the scope; of the session that the path names.
    OperatorOfSession(Scope),
    /// Every operator, whatever the scopes.
    AnyOperator,
    /// Operators with the scope.
    Operator(Scope),
    /// Operators with the scope, and programs on this machine without any token.
    OperatorOrLocal(Scope),
}

/// What a call is about and who makes it, once it is let in.
pub struct Admitted {
    /// Who calls.
    pub caller: Caller,
    /// The session that the path names, if it names one.
    session: Named,
}

/// The session that a path names.
enum Named {
    /// It names none.
    None,
    Stored(Arc<Stored>),
    /// Its record is damaged.
    SetAside(SessionId),
}

impl Admitted {
    /// The session that the path names.
    ///
    /// # Errors
    /// [`Refusal::NoSuchSession`] on a path that names none, [`Refusal::SetAside`] if its record is damaged.
    pub fn session(&self) -> Result<&Arc<Stored>, Refusal> {
        match &self.session {
            Named::None => Err(Refusal::NoSuchSession),
            Named::Stored(stored) => Ok(stored),
            Named::SetAside(_) => Err(Refusal::SetAside),
        }
    }

    /// The session that the path names, if its record is damaged.
    pub fn set_aside(&self) -> Option<SessionId> {
        match self.session {
            Named::None | Named::Stored(_) => None,
            Named::SetAside(id) => Some(id),
        }
    }

    /// Whether an operator calls.
    pub fn is_operator(&self) -> bool {
        matches!(self.caller.principal, Principal::Operator(_))
    }
}

/// Lets a call in, or says why not.
///
/// # Errors
/// What the caller is refused with.
pub(super) async fn admit(app: &App, route: &Route, peer: Peer, parts: &Parts) -> Result<Admitted, Refusal> {
    let access = route.access;
    let (caller, own) = match access {
        // A page that has rebound its own name to this address is of this origin for the browser.
        Access::SignIn if !app.is_our_host(peer, parts) => return Err(Refusal::UnknownHost),
        Access::Anyone | Access::Password | Access::LocalOrToken | Access::Token | Access::SignIn => {
            let caller = Caller { principal: Principal::Nobody, peer, shown: Shown::Nothing };
            return Ok(Admitted { caller, session: Named::None });
        }
        Access::Known
        | Access::Session(_)
        | Access::OwnSession
        | Access::OperatorOfSession(_)
        | Access::AnyOperator
        | Access::Operator(_)
        | Access::OperatorOrLocal(_) => {
            let followed = if route.is_followed_by_cookie { named(route, parts) } else { None };
            let caller = app.caller(parts, peer, followed).await;
            caller.inspect_err(|refusal| {
                // Nobody is refused for having shown nothing.
                if *refusal == Refusal::TokenRequired {
                    app.audit_refused_call(&Principal::Nobody, Action::TokenRefused, peer, &call(parts));
                }
            })?
        }
    };
    let lacks = |scope| {
        app.audit_refused_call(&caller.principal, Action::ScopeRefused, peer, &call(parts));
        Err(Refusal::ScopeRequired(scope))
    };
    match (&caller.principal, access) {
        (Principal::Nobody | Principal::Session(_), Access::AnyOperator) => Err(Refusal::OperatorRequired),
        (Principal::Nobody, Access::OperatorOrLocal(_)) if is_local(app, peer, parts) => {
            Ok(Admitted { caller, session: Named::None })
        }
        (Principal::Nobody, _) | (Principal::Operator(_), Access::OwnSession) => Err(Refusal::TokenRequired),
        (
            Principal::Operator(operator),
            Access::Session(scope)
            | Access::OperatorOfSession(scope)
            | Access::Operator(scope)
            | Access::OperatorOrLocal(scope),
        ) if !operator.may(scope) => lacks(scope),
        (
            Principal::Session(_),
            Access::OperatorOfSession(scope) | Access::Operator(scope) | Access::OperatorOrLocal(scope),
        ) => lacks(scope),
        (principal, Access::Session(_) | Access::OwnSession | Access::OperatorOfSession(_)) => {
            let named = named(route, parts);
            // Somebody else's session is not looked for, so that it takes no longer than one that is not there.
            let named = named.filter(|id| !matches!(principal, Principal::Session(own) if own != id));
            let named = named.ok_or(Refusal::NoSuchSession)?;
            // Who shows a session's token names that very session here.
            let stored = if own.is_some() { Ok(own) } else { app.store.session(named).await };
            let session = match stored {
                // An operator may give it up.
                Err(StoreError::SetAside(_)) => Named::SetAside(named),
                stored => Named::Stored(stored?.ok_or(Refusal::NoSuchSession)?),
            };
            Ok(Admitted { session, caller })
        }
        (Principal::Session(_) | Principal::Operator(_), _) => Ok(Admitted { caller, session: Named::None }),
    }
}

/// The session that the path names.
fn named(route: &Route, parts: &Parts) -> Option<SessionId> {
    route.part(parts.uri.path(), "id").and_then(|id| id.parse().ok())
}

/// Whether a program on this machine calls for itself. Networks that `seed_api.tokenless_from` lets in are not meant.
fn is_local(app: &App, peer: Peer, parts: &Parts) -> bool {
    peer.ends.is_some_and(|ends| ends.remote.ip().to_canonical().is_loopback()) && app.is_tokenless(peer, parts)
}

/// What was called, in the words of the audit.
fn call(parts: &Parts) -> String {
    format!("{} {}", parts.method, parts.uri.path())
}
