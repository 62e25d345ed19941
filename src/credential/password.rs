//! Which passwords a customer may choose. Pure.
//!
//! Length counts and composition does not: any characters will do, as they come, if the whole is not among the first
//! million that somebody would guess. The estimate is zxcvbn's: it knows 30,000 passwords out of leaks, words, names,
//! keyboards, dates and repetitions, and how people vary them. By the throttle's defaults a million guesses at one
//! account take more than a year from addresses that it does not know, and about ten weeks from one that it knows.
//! Passwords that were chosen earlier stay good: the rule holds for those that are set.

use zxcvbn::zxcvbn;

use super::email;

/// A password has at least as many characters (Unicode scalar values).
pub const FEWEST_CHARACTERS: usize = 8;

/// A new password has at most as many bytes: 256 characters of any script.
pub const MOST_BYTES: usize = 1_024;

/// A password must take more guesses than this.
const TOO_FEW_GUESSES: u64 = 1_000_000;

/// What anybody would try first here, beside the customer's own email: docs/SECURITY.md lists them.
pub const WORDS: [&str; 10] = [
    "frontdesk",
    "front desk",
    "front-desk",
    "front_desk",
    "customer",
    "customers",
    "operator",
    "session",
    "persona",
    "agent",
];

/// Why a password can't be chosen, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// It is too short.
    #[error("the password has fewer than {FEWEST_CHARACTERS} characters; take a longer one")]
    TooShort,
    /// It is too long.
    #[error("the password has more than {MOST_BYTES} bytes; take a shorter one")]
    TooLong,
    /// It is easy to guess.
    #[error("the password is among the first million that are guessed; take several words that do not belong together")]
    Common,
    /// It is easy to guess for somebody who knows whose it is and what for.
    #[error("the password is little more than the email or a word of this server; take several others")]
    OwnWords,
}

/// Checks a password before the customer with this email gets it.
///
/// Takes a millisecond for most, and some hundred for one that is made to take long.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(password: &str, email: &str) -> Result<(), PasswordRefused> {
    if password.chars().count() < FEWEST_CHARACTERS {
        return Err(PasswordRefused::TooShort);
    }
    if password.len() > MOST_BYTES {
        return Err(PasswordRefused::TooLong);
    }
    let email = email::canonical(email);
    let own: Vec<&str> = WORDS.into_iter().chain(words_of(&email)).collect();
    match guesses(password, &own) {
        enough if enough > TOO_FEW_GUESSES => Ok(()),
        few if few < guesses(password, &[]) => Err(PasswordRefused::OwnWords),
        _ => Err(PasswordRefused::Common),
    }
}

/// An email as a whole, what stands before and after its `@`, what stands between dots, and the words in these.
fn words_of(email: &str) -> impl Iterator<Item = &str> {
    let parts = email.split('@').chain(email.split(['@', '.']));
    let words = email.split(|character: char| !character.is_alphanumeric());
    std::iter::once(email).chain(parts).chain(words).filter(|word| word.chars().count() >= 3)
}

