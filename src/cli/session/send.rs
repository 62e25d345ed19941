//! `frontdesk session send`: one request to the session's agent, and its answer.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;
use serde_json::value::RawValue;

use crate::cli::output::{self, put_safely};
use crate::cli::{Failure, Outcome, caution};
use crate::client::{Code, IdempotencyKey, Part};
use crate::session::PhaseName;

use super::refusal::{About, Doing};
use super::{Target, Token};

#[derive(Debug, Args)]
pub(in crate::cli) struct Send {
    /// The customer's email.
    email: String,
    /// The request: JSON or a plain text, or - to read it from standard input.
    #[arg(value_name = "JSON|TEXT", allow_hyphen_values = true)]
    request: String,
    /// Send a text, even if it looks like JSON: the agent gets it as a JSON string.
    #[arg(long)]
    text: bool,
    /// Under this key the request is handled at most once, however often it is sent.
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
    /// Print the parts of the answer as they come, each on a line, and then the answer [default on a terminal].
    #[arg(long)]
    stream: bool,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    target: Target,
}

impl Send {
    pub(super) fn run(self) -> Outcome {
        let request = self.request()?;
        let (desk, token) = (self.target.desk(self.token.get())?, self.token.session()?);
        let key = self.idempotency_key.as_deref().map(IdempotencyKey::new).transpose();
        let key = key.map_err(|error| Failure::Usage(error.to_string()))?;
        let about = About { email: &self.email, persona: None, token: token.is_some(), doing: Doing::Ask };
        let Some(id) = token else { return Err(about.refused(Code::TokenRequired)) };
        if desk.session(id, &about)?.phase == PhaseName::Ended {
            return Err(about.ended());
        }
        if !self.stream && !std::io::stdout().is_terminal() {
            show(&desk.wait(desk.client().ask(id, &request, key), &about)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut answer = desk.client().ask_in_parts(id, &request, key);
        while let Some(Part::Output(part) | Part::Answer(part)) = desk.wait(answer.next(), &about)? {
            show(&part)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn request(&self) -> Result<Box<RawValue>, Failure> {
        let given = if self.request == "-" {
            std::io::read_to_string(std::io::stdin())
                .map_err(|error| Failure::Usage(format!("the request on standard input cannot be read: {error}")))?
        } else {
            self.request.clone()
        };
        if self.text {
            return Ok(text(&given));
        }
        match serde_json::from_str(&given) {
            Ok(json) => Ok(json),
            Err(error) if looks_like_json(&given) => Err(Failure::Usage(format!(
                "the request looks like JSON and is not valid ({error}); write it as '{{\"say\": \"hello\"}}', in quotes, or send \
                 it as a text with --text"
            ))),
            Err(_) => {
                anstream::eprintln!("{}", caution("the request is not JSON, so it is sent as a text (a JSON string)"));
                Ok(text(&given))
            }
        }
    }
}

/// A text as a JSON string; the line end at its end is not part of it.
fn text(given: &str) -> Box<RawValue> {
    let line = given.strip_suffix('\n').map_or(given, |line| line.strip_suffix('\r').unwrap_or(line));
    serde_json::value::to_raw_value(line).expect("a string serialises")
}

/// Whether somebody meant JSON and slipped: nothing that a person says begins so.
fn looks_like_json(given: &str) -> bool {
    given.trim_start().starts_with(['{', '[', '"'])
}

/// Prints JSON: for a person indented, for a program on one line.
fn show(json: &RawValue) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() { output::line(&pretty(json.get())) } else { output::line(json.get()) }
}

/// Indents JSON without reading it: members keep their order and numbers every digit. What a terminal would act on is
/// escaped, so that it stays the same JSON.
fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        if in_string {
            put_safely(&mut text, character);
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                text.push(character);
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    text.push(end);
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(character);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ if character.is_ascii_whitespace() => {}
            _ => {
                in_string = character == '"';
                text.push(character);
            }
        }
    }
    text
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_answer_is_indented_and_nothing_else() {
        let shown = pretty(r#"{"b":1.000000000000000000001,"a":[ ],"c":[1, {"x":"a:\",{"}]}"#);
        assert_eq!(
            shown,
            "{\n  \"b\": 1.000000000000000000001,\n  \"a\": [],\n  \"c\": [\n    1,\n    {\n      \"x\": \
             \"a:\\\",{\"\n    }\n  ]\n}"
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_same_json(keys in prop::collection::vec(any::<String>(), 0..4), number: i64) {
            let inner: Value = keys.iter().map(|key| (key.clone(), Value::from(number))).collect();
            let value = Value::from(vec![inner, Value::from(keys)]);
            let shown = pretty(&value.to_string());
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
            prop_assert!(!shown.contains(|character: char| character.is_control() && character != '\n'));
        }
    }
}
