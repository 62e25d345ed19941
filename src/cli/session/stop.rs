//! `frontdesk session stop`: as the customer with the session's token, as the operator without one.

use std::process::ExitCode;

use clap::Args;

use crate::cli::operate::operate;
use crate::cli::{Configuration, Failure, Outcome, output};
use crate::control::{Command, Reply};
use crate::id::SessionId;
use crate::session::PhaseName;

use super::refusal::{About, Doing};
use super::{Target, Token};

#[derive(Debug, Args)]
pub(in crate::cli) struct Stop {
    /// The session's id, or its customer's email: then the customer's latest session [default: that of the token].
    #[arg(value_name = "ID|EMAIL")]
    session: Option<String>,
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

impl Stop {
    pub(super) fn run(self) -> Outcome {
        let of_token = self.token.session()?;
        match (&self.session, of_token) {
            (None, Some(id)) => self.as_customer(id),
            (Some(session), Some(of_token)) if session.parse() == Ok(of_token) => self.as_customer(of_token),
            (Some(session), _) => self.as_operator(session),
            (None, None) => Err(Failure::Usage(
                "name the session by its id (`frontdesk session list` shows them) or its customer's email, or set \
                 FRONTDESK_TOKEN to its token"
                    .into(),
            )),
        }
    }

    fn as_customer(&self, id: SessionId) -> Outcome {
        let desk = self.target.desk(self.token.get())?;
        let about = About { email: "the customer", persona: None, token: true, doing: Doing::Stop };
        let session = desk.wait(desk.client().stop(id, self.force), &about)?;
        output::line(&match session.outcome.filter(|_| session.phase == PhaseName::Ended) {
            Some(outcome) => format!("session {id} has ended: {outcome}"),
            None => format!("session {id} is stopping"),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn as_operator(&self, session: &str) -> Outcome {
        let config = self.configuration.place()?;
        if let Reply::Done { message } =
            operate(&config, Command::StopSession { id: session.to_owned(), force: self.force })?
        {
            output::line(&message)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
