//! Operators' tokens as they are made, by a command on this machine or over HTTP: the rules are the same.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::clock::{Clock, WallTime};
use crate::principal::{OperatorTokenId, Scope};
use crate::store::{OperatorToken, Store, StoreError};

/// For how long a token is good if nobody says.
pub const LIFETIME: Duration = Duration::from_hours(90 * 24);
/// For how long one may be good that is not good until it is revoked.
pub const LIFETIMES: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(36_500 * 24);
/// Characters of a token's name at most.
pub const LONGEST_NAME: usize = 100;

/// Why a token is not made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name can't be one.
    #[error(
        "a token's name has 1 to {LONGEST_NAME} characters, no control characters, no spaces around it, and is no id; \
         choose another"
    )]
    Name,
    /// It would allow nothing.
    #[error("a token needs a scope; name at least one")]
    NoScope,
    /// It would be good for too short or too long.
    #[error("a token is valid for 1 minute to 36,500 days, or until it is revoked")]
    Lifetime,
    /// A token of this name is not revoked.
    #[error("a token of this name exists already")]
    Exists,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

/// A token that was made and is not yet good for anything, with its text, which nobody is told again.
pub struct Made {
    /// What is to be kept of it.
    pub token: OperatorToken,
    /// The token itself.
    pub text: String,
}

/// Makes a token that is good for so long, or until it is revoked.
///
/// # Errors
/// [`TokenError::Name`], [`TokenError::NoScope`] or [`TokenError::Lifetime`].
pub fn make(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &str,
    scopes: &[Scope],
    valid_for: Option<Duration>,
) -> Result<Made, TokenError> {
    let is_name = (1..=LONGEST_NAME).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control)
        && name.parse::<OperatorTokenId>().is_err();
    if !is_name {
        return Err(TokenError::Name);
    }
    let scopes: BTreeSet<_> = scopes.iter().copied().collect();
    if scopes.is_empty() {
        return Err(TokenError::NoScope);
    }
    if valid_for.is_some_and(|time| !LIFETIMES.contains(&time)) {
        return Err(TokenError::Lifetime);
    }
    let wall = clock.wall();
    let id = OperatorTokenId::new(wall, crate::random::bytes());
    let (text, hash) = store.desk().token_key.issue_operator(id, &crate::random::bytes());
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let expires = valid_for.map(|time| WallTime::from_unix_millis(wall.unix_millis().saturating_add(millis(time))));
    let scopes = scopes.into_iter().collect();
    let token = OperatorToken { id, name: name.to_owned(), scopes, hash, created: wall, expires, revoked: None };
    Ok(Made { token, text })
}

/// Keeps a token, which is good from then on.
///
/// # Errors
/// [`TokenError::Exists`] or [`TokenError::Store`].
pub async fn keep(store: &dyn Store, token: OperatorToken) -> Result<(), TokenError> {
    store.add_operator_token(token).await.map_err(|error| match error {
        StoreError::Conflict => TokenError::Exists,
        error @ (StoreError::Missing
        | StoreError::Busy
        | StoreError::Unavailable(_)
        | StoreError::Full
        | StoreError::Corrupt(_)
        | StoreError::SetAside(_)
        | StoreError::Malformed(_)
        | StoreError::Unsupported(_)) => TokenError::Store(error),
    })
}

/// What the audit says of a token.
pub fn in_words(token: &OperatorToken) -> String {
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.name()).collect();
    format!("{} ({}): {}", token.name, token.id, scopes.join(" "))
}
