//! When two emails are the same customer, for the embedded credential server. Pure.

use std::borrow::Cow;

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;

/// The canonical form of an email: trimmed, case-folded (Unicode 3.13, full default folding) and in NFC. Two emails
/// are one customer exactly if their canonical forms are equal.
pub fn canonical(email: &str) -> Cow<'_, str> {
    let trimmed = email.trim();
    if !trimmed.is_ascii() {
        // Folding may undo a normalisation and needs one before it: definition D145 of the same section.
        return Cow::Owned(trimmed.nfd().default_case_fold().nfc().collect());
    }
    if trimmed.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(trimmed.to_ascii_lowercase());
    }
    Cow::Borrowed(trimmed)
}

/// The longest email of a customer of ours.
pub const MOST_CHARACTERS: usize = 320;

/// Why an email can't name a new customer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// There is nothing in it.
    #[error("the email is empty")]
    Empty,
    /// It is too long to be typed or stored in earnest.
    #[error("the email is longer than 320 characters")]
    TooLong,
    /// It has characters that nobody can type or see.
    #[error("the email has control characters")]
    Control,
}

/// Checks an email before a customer is added under it. What is an address beyond that is for people to say.
///
/// # Errors
/// An [`EmailError`].
pub fn check(email: &str) -> Result<(), EmailError> {
    if email.trim().is_empty() {
        return Err(EmailError::Empty);
    }
    if email.chars().count() > MOST_CHARACTERS {
        return Err(EmailError::TooLong);
    }
    if email.chars().any(char::is_control) {
        return Err(EmailError::Control);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_space_and_composition_make_no_other_customer() {
        for (one, other) in [
            ("Ada@Example.org", " ada@example.ORG\t"),
            ("STRASSE@x.de", "straße@x.de"),
            ("caf\u{e9}@x.fr", "CAFE\u{301}@x.fr"),
            ("ΟΔΟΣ@x.gr", "οδος@x.gr"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        assert_ne!(canonical("ada@x.org"), canonical("a.da@x.org"));
    }

    #[test]
    fn a_canonical_ascii_email_costs_no_allocation() {
        assert!(matches!(canonical("ada@example.org"), Cow::Borrowed(_)));
    }

    #[test]
    fn emails_that_nobody_can_type_are_refused() {
        assert_eq!(check(" \t"), Err(EmailError::Empty));
        assert_eq!(check("a\0b@x"), Err(EmailError::Control));
        assert_eq!(check(&"x".repeat(321)), Err(EmailError::TooLong));
        assert_eq!(check("ada@example.org"), Ok(()));
    }

    proptest! {
        #[test]
        fn canonical_is_stable(email: String) {
            let once = canonical(&email).into_owned();
            let twice = canonical(&once).into_owned();
            prop_assert_eq!(once, twice);
        }
    }
}
