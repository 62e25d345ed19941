//! Session tokens: what a customer shows instead of the password once a session is there.
//!
//! A token is `fds_` and the base64url text (RFC 4648, section 5, unpadded) of three parts: the session's id
//! (16 bytes), a random secret (32 bytes), and a tag (16 bytes) under the desk's own key. The tag lets a forged token
//! be turned away before anything is looked up, so that guessing tells nothing about which sessions exist, neither in
//! the answer nor in its time. The store keeps only a hash of the secret; a stolen store opens no session.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::id::{Epoch, SessionId};

const PREFIX: &str = "fds_";
const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const TOKEN_BYTES: usize = ID_BYTES + SECRET_BYTES + TAG_BYTES;

/// The desk's own 256-bit key, made once per data directory.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

/// What the store keeps of a token: BLAKE3 of its secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// A token that carries the desk's tag. Whether it is still valid is for the session to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The session that it was made for.
    pub session: SessionId,
    /// What the session must know of it.
    pub hash: TokenHash,
}

impl TokenKey {
    /// Wraps the key's bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Makes a token for `session` from 32 random bytes: its text for the customer, its hash for the store.
    pub fn issue(&self, session: SessionId, secret: &[u8; SECRET_BYTES]) -> (String, TokenHash) {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..ID_BYTES].copy_from_slice(session.as_bytes());
        bytes[ID_BYTES..ID_BYTES + SECRET_BYTES].copy_from_slice(secret);
        let tag = self.tag(&bytes[..ID_BYTES + SECRET_BYTES]);
        bytes[ID_BYTES + SECRET_BYTES..].copy_from_slice(&tag);
        let mut text = String::with_capacity(PREFIX.len() + TOKEN_BYTES.div_ceil(3) * 4);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        (text, hash(secret))
    }

    /// Reads a token; `None` if this desk has not made it.
    pub fn read(&self, text: &str) -> Option<Claimed> {
        let mut bytes = [0; TOKEN_BYTES];
        let read = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(PREFIX)?, &mut bytes).ok()?;
        if read != TOKEN_BYTES {
            return None;
        }
        let (signed, tag) = bytes.split_at(ID_BYTES + SECRET_BYTES);
        if !bool::from(self.tag(signed).ct_eq(tag)) {
            return None;
        }
        let session = SessionId::from_bytes(signed.first_chunk().copied()?);
        Some(Claimed { session, hash: hash(signed.last_chunk::<SECRET_BYTES>()?) })
    }

    /// The secret that opens the socket of the process that watches over this agent.
    pub fn agent_secret(&self, session: SessionId, epoch: Epoch) -> [u8; 32] {
        // Longer than what a tag is made of by its first letters: no tag is ever such a secret.
        let text = format!("agent of session {session} under epoch {epoch}, opened by the desk that started it");
        *blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes()
    }

    fn tag(&self, signed: &[u8]) -> [u8; TAG_BYTES] {
        let whole = blake3::keyed_hash(&self.0, signed);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&whole.as_bytes()[..TAG_BYTES]);
        tag
    }
}

/// A password made of 15 random bytes (120 bits), in letters and digits that are not mistaken for one another.
pub fn readable_secret(random: &[u8; 15]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut text = String::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in random {
        (bits, held) = (bits << 8 | u32::from(*byte), held + 8);
        while held >= 5 {
            held -= 5;
            text.push(char::from(LETTERS[(bits >> held) as usize & 31]));
        }
    }
    text
}

fn hash(secret: &[u8; SECRET_BYTES]) -> TokenHash {
    TokenHash(*blake3::hash(secret).as_bytes())
}

impl TokenHash {
    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn session() -> SessionId {
        SessionId::new(WallTime::from_unix_millis(1), [1; 10])
    }

    #[test]
    fn a_token_names_its_session_and_matches_its_hash() {
        let key = TokenKey::new([7; 32]);
        let (text, stored) = key.issue(session(), &[9; 32]);
        let claimed = key.read(&text).unwrap();
        assert!(text.starts_with("fds_"));
        assert_eq!(claimed.session, session());
        assert!(claimed.hash.matches(&stored));
    }

    #[test]
    fn a_token_of_another_desk_or_changed_by_one_bit_is_refused() {
        let key = TokenKey::new([7; 32]);
        let (text, _) = key.issue(session(), &[9; 32]);
        assert_eq!(TokenKey::new([8; 32]).read(&text), None);
        for position in PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == text || key.read(&changed).is_none(), "{position}");
        }
    }

    #[test]
    fn a_readable_secret_holds_all_of_its_bits() {
        assert_eq!(readable_secret(&[0; 15]), "a".repeat(24));
        assert_eq!(readable_secret(&[0xff; 15]), "9".repeat(24));
        assert_ne!(readable_secret(&[1; 15]), readable_secret(&[2; 15]));
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        let key = TokenKey::new([7; 32]);
        for text in ["", "fds_", "fds_AAAA", "abc", &"fds_".repeat(100), &format!("fds_{}", "A".repeat(5_000))] {
            assert_eq!(key.read(text), None);
        }
    }
}
