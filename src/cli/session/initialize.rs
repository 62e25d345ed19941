//! `frontdesk session initialize`: starts the agent of a requested session.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::json;

use crate::cli::{Failure, Outcome, output};
use crate::id::{Printable, SessionId};
use crate::session::PhaseName;

use super::desk::{Desk, quoted};
use super::refusal::{About, Doing};
use super::{Target, Token, tokenless};

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
        let desk = self.target.desk(self.token.get())?;
        let about = About { email: &self.email, persona: None, token: self.token.get().is_some(), doing: Doing::Start };
        match self.token.session()? {
            Some(id) => start(&desk, id, &about)?,
            None => {
                let body = json!({"EMAIL": self.email}).to_string();
                desk.wait(tokenless::ask(desk.server(), Method::POST, "/initializeSession", body), &about)?;
            }
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

/// Starts the agent, and waits for as long as the server tries.
fn start(desk: &Desk, id: SessionId, about: &About<'_>) -> Result<(), Failure> {
    const A_WHILE: Duration = Duration::from_mins(5);
    if desk.session(id, about)?.phase == PhaseName::Ended {
        return Err(about.ended());
    }
    while desk.wait(desk.client().initialize(id, A_WHILE), about)?.phase != PhaseName::Running {}
    Ok(())
}
