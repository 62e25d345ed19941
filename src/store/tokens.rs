//! The valid tokens of a session: a few, kept where the session is, so that none of it is allocated.

use std::ops::Deref;

use crate::token::TokenHash;

/// At most this many tokens of a session are valid; a further one retires the oldest.
pub const TOKENS_PER_SESSION: usize = 4;

/// Tokens, the oldest first.
#[derive(Clone, Debug)]
pub struct Tokens {
    hashes: [TokenHash; TOKENS_PER_SESSION],
    count: usize,
}

impl Tokens {
    /// Adds a token; beyond [`TOKENS_PER_SESSION`] the oldest goes.
    pub fn push(&mut self, token: TokenHash) {
        if self.count == TOKENS_PER_SESSION {
            self.hashes.rotate_left(1);
            self.count -= 1;
        }
        self.hashes[self.count] = token;
        self.count += 1;
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Self { hashes: [TokenHash([0; 32]); TOKENS_PER_SESSION], count: 0 }
    }
}

impl Deref for Tokens {
    type Target = [TokenHash];

    fn deref(&self) -> &[TokenHash] {
        &self.hashes[..self.count]
    }
}

impl FromIterator<TokenHash> for Tokens {
    fn from_iter<I: IntoIterator<Item = TokenHash>>(hashes: I) -> Self {
        let mut tokens = Self::default();
        hashes.into_iter().for_each(|hash| tokens.push(hash));
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_four_are_kept_in_their_order() {
        let token = |number| TokenHash([number; 32]);
        for count in 0..7_u8 {
            let tokens: Tokens = (0..count).map(token).collect();
            let expected: Vec<_> = (count.saturating_sub(4)..count).map(token).collect();
            assert_eq!(*tokens, *expected);
        }
    }
}
