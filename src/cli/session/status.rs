//! `frontdesk session status`: what a customer's session is doing.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::cli::{Failure, Outcome, output};
use crate::config::PersonaName;
use crate::id::Printable;
use crate::session::PhaseName;

use super::refusal::{About, Doing};
use super::{Target, Token, tokenless};

#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// The customer's email.
    email: String,
    /// The kind of agent.
    #[arg(long, value_name = "NAME", default_value = PersonaName::BUILT_IN)]
    persona: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    target: Target,
}

impl Status {
    pub(super) fn run(self) -> Outcome {
        let status = self.status()?;
        if self.json {
            let row = json!({"customer": self.email, "persona": self.persona, "status": status});
            output::line(&row.to_string())?;
        } else {
            output::line(&Printable(&status).to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn status(&self) -> Result<String, Failure> {
        let (desk, token) = (self.target.desk(self.token.get())?, self.token.session()?);
        let about =
            About { email: &self.email, persona: Some(&self.persona), token: token.is_some(), doing: Doing::Look };
        let Some(id) = token else {
            let message = json!({"PERSONA_TYPE": self.persona, "EMAIL": self.email}).to_string();
            let path = format!("/sessionSTATUS?message={}", utf8_percent_encode(&message, NON_ALPHANUMERIC));
            return desk.wait(tokenless::ask(desk.server(), Method::GET, &path, String::new()), &about);
        };
        let session = desk.session(id, &about)?;
        if session.phase == PhaseName::Ended {
            return Err(about.ended());
        }
        let word = if session.persona == self.persona { word(session.phase) } else { "IDLE" };
        Ok(word.to_owned())
    }
}

/// A phase in the words that are said without a token.
fn word(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Pending | PhaseName::Starting => "PENDING",
        PhaseName::Running | PhaseName::Stopping => "RUNNING",
        PhaseName::Ended => "IDLE",
    }
}
