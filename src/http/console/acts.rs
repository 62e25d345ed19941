//! Buttons that do something: each is a call of `/v1`, which the scripts make once the dialog was answered.

use maud::{Markup, html};

/// Something that an operator can do.
pub(super) struct Act<'a> {
    /// The call's method.
    pub(super) method: &'a str,
    /// Its path.
    pub(super) path: &'a str,
    /// Its body in JSON, if it has one.
    pub(super) body: Option<&'a str>,
    /// What the button says, here and in the dialog.
    pub(super) label: &'a str,
    /// What the dialog asks, and what it says will happen; nothing is asked before what harms nobody.
    pub(super) question: Option<(&'a str, &'a str)>,
    /// What is said when it is done.
    pub(super) done: &'a str,
    /// Whether it ends or takes away something.
    pub(super) is_dangerous: bool,
}

impl Act<'_> {
    /// Its button.
    pub(super) fn button(&self) -> Markup {
        let (question, text) = self.question.unzip();
        html! {
            button.danger[self.is_dangerous] type="button" data-act data-method=(self.method) data-path=(self.path)
                data-body=[self.body] data-question=[question] data-text=[text] data-done=(self.done) {
                (self.label)
            }
        }
    }
}

/// A body in JSON, in which all that is not ASCII is escaped: whoever reads the page's source reads it as it is.
pub(super) fn json(body: &serde_json::Value) -> String {
    let mut text = String::new();
    for character in body.to_string().chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            text.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// The path of something that is called by a text.
pub(super) fn path_of(before: &str, name: &str, after: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    format!("{before}{}{after}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_ascii_and_says_the_same() {
        let body = json!({"email": "é\u{202e}\u{1f980}\"@x"});
        let text = json(&body);
        assert_eq!(text, r#"{"email":"\u00e9\u202e\ud83e\udd80\"@x"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), body);
    }
}
