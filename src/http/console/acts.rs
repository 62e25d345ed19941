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

/// The path of something that is called by a text.
pub(super) fn path_of(before: &str, name: &str, after: &str) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    format!("{before}{}{after}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}
