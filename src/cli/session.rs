//! `frontdesk session`: one customer's session from the request to its end, and an operator's view of all.
//!
//! `request`, `initialize`, `send` and `status` are a customer's: they speak HTTP to any Frontdesk. `list`,
//! `restart` and `events` are an operator's: they ask the server that has the data directory, or its store. `logs` is an operator's as
//! well, with a token also from another machine. `stop` is both.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use hyper::Uri;

use crate::client;
use crate::id::SessionId;

use super::{Failure, Outcome, caution};

mod desk;
mod events;
mod initialize;
mod list;
mod logs;
mod refusal;
mod request;
mod restart;
mod send;
mod show;
mod status;
mod stop;
mod tokenless;

use desk::Desk;

/// Where the server is when nobody says otherwise.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:5500";

const AFTER_REQUEST: &str = "\
If the customer has a session already, a fresh token of that one is printed and the command succeeds; --data is then \
not used, which a note on standard error says.";

const AFTER_STOP: &str = "\
With the session's token the server at --server is asked. Without one, or with the id of another session, the server \
that has the data directory is asked, or its store if none runs.";

const AFTER_RESTART: &str = "\
The agent is asked to end and killed after its persona's stop_grace; the next one starts at once, and nothing of it counts \
as a failure. A session that waits to start its agent again does not wait any longer.";

const AFTER_LOGS: &str = "\
With an operator's token the server at --server is asked. Without one, the log is read below the data directory, on the \
server's own machine. The log goes when its session has ended.";

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// Request a session with the customer's password; prints the session's token.
    #[command(after_help = AFTER_REQUEST)]
    Request(request::Request),
    /// Start the agent of a requested session, and wait until it is ready.
    #[command(visible_alias = "initialise")]
    Initialize(initialize::Initialize),
    /// Send the agent a request, and print its answer.
    Send(send::Send),
    /// Print the status of a customer's session: IDLE, PENDING or RUNNING.
    Status(status::Status),
    /// Stop a session: with its token as its customer, without one as the operator of this machine.
    #[command(after_help = AFTER_STOP)]
    Stop(stop::Stop),
    /// Replace the agent of a session on this machine's server; the session goes on.
    #[command(after_help = AFTER_RESTART)]
    Restart(restart::Restart),
    /// List the sessions on this machine's server.
    List(list::List),
    /// Show all about a session on this machine's server.
    Show(show::Show),
    /// Show a session's steps, and its agents' progress, events, log lines and parts of answers.
    Events(events::Events),
    /// Show the stderr of a session's agent.
    #[command(after_help = AFTER_LOGS)]
    Logs(logs::Logs),
}

impl Session {
    pub(super) fn run(self) -> Outcome {
        if let Some(flag) = secret_among(std::env::args()) {
            anstream::eprintln!(
                "{}",
                caution(&format!(
                    "other users of this machine can read what follows {flag} in the list of processes; {flag}-file takes it \
                     from a file or standard input"
                ))
            );
        }
        match self {
            Self::Request(request) => request.run(),
            Self::Initialize(initialize) => initialize.run(),
            Self::Send(send) => send.run(),
            Self::Status(status) => status.run(),
            Self::Stop(stop) => stop.run(),
            Self::Restart(restart) => restart.run(),
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Events(events) => events.run(),
            Self::Logs(logs) => logs.run(),
        }
    }
}

/// The flag of a secret among the arguments, where everybody on the machine can read it.
fn secret_among(mut arguments: impl Iterator<Item = String>) -> Option<&'static str> {
    const SECRETS: [&str; 2] = ["--token", "--operator-token"];
    arguments.find_map(|argument| {
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        SECRETS.into_iter().find(|flag| *flag == name)
    })
}

/// Reads a secret from a file, or from standard input for `-`.
fn secret_in_file(path: &str) -> Result<String, String> {
    let read = if path == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    let secret = read.map_err(|error| format!("it cannot be read: {error}"))?.trim().to_owned();
    if secret.is_empty() { Err("it holds no token".to_owned()) } else { Ok(secret) }
}

/// Which server is meant.
#[derive(Clone, Debug, Args)]
struct Target {
    /// The server's address: a URL, or a Unix socket's path after unix:
    #[arg(long, value_name = "URL", env = "FRONTDESK_SERVER", default_value = DEFAULT_SERVER, value_parser = server)]
    server: String,
}

/// The token of a session.
#[derive(Clone, Debug, Args)]
struct Token {
    /// The session's token, as `session request` printed it.
    #[arg(long, value_name = "TOKEN", env = "FRONTDESK_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The same from a file, or - for standard input.
    #[arg(long, value_name = "FILE", value_parser = secret_in_file)]
    token_file: Option<String>,
}

impl Token {
    /// A variable that is set to nothing is not set.
    fn get(&self) -> Option<&str> {
        let token = self.token_file.as_deref().or(self.token.as_deref());
        token.map(str::trim).filter(|token| !token.is_empty())
    }

    /// The session whose token it is, which a token begins with.
    fn session(&self) -> Result<Option<SessionId>, Failure> {
        let id = |token: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("fds_")?).ok()?;
            bytes.first_chunk().copied().map(SessionId::from_bytes)
        };
        let no_token = || {
            Failure::Usage(
                "not a session token: session tokens begin with fds_; `frontdesk session request` prints one".into(),
            )
        };
        self.get().map(|token| id(token).ok_or_else(no_token)).transpose()
    }
}

impl Target {
    fn desk(&self, token: Option<&str>) -> Result<Desk, Failure> {
        Desk::new(&self.server, token)
    }

    /// What the commands that are shown must add to reach the same server.
    fn option(&self) -> String {
        let by_variable = std::env::var("FRONTDESK_SERVER").is_ok_and(|url| server(&url).as_ref() == Ok(&self.server));
        if by_variable || self.server == DEFAULT_SERVER { String::new() } else { format!(" --server {}", self.server) }
    }

    /// Whether whatever is sent crosses a network in clear.
    fn is_in_clear(&self) -> bool {
        let uri: Uri = self.server.parse().unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_here = host.parse().map_or(host == "localhost", |ip: IpAddr| ip.to_canonical().is_loopback());
        uri.scheme_str() == Some("http") && !is_here
    }
}

fn server(text: &str) -> Result<String, String> {
    client::address(text).map_err(|_| format!("write it as a URL such as {DEFAULT_SERVER}, or as unix:/PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_among_the_arguments_is_noticed_and_a_file_of_it_is_none() {
        let flag = |arguments: &[&str]| secret_among(arguments.iter().map(ToString::to_string));
        assert_eq!(flag(&["send", "a@b.example", "--token", "fds_x", "{}"]), Some("--token"));
        assert_eq!(flag(&["logs", "a@b.example", "--operator-token=fdo_x"]), Some("--operator-token"));
        assert_eq!(flag(&["send", "a@b.example", "--token-file", "token", "{}"]), None);
    }

    #[test]
    fn only_plain_http_to_another_machine_is_in_clear() {
        let in_clear = |server: &str| Target { server: server.to_owned() }.is_in_clear();
        for server in [
            "unix:/run/a",
            "http://127.0.0.1:5500",
            "http://[::1]:5500",
            "http://localhost",
            "https://desk.example.org",
        ] {
            assert!(!in_clear(server), "{server}");
        }
        assert!(in_clear("http://desk.example.org") && in_clear("http://10.0.0.1:5500"));
    }
}
