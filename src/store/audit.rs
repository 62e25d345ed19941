//! Who did what to which session, from where: written once, never changed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::clock::WallTime;
use crate::id::{CustomerKey, SessionId};

use super::Answer;

/// Keeps the audit. The admission of a session needs no entry of its own: it is read out of the session's row, and
/// written as an entry when that row is deleted.
pub trait Audit: Send + Sync {
    /// Adds an entry.
    fn note(&self, entry: AuditEntry) -> Answer<'_, ()>;

    /// Up to `most` entries that match, the youngest first, the admissions of sessions among them.
    fn audit(&self, filter: AuditFilter, most: usize) -> Answer<'_, Vec<NumberedEntry>>;
}

/// One thing that somebody did, or tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: WallTime,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// To which session.
    pub session: Option<SessionId>,
    /// Whose, or to which customer.
    pub customer: Option<CustomerKey>,
    /// From which address; nothing for a command on this machine.
    pub from: Option<IpAddr>,
    /// More, in words; empty if there is nothing to add.
    pub detail: String,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A customer, by password or by a session's token.
    Customer,
    /// The operator's token of this name.
    Operator(String),
    /// Whoever may run commands as the server's own user.
    CommandLine,
    /// Somebody who did not prove who they are.
    Unknown,
}

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[doc = $doc])+ $name,)+ }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name, as the store and the interface spell it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The action with exactly this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|action| action.name() == name)
            }
        }
    };
}

actions! {
    /// A session was admitted.
    SessionCreated = "session.created",
    /// A creation that found it live was given a fresh token of it.
    SessionTokenIssued = "session.token_issued",
    /// An operator asked its agent.
    SessionRequested = "session.requested",
    /// Its agent's start was asked for, and begun.
    SessionInitialised = "session.initialised",
    /// Its data was replaced by somebody for the first time.
    SessionDataReplaced = "session.data_replaced",
    /// Another agent in place of its own was asked for.
    SessionRestarted = "session.restarted",
    /// Its stop was asked for.
    SessionStopped = "session.stopped",
    /// Its kill was asked for.
    SessionKilled = "session.killed",
    /// A customer was added.
    CustomerAdded = "customer.added",
    /// A customer's password was changed.
    PasswordChanged = "customer.password_changed",
    /// A customer was disabled.
    CustomerDisabled = "customer.disabled",
    /// A customer was enabled again.
    CustomerEnabled = "customer.enabled",
    /// A customer was removed.
    CustomerRemoved = "customer.removed",
    /// What had failed for a customer's account was forgiven.
    ThrottleCleared = "throttle.cleared",
    /// An operator's token was made.
    TokenMade = "token.made",
    /// An operator's token was revoked.
    TokenRevoked = "token.revoked",
    /// Somebody signed in at the console.
    SignedIn = "console.signed_in",
    /// Somebody signed out of the console.
    SignedOut = "console.signed_out",
    /// A customer's credentials were refused.
    CredentialsRefused = "credentials.refused",
    /// An attempt was not let through: too many had failed.
    CredentialsThrottled = "credentials.throttled",
    /// A token was shown that is good for nothing.
    TokenRefused = "token.refused",
    /// A caller lacked the scope for what it asked.
    ScopeRefused = "scope.refused",
    /// The server was asked to stop.
    ServerStopped = "server.stopped",
    /// The server was asked to take nothing new, or to take it again.
    ServerDrained = "server.drained",
    /// The server was asked to read its configuration again.
    ServerReloaded = "server.reloaded",
}

/// An entry with its place in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedEntry {
    /// Where the next page begins: pass it as [`AuditFilter::before`].
    pub cursor: AuditCursor,
    /// The entry.
    pub entry: AuditEntry,
}

/// A place in the audit: by time, then by what makes entries of one millisecond differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditCursor {
    /// Milliseconds of the Unix epoch.
    pub at: i64,
    /// Tells entries of one millisecond apart.
    pub tie: [u8; 16],
}

/// Which entries a list holds.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only those about this session.
    pub session: Option<SessionId>,
    /// Only those about this customer.
    pub customer: Option<CustomerKey>,
    /// Only those of this action.
    pub action: Option<Action>,
    /// Only those older than this one.
    pub before: Option<AuditCursor>,
}

/// Prints the cursor so that it can be read again.
impl fmt::Display for AuditCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:032x}", self.at, u128::from_be_bytes(self.tie))
    }
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the audit")]
pub struct NoCursor;

impl FromStr for AuditCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, tie) = text.split_once('.').ok_or(NoCursor)?;
        let at = at.parse().map_err(|_| NoCursor)?;
        let tie = u128::from_str_radix(tie, 16).map_err(|_| NoCursor)?.to_be_bytes();
        Ok(Self { at, tie })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_printed() {
        for cursor in [AuditCursor { at: 1_700_000_000_000, tie: [7; 16] }, AuditCursor { at: -1, tie: [0; 16] }] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "7", "7.", ".7", "7.x"] {
            assert_eq!(text.parse::<AuditCursor>(), Err(NoCursor), "{text}");
        }
    }
}
