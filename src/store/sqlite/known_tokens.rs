//! Operators' tokens that were looked up lately, since a console asks with the same one again and again.
//!
//! Nothing of a token ever changes but that it is revoked, and only this process does that. From the moment at which it
//! is about to be, before the commit, a token is not kept any more: so nobody who has read it earlier can put it back.
//! Whether it has expired is for who asks.

use std::collections::{HashMap, HashSet};

use parking_lot::{Mutex, MutexGuard};

use crate::principal::OperatorTokenId;
use crate::store::OperatorToken;

/// Beyond so many, all are forgotten.
const MOST: usize = 1_024;

/// Tokens by their id.
#[derive(Debug, Default)]
pub(super) struct KnownTokens(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    tokens: HashMap<OperatorTokenId, OperatorToken>,
    revoked: HashSet<OperatorTokenId>,
}

impl KnownTokens {
    /// The token, if it is kept.
    pub(super) fn get(&self, id: OperatorTokenId) -> Option<OperatorToken> {
        self.table().tokens.get(&id).cloned()
    }

    /// Keeps a token that was just read.
    pub(super) fn keep(&self, token: &OperatorToken) {
        let mut table = self.table();
        if token.revoked.is_some() || table.revoked.contains(&token.id) {
            return;
        }
        if table.tokens.len() >= MOST {
            table.tokens.clear();
        }
        table.tokens.insert(token.id, token.clone());
    }

    /// Forgets a token for good, whether or not its revocation is then stored.
    pub(super) fn about_to_be_revoked(&self, id: OperatorTokenId) {
        let mut table = self.table();
        table.revoked.insert(id);
        table.tokens.remove(&id);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::token::TokenHash;

    #[test]
    fn a_token_that_was_read_before_it_was_revoked_is_not_kept_after_that() {
        let tokens = KnownTokens::default();
        let [ours, other] = [1, 2].map(token);
        tokens.keep(&ours);
        tokens.keep(&other);
        assert_eq!(tokens.get(ours.id), Some(ours.clone()));

        tokens.about_to_be_revoked(ours.id);
        tokens.keep(&ours);

        assert_eq!((tokens.get(ours.id), tokens.get(other.id)), (None, Some(other)));
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let tokens = KnownTokens::default();
        (0..5_000).for_each(|n| tokens.keep(&token(n)));
        assert!(tokens.table().tokens.len() <= MOST && tokens.get(token(4_999).id).is_some());
    }

    fn token(n: u128) -> OperatorToken {
        OperatorToken {
            id: OperatorTokenId::from_bytes(n.to_be_bytes()),
            name: n.to_string(),
            scopes: Vec::new(),
            hash: TokenHash([1; 32]),
            created: WallTime::from_unix_millis(1),
            expires: None,
            revoked: None,
        }
    }
}
