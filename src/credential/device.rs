//! Device cookies: proof that a browser's user has signed in to an account before. Pure.
//!
//! A proof opens nothing. It only tells the throttle that its sender is no stranger, so that guesses by strangers do not
//! hold the account's owner up (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). It holds a random name,
//! the time of the sign-in, and a tag over both and the account, under a key of the desk's: nothing of it is stored.
//!
//! A browser that several customers share keeps a proof of each, [`MOST`] at most, in one cookie.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;

use super::throttle::Proof;

/// For how long a sign-in proves a device.
pub const LIFETIME: Duration = Duration::from_hours(180 * 24);
/// Of how many accounts one cookie holds a proof.
pub const MOST: usize = 4;

const NAME_BYTES: usize = 16;
const SIGNED_BYTES: usize = NAME_BYTES + 8;
const TAG_BYTES: usize = 16;
const PROOF_BYTES: usize = SIGNED_BYTES + TAG_BYTES;

/// Stands between the proofs of a cookie.
const SEPARATOR: char = '.';

/// Signs proofs.
pub struct DeviceKey([u8; 32]);

impl DeviceKey {
    /// Wraps the key's bytes.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The cookie after a sign-in of the customer with this key: a new proof in front, and those of other accounts that `cookie` held.
    pub fn sign_in(&self, cookie: Option<&str>, customer: &str, name: &[u8; NAME_BYTES], now: Timestamp) -> String {
        let mut bytes = [0; PROOF_BYTES];
        bytes[..NAME_BYTES].copy_from_slice(name);
        bytes[NAME_BYTES..SIGNED_BYTES].copy_from_slice(&now.micros().to_le_bytes());
        let tag = self.tag(&bytes[..SIGNED_BYTES], customer);
        bytes[SIGNED_BYTES..].copy_from_slice(&tag);
        let mut text = URL_SAFE_NO_PAD.encode(bytes);
        let others = proofs(cookie).filter(|proof| self.read(proof, customer, now).is_none());
        // Foreign text is dropped, so that the cookie never grows.
        for other in others.filter(|proof| proof.len() == text_length()).take(MOST - 1) {
            text.push(SEPARATOR);
            text.push_str(other);
        }
        text
    }

    /// The proof for the customer with this key in a cookie.
    pub fn proof(&self, cookie: Option<&str>, customer: &str, now: Timestamp) -> Option<Proof> {
        proofs(cookie).find_map(|proof| self.read(proof, customer, now))
    }

    fn read(&self, text: &str, customer: &str, now: Timestamp) -> Option<Proof> {
        let mut bytes = [0; PROOF_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != PROOF_BYTES {
            return None;
        }
        let (signed, tag) = bytes.split_at(SIGNED_BYTES);
        if !bool::from(self.tag(signed, customer).ct_eq(tag)) {
            return None;
        }
        let signed_in = Timestamp::from_micros(i64::from_le_bytes(*signed.last_chunk()?));
        if now.saturating_since(signed_in) >= LIFETIME {
            return None;
        }
        Some(Proof(*blake3::hash(signed).as_bytes()))
    }

    fn tag(&self, signed: &[u8], customer: &str) -> [u8; TAG_BYTES] {
        let whole = blake3::Hasher::new_keyed(&self.0).update(signed).update(customer.as_bytes()).finalize();
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&whole.as_bytes()[..TAG_BYTES]);
        tag
    }
}

fn proofs(cookie: Option<&str>) -> impl Iterator<Item = &str> {
    cookie.unwrap_or_default().split(SEPARATOR).take(MOST)
}

/// How long a proof is in base64url.
const fn text_length() -> usize {
    (PROOF_BYTES * 4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn key() -> DeviceKey {
        DeviceKey::new([7; 32])
    }

    #[test]
    fn a_cookie_proves_its_customer_and_no_other() {
        let cookie = key().sign_in(None, "ada@example.org", &[1; 16], NOW);
        assert!(key().proof(Some(&cookie), "ada@example.org", NOW).is_some());
        for other in ["bob@example.org", "Ada@example.org"] {
            assert_eq!(key().proof(Some(&cookie), other, NOW), None, "{other}");
        }
        assert_eq!(key().proof(None, "ada@example.org", NOW), None);
    }

    #[test]
    fn a_cookie_of_another_desk_or_changed_by_one_character_proves_nothing() {
        let cookie = key().sign_in(None, "ada", &[1; 16], NOW);
        assert_eq!(DeviceKey::new([8; 32]).proof(Some(&cookie), "ada", NOW), None);
        for place in 0..cookie.len() {
            let mut changed = cookie.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == cookie || key().proof(Some(&changed), "ada", NOW).is_none(), "{place}");
        }
    }

    #[test]
    fn a_cookie_ends_after_its_lifetime() {
        let cookie = key().sign_in(None, "ada", &[1; 16], NOW);
        let shortly_before = NOW + (LIFETIME - Duration::from_secs(1));
        assert!(key().proof(Some(&cookie), "ada", shortly_before).is_some());
        assert_eq!(key().proof(Some(&cookie), "ada", NOW + LIFETIME), None);
    }

    #[test]
    fn one_browser_proves_the_four_customers_who_signed_in_last() {
        let mut cookie = Some("nonsense".to_owned());
        for (number, email) in ["ann", "bob", "cy", "dan", "bob", "eve"].into_iter().enumerate() {
            cookie = Some(key().sign_in(cookie.as_deref(), email, &[number as u8; 16], NOW));
        }
        let proves = |email| key().proof(cookie.as_deref(), email, NOW).is_some();
        assert_eq!(["ann", "bob", "cy", "dan", "eve"].map(proves), [false, true, true, true, true]);
        assert_eq!(cookie.unwrap().len(), MOST * text_length() + MOST - 1);
    }
}
