//! `frontdesk session initialize`: starts the agent of a requested session.

use std::process::ExitCode;

use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::cli::{Outcome, output};
use crate::id::Printable;

use super::client::quoted;
use super::refusal::About;
use super::{Target, Token};

#[derive(Debug, Args)]
pub(in crate::cli) struct Initialize {
    /// The customer's email.
    email: String,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    target: Target,
}

impl Initialize {
    pub(super) fn run(self) -> Outcome {
        let (client, token) = (self.target.client()?, self.token.get());
        let body = json!({"EMAIL": self.email}).to_string();
        let answer = client.ask(Method::POST, "/initializeSession", token, body)?;
        let reply = client.read(&answer)?;
        if answer.status != StatusCode::OK {
            let about = About { email: &self.email, persona: None, token: token.is_some() };
            return Err(about.failure(&answer, &reply.message, reply.detail.as_deref()));
        }
        output::line(&format!("the session of {} is running", Printable(&self.email)))?;
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            let (email, option) = (quoted(&self.email), self.target.option());
            output::line(&format!(
                "\nAsk its agent:\n\n  frontdesk session send {email} '{{\"say\": \"hello\"}}'{option}"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
