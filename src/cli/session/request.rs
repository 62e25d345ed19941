//! `frontdesk session request`: the credentials in exchange for a session and its token.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::{Failure, Outcome, caution, customer, output};
use crate::client::{Creation, NewSession};
use crate::config::PersonaName;
use crate::id::{Printable, SessionId};

use super::Target;
use super::desk::quoted;
use super::refusal::{About, Doing};

#[derive(Debug, Args)]
pub(in crate::cli) struct Request {
    /// The customer's email.
    email: String,
    /// The kind of agent.
    #[arg(long, value_name = "NAME", default_value = PersonaName::BUILT_IN)]
    persona: String,
    /// The agent's data at its start, a JSON object [default: {}].
    #[arg(long, value_name = "JSON", conflicts_with = "data_file")]
    data: Option<String>,
    /// The same from a file.
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Read the password from standard input (a line end at its end is not part of it).
    #[arg(long)]
    password_stdin: bool,
    /// Print the token and nothing else: TOKEN=$(frontdesk session request ...).
    #[arg(long, conflicts_with = "json")]
    token_only: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Serialize)]
struct Opened<'a> {
    id: SessionId,
    token: &'a str,
    already_running: bool,
}

impl Request {
    pub(super) fn run(self) -> Outcome {
        let data = self.data()?;
        let desk = self.target.desk(None)?;
        if self.target.is_in_clear() {
            anstream::eprintln!(
                "{}",
                caution("the password crosses the network unencrypted; an https:// server protects it")
            );
        }
        let password = customer::read_password(self.password_stdin, false)?;
        let new = NewSession {
            email: (&self.email).into(),
            password: (&password).into(),
            persona: (&self.persona).into(),
            data: Some(&data),
        };
        let about = About { email: &self.email, persona: Some(&self.persona), token: false, doing: Doing::Request };
        let (id, token, already_running) = match desk.wait(desk.client().create_session(&new, None), &about)? {
            Creation::Created(created) => (created.id, created.token, false),
            Creation::AlreadyRunning { session, token } => (session, token, true),
        };
        self.print(&Opened { id, token: &token, already_running })?;
        Ok(ExitCode::SUCCESS)
    }

    fn data(&self) -> Result<Box<RawValue>, Failure> {
        let (text, source) = match (&self.data, &self.data_file) {
            (Some(text), _) => (text.clone(), "--data".to_owned()),
            (None, Some(path)) => {
                let unreadable = |error| Failure::Usage(format!("{} cannot be read: {error}", path.display()));
                (std::fs::read_to_string(path).map_err(unreadable)?, path.display().to_string())
            }
            (None, None) => ("{}".to_owned(), String::new()),
        };
        match serde_json::from_str::<Box<RawValue>>(&text) {
            Ok(data) if data.get().starts_with('{') => Ok(data),
            Ok(_) => Err(Failure::Usage(format!("{source} must be a JSON object such as {{\"theme\": \"dark\"}}"))),
            Err(error) => {
                Err(Failure::Usage(format!("{source} is not JSON ({error}); write it as {{\"theme\": \"dark\"}}")))
            }
        }
    }

    fn print(&self, opened: &Opened<'_>) -> Result<(), Failure> {
        let Opened { id, token, already_running } = opened;
        if *already_running {
            let unused = if self.data.is_some() || self.data_file.is_some() { "; the data was not used" } else { "" };
            let email = Printable(&self.email);
            anstream::eprintln!(
                "{}",
                caution(&format!("{email} has a session already; this is a token of it{unused}"))
            );
        }
        if self.token_only {
            return output::line(token);
        }
        if self.json {
            return output::json(opened);
        }
        let (email, option) = (quoted(&self.email), self.target.option());
        let next = if *already_running { format!("status {email}") } else { format!("initialize {email}") };
        output::write(&format!(
            "session {id}\ntoken   {token}\n\nGo on with:\n\n  export FRONTDESK_TOKEN={token}\n  frontdesk session \
             {next}{option}\n"
        ))
    }
}
