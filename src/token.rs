//! Tokens: what a customer shows instead of the password once a session is there, and what an operator shows.
//!
//! A token is `fds_`, or `fdo_` for an operator's, and the base64url text (RFC 4648, section 5, unpadded) of three
//! parts: the id of the session or of the operator's token (16 bytes), a secret (32 bytes), and a tag (16 bytes) under
//! the desk's own key. The tag lets a forged token be turned away before anything is looked up, so that guessing tells
//! nothing about which sessions exist, neither in the answer nor in its time. The store keeps only a hash of the
//! secret; a stolen store opens no session.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::id::{Epoch, SessionId};
use crate::principal::OperatorTokenId;

const PREFIX: &str = "fds_";
const OPERATORS_PREFIX: &str = "fdo_";
const FOLLOWERS_PREFIX: &str = "fdf_";
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

/// What a browser shows to follow a session, which carries the desk's tag. Whether the token that it was made of is
/// still valid is for the session to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The session that it was made for.
    pub session: SessionId,
    hash: TokenHash,
}

/// An operator's token that carries the desk's tag. Whether it is still valid is for the store to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedOperator {
    /// Which token it is.
    pub token: OperatorTokenId,
    /// What the store must know of it.
    pub hash: TokenHash,
}

impl TokenKey {
    /// Wraps the key's bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Makes a token for `session` from 32 secret bytes: its text for the customer, its hash for the store.
    pub fn issue(&self, session: SessionId, secret: &[u8; SECRET_BYTES]) -> (String, TokenHash) {
        (self.write(PREFIX, session.as_bytes(), secret), hash(secret))
    }

    /// Makes an operator's token from 32 secret bytes: its text for the operator, its hash for the store.
    pub fn issue_operator(&self, token: OperatorTokenId, secret: &[u8; SECRET_BYTES]) -> (String, TokenHash) {
        (self.write(OPERATORS_PREFIX, token.as_bytes(), secret), hash(secret))
    }

    /// Reads a session's token; `None` if this desk has not made it.
    pub fn read(&self, text: &str) -> Option<Claimed> {
        let (id, hash) = self.parts(PREFIX, text)?;
        Some(Claimed { session: SessionId::from_bytes(id), hash })
    }

    /// Reads an operator's token; `None` if this desk has not made it.
    pub fn read_operator(&self, text: &str) -> Option<ClaimedOperator> {
        let (id, hash) = self.parts(OPERATORS_PREFIX, text)?;
        Some(ClaimedOperator { token: OperatorTokenId::from_bytes(id), hash })
    }

    /// Makes what a browser shows to follow a session, of one of the session's tokens. It is `fdf_` and built as a token
    /// is, but opens nothing: no token follows from it.
    pub fn follow(&self, session: SessionId, token: &TokenHash) -> String {
        self.write(FOLLOWERS_PREFIX, session.as_bytes(), &self.follower_secret(session, token))
    }

    /// Reads what a browser shows to follow a session; `None` if this desk has not made it.
    pub fn read_followed(&self, text: &str) -> Option<Followed> {
        let (id, hash) = self.parts(FOLLOWERS_PREFIX, text)?;
        Some(Followed { session: SessionId::from_bytes(id), hash })
    }

    /// Whether that was made of this token.
    pub fn follows(&self, followed: &Followed, token: &TokenHash) -> bool {
        hash(&self.follower_secret(followed.session, token)).matches(&followed.hash)
    }

