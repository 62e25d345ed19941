//! For authors of agents in Rust: the agent's side of the protocol, blocking, so that an agent is one trait with two
//! functions. docs/AGENT-PROTOCOL.md is the page behind it, `examples/agent.rs` a whole agent.
//!
//! ```text
//!   stdin ──> one reader ┬── initialize ──> Agent::initialize, before anything else is read
//!                        ├── request ─────> Agent::request, while another thread reads on ──────┐
//!                        ├── cancel ──────> Request::is_cancelled                               ├──> stdout
//!                        └── ping, unknown calls: answered here ────────────────────────────────┘
//! ```
//!
//! [`run`] keeps stdout to itself: what is printed by `println!` or by a child process goes to stderr, which is the
//! agent's log. A request that panics is answered with an error, and so is one that is forgotten. `shutdown` and the
//! end of stdin end the reading, after which requests in flight have two seconds left.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

mod desk;
mod message;
mod request;
mod service;
mod session;

pub use desk::Desk;
pub use request::{Answer, Request};
pub use session::Session;

use desk::InFlight;
use service::Service;

/// How long requests in flight may go on after `shutdown`: below the quarter of the usual `stop_grace` after which
/// SIGTERM comes.
const FAREWELL: Duration = Duration::from_secs(2);

/// What an author writes.
pub trait Agent: Send + Sync + 'static {
    /// Prepares for the session; requests come once this has returned. The default needs nothing.
    ///
    /// # Errors
    /// A [`Failure`] whose message says why the agent can't start; it becomes the reason of the failed start.
    fn initialize(&mut self, session: Session, desk: &Desk) -> Result<Ready, Failure> {
        let _ = (session, desk);
        Ok(Ready::default())
    }

    /// Answers one request of the customer. Several run at once, each in a thread of its own.
    ///
    /// # Errors
    /// A [`Failure`] whose message the customer reads.
    fn request(&self, request: &Request) -> Result<Answer, Failure>;
}

/// That an agent is ready.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// The agent's name, for whoever reads along; may be empty.
    pub name: String,
}

impl Ready {
    /// Ready, under this name.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}

/// Why something can't be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// A code of JSON-RPC's. Frontdesk does not pass it on.
    pub code: i64,
    /// Words for the customer, without secrets.
    pub message: String,
}

impl Failure {
    /// The code of a failure of the agent's own.
    pub const FAILED: i64 = -32_000;
    /// The code for a call that is not known.
    pub const UNKNOWN_METHOD: i64 = -32_601;
    /// The code for a call or a request that does not have the form that it should.
    pub const BAD_FORM: i64 = -32_602;
    /// The code for a fault in the agent.
    pub const INTERNAL: i64 = -32_603;

    /// A failure in these words.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: Self::FAILED, message: message.into() }
    }

    fn coded(code: i64, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// Serves until the desk says `shutdown` or closes stdin; returns 0 then, and 1 if the streams failed.
pub fn run(agent: impl Agent) -> ExitCode {
    let served = keep_stdout().and_then(|output| serve(agent, BufReader::new(io::stdin()), output));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the connection to the desk failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The same as [`run`] over other streams.
///
/// # Errors
/// What `input` said. If `output` fails, the desk is gone, which the end of `input` tells, too.
pub fn serve(
    agent: impl Agent,
    input: impl BufRead + Send + 'static,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    let in_flight = Arc::new(InFlight::default());
    Service::new(agent, input, Desk::new(output), Arc::clone(&in_flight)).run()?;
    in_flight.await_none(FAREWELL);
    Ok(())
}

/// Takes stdout for the protocol, and lets everybody else's stdout be stderr.
fn keep_stdout() -> io::Result<File> {
    let output = rustix::io::dup(rustix::stdio::stdout())?;
    rustix::io::fcntl_setfd(&output, rustix::io::FdFlags::CLOEXEC)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(output))
}

#[cfg(test)]
mod tests;
