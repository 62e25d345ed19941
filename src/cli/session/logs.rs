//! `frontdesk session logs`: what a session's agent writes to stderr, for its operator.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::agent::kept_logs::KeptLogs;
use crate::cli::{Configuration, Failure, Outcome, output};
use crate::client::{Client, ClientError, Code, LogQuery, Logs as Stream, SessionFilter};
use crate::config::Config;
use crate::control::{Command, EventPage};
use crate::data_dir::DataPaths;
use crate::id::SessionId;
use crate::shim::log_file::LogFile;
use crate::shim::place::Place;

use super::Target;
use super::refusal::{About, Doing};

/// Between two looks for new lines.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(in crate::cli) struct Logs {
    /// The session's id, or its customer's email: then the customer's latest session.
    #[arg(value_name = "ID|EMAIL")]
    session: String,
    /// Go on with new lines until the session ends.
    #[arg(long)]
    follow: bool,
    /// How many lines from the end.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=100_000))]
    tail: u32,
    /// An operator's token with the scope sessions:read.
    #[arg(long, value_name = "TOKEN", env = "FRONTDESK_OPERATOR_TOKEN", hide_env_values = true)]
    operator_token: Option<String>,
    /// The same from a file, or - for standard input.
    #[arg(long, value_name = "FILE", value_parser = super::secret_in_file)]
    operator_token_file: Option<String>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    configuration: Configuration,
}

impl Logs {
    pub(super) fn run(self) -> Outcome {
        let token = self.operator_token_file.as_deref().or(self.operator_token.as_deref());
        match token.map(str::trim).filter(|token| !token.is_empty()) {
            Some(token) => self.ask_server(token)?,
            None => self.read_file()?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn ask_server(&self, token: &str) -> Result<(), Failure> {
        let desk = self.target.desk(Some(token))?;
        let about = About { email: &self.session, persona: None, token: true, doing: Doing::ReadLogs };
        let Some(mut logs) = desk.wait(self.open(desk.client()), &about)? else {
            return Err(about.refused(Code::SessionNotFound));
        };
        while let Some(piece) = desk.wait(logs.next(), &about)? {
            output::foreign(&piece)?;
        }
        Ok(())
    }

    async fn open(&self, client: &Client) -> Result<Option<Stream>, ClientError> {
        let id = match self.session.parse() {
            Ok(id) => Some(id),
            Err(_) => latest_of(client, &self.session).await?,
        };
        let Some(id) = id else { return Ok(None) };
        client.logs(id, &LogQuery { follow: self.follow, tail: self.tail }).await.map(Some)
    }

    fn read_file(&self) -> Result<(), Failure> {
        let config = self.configuration.place()?;
        let EventPage { session, goes_on, .. } = look(&config, &self.session)?;
        let paths = DataPaths::new(&config.data_dir);
        let place = Place::new(&paths.agents().join(session.to_string()));
        // Without a server nothing goes on that could be followed, and the agent's log is there all the same.
        if !goes_on && !place.log().exists() {
            let about = About { email: &self.session, persona: None, token: false, doing: Doing::ReadLogs };
            let kept = KeptLogs::new(paths.logs()).end(session, self.tail as usize);
            return output::foreign(&kept.ok_or_else(|| about.refused(Code::LogsGone))?);
        }
        let session = session.to_string();
        let mut log = LogFile::new(place);
        output::foreign(&log.end(self.tail as usize))?;
        if self.follow { follow(&config, &session, &mut log) } else { Ok(()) }
    }
}

/// Prints what comes until the session ends.
fn follow(config: &Config, session: &str, log: &mut LogFile) -> Result<(), Failure> {
    loop {
        // Looked at first: what was written before the session ended is read below.
        let goes_on = look(config, session)?.goes_on;
        loop {
            let piece = log.more();
            if piece.is_empty() {
                break;
            }
            output::foreign(&piece)?;
        }
        if !goes_on {
            return Ok(());
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

async fn latest_of(client: &Client, email: &str) -> Result<Option<SessionId>, ClientError> {
    let filter = SessionFilter { email: Some(email.to_owned()), ended: true, ..SessionFilter::default() };
    let youngest = client.sessions(&filter).next().await?;
    Ok(youngest.and_then(|page| page.first().map(|session| session.session.id)))
}

/// Which session is meant, and whether it goes on.
fn look(config: &Config, session: &str) -> Result<EventPage, Failure> {
    let command = Command::ListEvents { session: session.to_owned(), after: u64::MAX, most: 1 };
    super::events::page_of(config, command)
}
