//! Operators' tokens as an operator makes, lists and revokes them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, WallTime};
use crate::id::Printable;
use crate::principal::{OperatorTokenId, Scope};
use crate::store::{OperatorToken, Store, StoreError};

use super::operator::of_store;

/// An operator's token as a table shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its id.
    pub id: OperatorTokenId,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// From when on it is good for nothing, in RFC 3339; never, if nothing.
    pub expires: Option<String>,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
}

/// A token that was just made.
#[derive(Clone, Serialize, Deserialize)]
pub struct MadeToken {
    /// The token itself, which nobody is told again.
    pub text: String,
    /// What is kept of it.
    pub row: TokenRow,
}

impl std::fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeToken").field("row", &self.row).finish_non_exhaustive()
    }
}

/// Makes a token that is good for so long, or for ever.
pub(super) async fn make(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &str,
    scopes: &[Scope],
    valid_for: Option<Duration>,
) -> Result<MadeToken, String> {
    const LONGEST_NAME: usize = 100;
    let is_name = (1..=LONGEST_NAME).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control)
        && name.parse::<OperatorTokenId>().is_err();
    if !is_name {
        return Err(
            "a token's name has 1 to 100 characters, no control characters, no spaces around it, and is no id; \
                    choose another"
                .into(),
        );
    }
    let scopes: BTreeSet<_> = scopes.iter().copied().collect();
    if scopes.is_empty() {
        return Err("a token needs a scope; name at least one".into());
    }
    let wall = clock.wall();
    let id = OperatorTokenId::new(wall, crate::random::bytes());
    let (text, hash) = store.desk().token_key.issue_operator(id, &crate::random::bytes());
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let expires = valid_for.map(|time| WallTime::from_unix_millis(wall.unix_millis().saturating_add(millis(time))));
    let scopes = scopes.into_iter().collect();
    let token = OperatorToken { id, name: name.to_owned(), scopes, hash, created: wall, expires, revoked: None };
    match store.add_operator_token(token.clone()).await {
        Ok(()) => Ok(MadeToken { text, row: row(&token, wall) }),
        Err(StoreError::Conflict) => Err(format!(
            "there is a token {} already; revoke it first with `frontdesk token revoke`, or choose another name",
            Printable(name)
        )),
        Err(error) => Err(of_store(&error)),
    }
}

/// All tokens, the oldest first.
pub(super) async fn list(store: &dyn Store, now: WallTime) -> Result<Vec<TokenRow>, String> {
    let tokens = store.operator_tokens().await.map_err(|error| of_store(&error))?;
    Ok(tokens.iter().map(|token| row(token, now)).collect())
}

/// Revokes the token with this id or name. Returns it, and whether it was good until then.
pub(super) async fn revoke(store: &dyn Store, wanted: &str, now: WallTime) -> Result<(OperatorToken, bool), String> {
    let tokens = store.operator_tokens().await.map_err(|error| of_store(&error))?;
    let id = wanted.parse::<OperatorTokenId>().ok();
    // Of those with one name the last one made is the only one that may be good.
    let found = tokens.into_iter().rev().find(|token| id.map_or(token.name == wanted, |id| token.id == id));
    let token =
        found.ok_or_else(|| format!("there is no token {}; `frontdesk token list` shows them", Printable(wanted)))?;
    let was_revoked = token.revoked.is_some();
    store.revoke_operator_token(token.id, now).await.map_err(|error| of_store(&error))?;
    Ok((token, !was_revoked))
}

fn row(token: &OperatorToken, now: WallTime) -> TokenRow {
    let state = match token.revoked {
        Some(_) => "revoked",
        None if token.is_valid(now) => "valid",
        None => "expired",
    };
    TokenRow {
        id: token.id,
        name: token.name.clone(),
        scopes: token.scopes.clone(),
        created: token.created.to_string(),
        expires: token.expires.map(|expires| expires.to_string()),
        state: state.to_owned(),
    }
}
