//! `frontdesk session`: one customer's session from the request to its end, and an operator's view of all.
//!
//! `request`, `initialize`, `send` and `status` are a customer's: they speak HTTP to any Frontdesk. `list` and
//! `events` are an operator's: they ask the server that has the data directory, or its store. `stop` is both.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use hyper::Uri;

use super::Outcome;

mod client;
mod events;
mod initialize;
mod list;
mod refusal;
mod request;
mod send;
mod status;
mod stop;

use client::Client;

/// Where the server is when nobody says otherwise.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:5500";

const AFTER_REQUEST: &str = "\
If the customer has a session already, a fresh token of that one is printed and the command succeeds; --data is then \
not used, which a note on standard error says.";

const AFTER_STOP: &str = "\
With the session's token the server at --server is asked. Without one, or with the id of another session, the server \
that has the data directory is asked, or its store if none runs.";

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
    /// Say what a customer's session is doing: IDLE, PENDING or RUNNING.
    Status(status::Status),
    /// Stop a session: with its token as its customer, without one as the operator of this machine.
    #[command(after_help = AFTER_STOP)]
    Stop(stop::Stop),
    /// List the sessions on this machine's server.
    List(list::List),
    /// Show what a session's agents said: progress, events, log lines, parts of answers.
    Events(events::Events),
}

impl Session {
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Request(request) => request.run(),
            Self::Initialize(initialize) => initialize.run(),
            Self::Send(send) => send.run(),
            Self::Status(status) => status.run(),
            Self::Stop(stop) => stop.run(),
            Self::List(list) => list.run(),
            Self::Events(events) => events.run(),
        }
    }
}

/// Which server is meant.
#[derive(Clone, Debug, Args)]
struct Target {
    /// The server's address.
    #[arg(long, value_name = "URL", env = "FRONTDESK_SERVER", default_value = DEFAULT_SERVER, value_parser = server)]
    server: String,
}

/// The token of a session.
#[derive(Clone, Debug, Args)]
struct Token {
    /// The session's token, as `session request` printed it.
    #[arg(long, value_name = "TOKEN", env = "FRONTDESK_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Token {
    /// A variable that is set to nothing is not set.
    fn get(&self) -> Option<&str> {
        self.token.as_deref().map(str::trim).filter(|token| !token.is_empty())
    }
}

impl Target {
    fn client(&self) -> Result<Client, super::Failure> {
        Client::new(&self.server)
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
    let trimmed = text.trim_end_matches('/');
    let uri: Option<Uri> = trimmed.parse().ok();
    let is_good = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.query().is_none()
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    match uri.filter(is_good) {
        Some(_) => Ok(trimmed.to_owned()),
        None => Err(format!("write it as a URL such as {DEFAULT_SERVER}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_to_another_machine_is_in_clear() {
        let in_clear = |server: &str| Target { server: server.to_owned() }.is_in_clear();
        for server in ["http://127.0.0.1:5500", "http://[::1]:5500", "http://localhost", "https://desk.example.org"] {
            assert!(!in_clear(server), "{server}");
        }
        assert!(in_clear("http://desk.example.org") && in_clear("http://10.0.0.1:5500"));
    }

    #[test]
    fn a_server_is_named_by_its_url() {
        assert_eq!(server("http://localhost:5500/").unwrap(), "http://localhost:5500");
        assert_eq!(server("https://desk.example.org").unwrap(), "https://desk.example.org");
        for wrong in ["", "localhost:5500", "127.0.0.1:5500", "ftp://x", "http://", "http://a:b@x", "http://x/?q=1"] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
