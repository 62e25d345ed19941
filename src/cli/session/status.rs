//! `frontdesk session status`: what a customer's session is doing.

use std::process::ExitCode;

use clap::Args;
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::cli::{Outcome, output};
use crate::config::PersonaName;

use super::refusal::About;
use super::{Target, Token};

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
        let (client, token) = (self.target.client()?, self.token.get());
        let message = json!({"PERSONA_TYPE": self.persona, "EMAIL": self.email}).to_string();
        let path = format!("/sessionSTATUS?message={}", utf8_percent_encode(&message, NON_ALPHANUMERIC));
        let answer = client.ask(Method::GET, &path, token, String::new())?;
        let reply = client.read(&answer)?;
        if answer.status != StatusCode::OK {
            let about = About { email: &self.email, persona: Some(&self.persona), token: token.is_some() };
            return Err(about.failure(&answer, &reply.message, reply.detail.as_deref()));
        }
        if self.json {
            let row = json!({"customer": self.email, "persona": self.persona, "status": reply.message});
            output::line(&row.to_string())?;
        } else {
            output::line(&crate::id::Printable(&reply.message).to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
