//! `frontdesk session stop`: as the customer with the session's token, as the operator without one.

use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Failure, Outcome, output};
use crate::config::Overrides;
use crate::control::{Command, Reply};
use crate::id::{Printable, SessionId};

use super::refusal::About;
use super::{Target, Token};

#[derive(Debug, Args)]
pub(in crate::cli) struct Stop {
    /// The session's id [default: that of the token].
    id: Option<String>,
    /// Kill its agent at once, without time to finish.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Deserialize)]
struct View {
    phase: String,
    outcome: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: Option<String>,
}

impl Stop {
    pub(super) fn run(self) -> Outcome {
        let of_token = self.token.get().map(|token| session_of(token).ok_or_else(no_token)).transpose()?;
        match (&self.id, of_token, self.token.get()) {
            (None, Some(id), Some(token)) => self.as_customer(id, token),
            (Some(id), Some(of_token), Some(token)) if id.parse() == Ok(of_token) => self.as_customer(of_token, token),
            (Some(id), _, _) => self.as_operator(id),
            (None, _, _) => Err(Failure::Usage(
                "name the session by its id (`frontdesk session list` shows them), or set FRONTDESK_TOKEN to its token"
                    .into(),
            )),
        }
    }

    fn as_customer(&self, id: SessionId, token: &str) -> Outcome {
        let client = self.target.client()?;
        let force = if self.force { "?force=true" } else { "" };
        let answer = client.ask(Method::DELETE, &format!("/v1/sessions/{id}{force}"), Some(token), String::new())?;
        if !matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED) {
            let problem: Problem = serde_json::from_slice(&answer.body).map_err(|_| client.stranger(&answer))?;
            return Err(refused(&answer, &problem));
        }
        let view: View = serde_json::from_slice(&answer.body).map_err(|_| client.stranger(&answer))?;
        output::line(&match view.outcome.filter(|_| view.phase == "ENDED") {
            Some(outcome) => format!("session {id} has ended: {}", Printable(&outcome)),
            None => format!("session {id} is stopping"),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn as_operator(&self, id: &str) -> Outcome {
        let config = self.configuration.load(Overrides::default())?.config;
        if let Reply::Done { message } =
            operate(&config, Command::StopSession { id: id.to_owned(), force: self.force })?
        {
            output::line(&message)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn refused(answer: &super::client::Answer, problem: &Problem) -> Failure {
    if problem.code == "token_required" {
        return Failure::Failed(
            "the token is no longer good; unset FRONTDESK_TOKEN and name the session by its id to stop it as the \
             operator"
                .into(),
        );
    }
    let about = About { email: "the customer", persona: None, token: true };
    about.failure(answer, &problem.code.to_ascii_uppercase(), problem.detail.as_deref())
}

/// A token begins with its session's id.
fn session_of(token: &str) -> Option<SessionId> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("fds_")?).ok()?;
    bytes.first_chunk().copied().map(SessionId::from_bytes)
}

fn no_token() -> Failure {
    Failure::Usage("the token is none: it begins with fds_, as `frontdesk session request` printed it".into())
}
