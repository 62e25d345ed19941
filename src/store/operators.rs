//! What the store keeps of operators: their tokens, and the console's sessions that were opened with them.

use crate::clock::{Timestamp, WallTime};
use crate::principal::{OperatorTokenId, Scope};
use crate::token::TokenHash;

use super::Answer;

/// Keeps operators' tokens and the console's sessions.
pub trait Operators: Send + Sync {
    /// Adds a token; [`super::StoreError::Conflict`] if one that is not revoked has its name.
    fn add_operator_token(&self, token: OperatorToken) -> Answer<'_, ()>;

    /// A token, revoked or expired ones, too.
    fn operator_token(&self, id: OperatorTokenId) -> Answer<'_, Option<OperatorToken>>;

    /// All tokens, the oldest first; revoked and expired ones, too.
    fn operator_tokens(&self) -> Answer<'_, Vec<OperatorToken>>;

    /// Revokes a token and ends the console's sessions that were opened with it. Repeated, the first time stays.
    fn revoke_operator_token(&self, id: OperatorTokenId, at: WallTime) -> Answer<'_, ()>;

    /// Opens a console session, and forgets those that were last seen before `forget_before`.
    fn add_console_session(&self, session: ConsoleSession, forget_before: Timestamp) -> Answer<'_, ()>;

    /// The console session that this secret opens.
    fn console_session(&self, secret: TokenHash) -> Answer<'_, Option<ConsoleSession>>;

    /// Notes that a console session was used. One that has ended stays so.
    fn saw_console_session(&self, secret: TokenHash, at: Timestamp) -> Answer<'_, ()>;

    /// Ends a console session, if it is there.
    fn end_console_session(&self, secret: TokenHash) -> Answer<'_, ()>;
}

/// What is kept of an operator's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorToken {
    /// Its identity.
    pub id: OperatorTokenId,
    /// What people call it: 1 to 100 characters, unique among those that are not revoked.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// When it was made.
    pub created: WallTime,
    /// From when on it is good for nothing; never, if nothing.
    pub expires: Option<WallTime>,
    /// When it was revoked, if it was.
    pub revoked: Option<WallTime>,
}

impl OperatorToken {
    /// Whether it is good for anything at `now`.
    pub fn is_valid(&self, now: WallTime) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

/// An operator's session at the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSession {
    /// The hash of the secret in the operator's cookie.
    pub secret: TokenHash,
    /// The token with which it was opened; it ends with that.
    pub token: OperatorTokenId,
    /// When it was opened, on the desk's own timeline.
    pub opened: Timestamp,
    /// When it was last used.
    pub seen: Timestamp,
}
