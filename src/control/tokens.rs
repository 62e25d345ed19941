//! Operators' tokens as an operator makes, lists and revokes them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, WallTime};
use crate::id::Printable;
use crate::operator_token::{self, Made, TokenError};
use crate::principal::{OperatorTokenId, Scope};
use crate::store::{OperatorToken, Store};

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

/// Makes a token that is good for so long, or for ever. Returns it with what the audit is to say.
pub(super) async fn make(
    store: &dyn Store,
    clock: &dyn Clock,
    name: &str,
    scopes: &[Scope],
    valid_for: Option<Duration>,
) -> Result<(MadeToken, String), String> {
    let made = operator_token::make(store, clock, name, scopes, valid_for).map_err(|error| error.to_string())?;
    let Made { token, text } = made;
    match operator_token::keep(store, token.clone()).await {
        Ok(()) => Ok((MadeToken { text, row: row(&token, token.created) }, operator_token::in_words(&token))),
        Err(TokenError::Exists) => Err(format!(
            "a token {} exists already; revoke it first with `frontdesk token revoke`, or choose another name",
            Printable(name)
        )),
        Err(TokenError::Store(error)) => Err(of_store(&error)),
        Err(error @ (TokenError::Name | TokenError::NoScope | TokenError::Lifetime)) => Err(error.to_string()),
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
