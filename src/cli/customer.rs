//! `frontdesk customer`: the customers of the embedded credential server.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::{Config, Overrides};
use crate::control::{Command, CustomerRow, Reply};
use crate::http::v1::throttled::list::ThrottledView;
use crate::id::Printable;

use super::operate::operate;
use super::{Configuration, Failure, Outcome, output, table};

#[derive(Debug, Subcommand)]
pub(super) enum Customer {
    /// Add a customer; asks for the password.
    Add(WithPassword),
    /// Replace a customer's password and revoke the tokens of the session; asks for the new one.
    Passwd(WithPassword),
    /// Disable a customer and stop its session: the server refuses the password until you enable it again.
    Disable(Named),
    /// Enable a disabled customer.
    Enable(Named),
    /// Remove a customer and stop its session.
    Remove(Named),
    /// List the customers.
    List(List),
    /// List the customers whose sign-ins the running server slows after too many failures.
    Throttled(Throttled),
    /// Clear a customer's failed attempts, so that the server checks the next password at once.
    Unthrottle(Named),
}

#[derive(Debug, Args)]
pub(super) struct WithPassword {
    #[command(flatten)]
    named: Named,
    /// Read the password from standard input (a line end at its end is not part of it).
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The customer's email.
    email: String,
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
pub(super) struct Throttled {
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Customer {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Add(add) => add.execute(|email, password| Command::AddCustomer { email, password }),
            Self::Passwd(passwd) => passwd.execute(|email, password| Command::SetPassword { email, password }),
            Self::Disable(named) => named.execute(|email| Ok(Command::SetDisabled { email, disabled: true })),
            Self::Enable(named) => named.execute(|email| Ok(Command::SetDisabled { email, disabled: false })),
            Self::Remove(named) => named.execute(|email| Ok(Command::RemoveCustomer { email })),
            Self::List(list) => list.run(),
            Self::Throttled(throttled) => throttled.run(),
            Self::Unthrottle(named) => named.execute(|email| Ok(Command::ClearThrottled { email })),
        }
    }
}

impl WithPassword {
    fn execute(self, command: impl FnOnce(String, String) -> Command) -> Outcome {
        let from_stdin = self.password_stdin;
        // First: nobody should type a password to learn that the file is wrong.
        let config = self.named.configuration.load(Overrides::default())?.config;
        self.named.execute_by(&config, |email| Ok(command(email, read_password(from_stdin, true)?)))
    }
}

impl Named {
    fn execute(self, command: impl FnOnce(String) -> Result<Command, Failure>) -> Outcome {
        let config = self.configuration.place()?;
        self.execute_by(&config, command)
    }

    fn execute_by(self, config: &Config, command: impl FnOnce(String) -> Result<Command, Failure>) -> Outcome {
        if let Reply::Done { message } = operate(config, command(self.email)?)? {
            output::line(&message)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> Outcome {
        const A_PAGE: usize = 1_000;
        let config = self.configuration.place()?;
        let (mut rows, mut after) = (Vec::new(), None);
        while let Reply::Customers(page) = operate(&config, Command::ListCustomers { after, most: A_PAGE })? {
            after = page.last().map(|row| row.key.clone());
            let is_last = page.len() < A_PAGE;
            rows.extend(page);
            if is_last {
                break;
            }
        }
        if self.json {
            return table::print_json(&rows);
        }
        table::print(
            &["EMAIL", "ADDED", "STATE"],
            rows.iter().map(cells),
            "no customers; add one with `frontdesk customer add`",
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Throttled {
    fn run(self) -> Outcome {
        let config = self.configuration.place()?;
        let Reply::Throttled(rows) = operate(&config, Command::ListThrottled)? else {
            return Err(Failure::Failed(
                "the running server gave another answer; use its version of this command".into(),
            ));
        };
        if self.json {
            return table::print_json(&rows);
        }
        let cells = |row: &ThrottledView| {
            let account = row.email.as_ref().or(row.operator.as_ref());
            let account = account.map(|account| Printable(account).to_string());
            let address = row.address.clone();
            vec![
                account.unwrap_or_else(|| "everybody".to_owned()),
                address.unwrap_or_else(|| "everywhere".to_owned()),
                row.failures.to_string(),
                row.refused.to_string(),
                row.until.clone(),
            ]
        };
        table::print(&["ACCOUNT", "FROM", "FAILED", "REFUSED", "UNTIL"], rows.iter().map(cells), "nobody is slowed")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn cells(row: &CustomerRow) -> Vec<String> {
    vec![Printable(&row.email).to_string(), row.added.clone(), row.state.clone()]
}

/// Reads a password from standard input, or asks for it at the terminal, twice if it is a new one.
pub(super) fn read_password(from_stdin: bool, is_new: bool) -> Result<String, Failure> {
    if from_stdin {
        let unreadable = |error| {
            Failure::Failed(format!("the password on standard input cannot be read: {error}; write UTF-8 text"))
        };
        let text = std::io::read_to_string(std::io::stdin()).map_err(unreadable)?;
        let line = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        return Ok(line.to_owned());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask for the password; use --password-stdin".into()));
    }
    let password = rpassword::prompt_password("Password: ")?;
    if is_new && rpassword::prompt_password("Again: ")? != password {
        return Err(Failure::Failed("the two passwords differ; nothing was changed".into()));
    }
    Ok(password)
}
