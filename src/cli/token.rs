//! `frontdesk token`: operators' tokens.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::Overrides;
use crate::control::{Command, Reply, TokenRow};
use crate::id::Printable;
use crate::operator_token::LIFETIMES;
use crate::principal::Scope;

use super::operate::operate;
use super::{Configuration, Failure, Outcome, output, table};

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token, and print it: it is not shown again.
    Create(Create),
    /// List the tokens, revoked and expired ones, too.
    List(List),
    /// Revoke a token at once, and end the console sign-ins made with it.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name, which the audit shows for each of its calls.
    name: String,
    /// Its scope: sessions:read, sessions:write, customers:write or admin. May be given several times.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// How long it is valid.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "90d")]
    expires: Duration,
    /// It is valid until it is revoked.
    #[arg(long, conflicts_with = "expires")]
    never_expires: bool,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Its name, or its id.
    #[arg(value_name = "NAME|ID")]
    token: String,
    #[command(flatten)]
    configuration: Configuration,
}

impl Token {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Create {
    fn run(self) -> Outcome {
        let config = self.configuration.load(Overrides::default())?.config;
        let valid_for = (!self.never_expires).then_some(self.expires);
        let command = Command::CreateToken { name: self.name, scopes: self.scopes, valid_for };
        let Reply::Token(made) = operate(&config, command)? else { return Err(stranger()) };
        let until = made.row.expires.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
        anstream::eprintln!(
            "token {}: allows {}, valid {until}; it is not shown again",
            Printable(&made.row.name),
            names(&made.row.scopes)
        );
        output::line(&made.text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let Reply::Tokens(rows) = operate(&config, Command::ListTokens)? else { return Err(stranger()) };
        if self.json {
            return table::print_json(&rows);
        }
        table::print(
            &["NAME", "SCOPES", "CREATED", "EXPIRES", "STATE", "ID"],
            rows.iter().map(cells),
            "no tokens; make one with `frontdesk token create NAME --scope sessions:read`",
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        if let Reply::Done { message } = operate(&config, Command::RevokeToken { token: self.token })? {
            output::line(&message)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn cells(row: &TokenRow) -> Vec<String> {
    vec![
        Printable(&row.name).to_string(),
        names(&row.scopes),
        row.created.clone(),
        row.expires.clone().unwrap_or_else(|| "never".to_owned()),
        row.state.clone(),
        row.id.to_string(),
    ]
}

fn names(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(" ")
}

fn stranger() -> Failure {
    Failure::Failed(
        "the running server gave another answer than tokens; use the server's version of this command".into(),
    )
}

fn scope(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|error: crate::principal::UnknownScope| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    let given = humantime::parse_duration(text).ok().filter(|time| LIFETIMES.contains(time));
    given.ok_or_else(|| "give a time from 1m to 36500d, such as 30d".to_owned())
}