/// How many guesses a password takes, given these words beside the common ones; the lower bound is that of its hardest
/// piece, since the estimator's time grows with the square of the length.
fn guesses(password: &str, own: &[&str]) -> u64 {
    const A_PIECE: usize = 40;
    let mut most = 0;
    let mut rest = password;
    while !rest.is_empty() && most <= TOO_FEW_GUESSES {
        let end = rest.char_indices().nth(A_PIECE).map_or(rest.len(), |(place, _)| place);
        let (piece, after) = rest.split_at(end);
        most = most.max(zxcvbn(piece, own).guesses());
        rest = after;
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMAIL: &str = "Ada.Lovelace@Analytical-Engines.example";

    #[test]
    fn eight_characters_are_enough_in_any_script_and_seven_are_not() {
        for password in ["kzq7vwxa", "жълтопат", "🦀🪿🐙🦉🐌🦔🐿🦚"] {
            assert_eq!(check(password, EMAIL), Ok(()), "{password}");
        }
        for password in ["", "kzq7vwx", "жълтопа", "🦀🪿🐙🦉🐌🦔🐿"] {
            assert_eq!(check(password, EMAIL), Err(PasswordRefused::TooShort), "{password}");
        }
    }

    #[test]
    fn long_passwords_are_welcome_up_to_1024_bytes() {
        let sentence = "the quick brown fox would rather not jump over anything before its second coffee ".repeat(13);
        for length in [64, 65, 128, 1_024] {
            assert_eq!(check(&sentence[..length], EMAIL), Ok(()), "{length}");
        }
        assert_eq!(check(&format!("{}kzq7vwxa", "a".repeat(80)), EMAIL), Ok(()));
        assert_eq!(check(&"a".repeat(1_000), EMAIL), Err(PasswordRefused::Common));
        assert_eq!(check(&sentence[..1_025], EMAIL), Err(PasswordRefused::TooLong));
        let animals = "🦀🪿🐙🦉🐌🦔🐿🦚".repeat(32);
        assert_eq!((animals.len(), check(&animals, EMAIL)), (1_024, Ok(())));
        assert_eq!(check(&format!("{animals}!"), EMAIL), Err(PasswordRefused::TooLong));
    }

    #[test]
    fn no_kind_of_character_is_asked_for_or_refused() {
        for password in
            ["correct horse", "tqvbxzkjw", "TQVBXZKJW", "58203917462", "}{)(=?*'_:;", " kq vz xw ", "a\tb\0c\nd\u{7f}e"]
        {
            assert_eq!(check(password, EMAIL), Ok(()), "{password:?}");
        }
    }

    #[test]
    fn what_everybody_takes_is_refused_and_so_are_its_variations() {
        for password in [
            "password",
            "12345678",
            "123456789",
            "baseball",
            "football",
            "jennifer",
            "superman",
            "trustno1",
            "iloveyou",
            "sunshine",
            "starwars",
            "computer",
            "princess",
            "corvette",
            "whatever",
            "1q2w3e4r",
            "qwertyuiop",
            "abcd1234",
            "Password",
            "p@ssw0rd",
            "PASSWORD1",
            "drowssap",
            "passw0rd2024",
            "abcdefgh",
            "aaaaaaaa",
            "asdfghjkl",
            "19840523",
            "monkey123",
            "letmein!!",
        ] {
            assert_eq!(check(password, EMAIL), Err(PasswordRefused::Common), "{password}");
        }
    }

    #[test]
    fn words_of_this_server_and_of_the_email_are_no_passwords() {
        for password in [
            "frontdesk",
            "Frontdesk",
            "FrontDesk1",
            "front desk",
            "front-desk!",
            "fr0ntd3sk",
            "ksedtnorf",
            "frontdesk2026",
            "ada.lovelace@analytical-engines.example",
            "ada.lovelace",
            "AdaLovelace",
            "Ada.Lovelace1",
            "analytical-engines",
            "analytical-engines.example",
        ] {
            assert_eq!(check(password, EMAIL), Err(PasswordRefused::OwnWords), "{password}");
        }
        assert_eq!(check("frontdesk marmalade oboe", EMAIL), Ok(()));
        assert_eq!(check("ada.lovelace", "bob@example.org"), Ok(()));
    }

    proptest! {
        #[test]
        fn what_the_server_makes_itself_is_never_refused(random: [u8; 15]) {
            prop_assert_eq!(check(&crate::token::readable_secret(&random), "demo@example.com"), Ok(()));
        }

        #[test]
        fn every_text_gets_an_answer(password: String, email: String) {
            let _ = check(&password, &email);
        }

        #[test]
        fn every_text_of_a_keyboard_gets_an_answer(password in "[qwertyuiopasdfgh0-9@$!(|]{8,120}") {
            let _ = check(&password, EMAIL);
        }
    }
}