    fn follower_secret(&self, session: SessionId, token: &TokenHash) -> [u8; SECRET_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"secret by which a browser follows the session for which it has shown a token of this hash");
        hasher.update(session.as_bytes()).update(&token.0);
        *hasher.finalize().as_bytes()
    }

    /// The secret of the token of a session that was created with an idempotency key, so that the call that is
    /// repeated is answered with the same token though only its hash is kept. `key` is the hash of the key.
    pub fn repeatable_secret(&self, session: SessionId, key: &[u8; 32]) -> [u8; SECRET_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"secret of the token of the session that was created by this call, first asked for with a key");
        hasher.update(session.as_bytes()).update(key);
        *hasher.finalize().as_bytes()
    }

    fn write(&self, prefix: &str, id: &[u8; ID_BYTES], secret: &[u8; SECRET_BYTES]) -> String {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..ID_BYTES].copy_from_slice(id);
        bytes[ID_BYTES..ID_BYTES + SECRET_BYTES].copy_from_slice(secret);
        let tag = self.tag(prefix, &bytes[..ID_BYTES + SECRET_BYTES]);
        bytes[ID_BYTES + SECRET_BYTES..].copy_from_slice(&tag);
        let mut text = String::with_capacity(prefix.len() + TOKEN_BYTES.div_ceil(3) * 4);
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    fn parts(&self, prefix: &str, text: &str) -> Option<([u8; ID_BYTES], TokenHash)> {
        let mut bytes = [0; TOKEN_BYTES];
        let read = URL_SAFE_NO_PAD.decode_slice(text.strip_prefix(prefix)?, &mut bytes).ok()?;
        if read != TOKEN_BYTES {
            return None;
        }
        let (signed, tag) = bytes.split_at(ID_BYTES + SECRET_BYTES);
        if !bool::from(self.tag(prefix, signed).ct_eq(tag)) {
            return None;
        }
        Some((signed.first_chunk().copied()?, hash(signed.last_chunk::<SECRET_BYTES>()?)))
    }

    /// The secret that opens the socket of the process that watches over this agent.
    pub fn agent_secret(&self, session: SessionId, epoch: Epoch) -> [u8; 32] {
        // Longer than what a tag is made of by its first letters: no tag is ever such a secret.
        let text = format!("agent of session {session} under epoch {epoch}, opened by the desk that started it");
        *blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes()
    }

    /// The key under which the throttle hashes accounts and addresses.
    pub fn throttle_key(&self) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, b"hashes of the accounts and addresses that the throttle of this desk knows")
            .as_bytes()
    }

    /// The key that signs device cookies.
    pub fn device_key(&self) -> [u8; 32] {
        let text = b"signs the cookies of devices from which the customers of this desk have signed in";
        *blake3::keyed_hash(&self.0, text).as_bytes()
    }

    fn tag(&self, prefix: &str, signed: &[u8]) -> [u8; TAG_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // A session's token is never an operator's, whatever ids they have.
        let whole = hasher.update(prefix.as_bytes()).update(signed).finalize();
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
    TokenHash::of(secret)
}

impl TokenHash {
    /// The hash of a secret that is no token's, such as a cookie's.
    pub fn of(secret: &[u8]) -> Self {
        Self(*blake3::hash(secret).as_bytes())
    }

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
    fn a_sessions_token_is_no_operators_and_the_other_way_round() {
        let key = TokenKey::new([7; 32]);
        let id = *session().as_bytes();
        let (customers, _) = key.issue(session(), &[9; 32]);
        let (operators, stored) = key.issue_operator(OperatorTokenId::from_bytes(id), &[9; 32]);
        let claimed = key.read_operator(&operators).unwrap();
        assert!(operators.starts_with("fdo_") && claimed.hash.matches(&stored));
        assert_eq!(key.read_operator(&customers.replace("fds_", "fdo_")), None);
        assert_eq!(key.read(&operators.replace("fdo_", "fds_")), None);
        assert_eq!((key.read(&operators), key.read_operator(&customers)), (None, None));
    }

    #[test]
    fn what_follows_a_session_is_made_of_one_token_and_is_none_itself() {
        let key = TokenKey::new([7; 32]);
        let [own, other] = [[9; 32], [8; 32]].map(|secret| key.issue(session(), &secret).1);
        let text = key.follow(session(), &own);
        let followed = key.read_followed(&text).unwrap();
        assert_eq!(followed.session, session());
        assert!(key.follows(&followed, &own) && !key.follows(&followed, &other));
        assert_eq!((key.read(&text), key.read_operator(&text)), (None, None));
        assert_eq!(key.read(&text.replace("fdf_", "fds_")), None);
        assert_eq!(TokenKey::new([8; 32]).read_followed(&text), None);
    }

    #[test]
    fn a_repeated_call_gets_the_same_secret_and_no_other_call_does() {
        let key = TokenKey::new([7; 32]);
        let secret = key.repeatable_secret(session(), &[1; 32]);
        assert_eq!(secret, key.repeatable_secret(session(), &[1; 32]));
        let other = SessionId::new(WallTime::from_unix_millis(2), [1; 10]);
        for unlike in [key.repeatable_secret(session(), &[2; 32]), key.repeatable_secret(other, &[1; 32])] {
            assert_ne!(secret, unlike);
        }
        assert_ne!(secret, TokenKey::new([8; 32]).repeatable_secret(session(), &[1; 32]));
    }

    #[test]
    fn a_readable_secret_holds_all_of_its_bits() {
        let value = |letter: char| "abcdefghijkmnpqrstuvwxyz23456789".find(letter).unwrap();
        for bit in 0..120 {
            let mut random = [0x5a; 15];
            random[bit / 8] ^= 1 << (bit % 8);
            let text = readable_secret(&random);
            let bits = text.chars().map(|letter| format!("{:05b}", value(letter))).collect::<String>();
            assert_eq!(bits, random.map(|byte| format!("{byte:08b}")).concat());
        }
    }

    #[test]
    fn text_that_is_no_token_is_refused() {
        let key = TokenKey::new([7; 32]);
        for text in ["", "fds_", "fds_AAAA", "abc", &"fds_".repeat(100), &format!("fds_{}", "A".repeat(5_000))] {
            assert_eq!(key.read(text), None);
        }
    }
}
