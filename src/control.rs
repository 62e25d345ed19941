//! The control socket: where operators' commands reach a running server.
//!
//! A Unix socket in the data directory, mode 0600, that takes peers of the server's own user only. One connection
//! carries one [`Command`] as a line of JSON and one [`Reply`] as another. Without a server the command line executes
//! the same commands on the store itself, so that both ways do the same.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::http::v1::nodes::NodeView;
use crate::http::v1::throttled::list::ThrottledView;
use crate::id::SessionId;
use crate::principal::Scope;
use crate::shutdown::Tasks;

mod audit;
mod events;
mod operator;
mod reload;
mod session;
mod set_aside;
#[cfg(test)]
mod tests;
mod tokens;

pub use audit::{AuditQuery, AuditRow};
pub use events::{EventPage, EventRow};
pub use operator::{CustomerRow, Operator, SessionRow};
pub use reload::{Reloaded, Reloader};
pub use session::SessionDetail;
pub use tokens::{MadeToken, TokenRow};

const SOCKET: &str = "control.sock";
const MOST_BYTES: u64 = 1 << 20;
/// How long a command may take; all of them are a matter of seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a look may take. Only the audit is searched from end to end.
const PATIENCE_OF_A_LOOK: Duration = Duration::from_secs(5);
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// What an operator may ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Add a customer.
    AddCustomer {
        /// The email.
        email: String,
        /// The password, in clear on a socket that only this user can open.
        password: String,
    },
    /// Replace a customer's password.
    SetPassword {
        /// The email.
        email: String,
        /// The new password.
        password: String,
    },
    /// Remove a customer, and stop its session.
    RemoveCustomer {
        /// The email.
        email: String,
    },
    /// Disable a customer, and stop its session; or enable it again.
    SetDisabled {
        /// The email.
        email: String,
        /// Which of the two.
        disabled: bool,
    },
    /// List whose sign-ins are being slowed.
    ListThrottled,
    /// Forget what failed for a customer's account.
    ClearThrottled {
        /// The email.
        email: String,
    },
    /// List customers in the order of their keys.
    ListCustomers {
        /// Only those after this key.
        after: Option<String>,
        /// At most so many.
        most: usize,
    },
    /// List sessions, the youngest first.
    ListSessions {
        /// Only this customer's.
        email: Option<String>,
        /// Ended ones, too.
        ended: bool,
        /// Only those older than this one.
        before: Option<SessionId>,
        /// At most so many.
        most: usize,
    },
    /// Show everything that is known of a session.
    ShowSession {
        /// Its id, or its customer's email.
        session: String,
    },
    /// List what a session's agents said of themselves, in its order.
    ListEvents {
        /// The session's id, or its customer's email.
        session: String,
        /// Only those after this number.
        after: u64,
        /// At most so many.
        most: usize,
    },
    /// Stop a session.
    StopSession {
        /// Its id, or its customer's email.
        id: String,
        /// Kill its agent at once.
        force: bool,
    },
    /// Have a session go on with another agent.
    RestartSession {
        /// Its id, or its customer's email.
        session: String,
    },
    /// Make an operator's token.
    CreateToken {
        /// Its name.
        name: String,
        /// What it allows.
        scopes: Vec<Scope>,
        /// How long it is valid; for ever, if nothing.
        valid_for: Option<Duration>,
    },
    /// List operators' tokens, the oldest first.
    ListTokens,
    /// Revoke an operator's token.
    RevokeToken {
        /// Its name, or its id.
        token: String,
    },
    /// List the audit, the youngest entry first.
    ListAudit {
        /// What of it.
        query: AuditQuery,
        /// At most so many.
        most: usize,
    },
    /// Tell how the server is.
    Status,
    /// Take no new sessions and start no agents, or go on with both.
    Drain {
        /// Go on.
        cancel: bool,
    },
    /// Read the configuration again.
    Reload,
    /// Stop the server.
    Stop {
        /// End the agents as well.
        agents: bool,
    },
}

impl Command {
    /// Whether it changes nothing.
    pub fn only_looks(&self) -> bool {
        match self {
            Self::ListThrottled
            | Self::ListCustomers { .. }
            | Self::ListSessions { .. }
            | Self::ShowSession { .. }
            | Self::ListEvents { .. }
            | Self::ListTokens
            | Self::ListAudit { .. }
            | Self::Status => true,
            Self::AddCustomer { .. }
            | Self::SetPassword { .. }
            | Self::RemoveCustomer { .. }
            | Self::SetDisabled { .. }
            | Self::ClearThrottled { .. }
            | Self::StopSession { .. }
            | Self::RestartSession { .. }
            | Self::CreateToken { .. }
            | Self::RevokeToken { .. }
            | Self::Drain { .. }
            | Self::Reload
            | Self::Stop { .. } => false,
        }
    }

    /// What nobody knows who got no answer.
    fn doubt(&self) -> &'static str {
        if self.only_looks() { "" } else { "; the command may have been carried out all the same" }
    }
}

/// What the server answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done {
        /// One sentence for the operator.
        message: String,
    },
    /// The customers asked for.
    Customers(Vec<CustomerRow>),
    /// Who is being slowed.
    Throttled(Vec<ThrottledView>),
    /// The sessions asked for.
    Sessions(Vec<SessionRow>),
    /// The session asked for.
    Session(Box<SessionDetail>),
    /// The events asked for.
    Events(EventPage),
    /// The token that was made.
    Token(MadeToken),
    /// The tokens asked for.
    Tokens(Vec<TokenRow>),
    /// The entries of the audit asked for.
    Audit(Vec<AuditRow>),
    /// How the server is.
    Node(Box<NodeView>),
    /// What the configuration that was read changes.
    Reloaded(Reloaded),
    /// It could not be done; one sentence that says why.
    Refused(String),
}

/// Serves operators' commands until the tasks drain.
///
/// # Errors
/// What the system said when the socket could not be made.
pub fn serve(directory: &Path, operator: Operator, tasks: &Tasks) -> io::Result<()> {
    let socket = Socket::in_directory(directory)?;
    let path = directory.join(SOCKET);
    // The directory's lock is ours: a socket that is there was left by a server that is gone.
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(socket.path())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let (accepting, handlers) = (tasks.clone(), tasks.clone());
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = accepting.draining() => break,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // A lack of descriptors needs others to end first.
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            };
            let operator = operator.clone();
            handlers.spawn(async move {
                let own = rustix::process::getuid().as_raw();
                if let Err(error) = handle(stream, &operator, own).await {
                    tracing::debug!(error = %error, "control connection broke");
                }
            });
        }
        // Another server may have made its own socket only after this one's lock is gone.
        let _ = std::fs::remove_file(path);
    });
    Ok(())
}

async fn handle(stream: UnixStream, operator: &Operator, own: u32) -> io::Result<()> {
    const LONGEST: Duration = Duration::from_secs(10);
    let is_own = stream.peer_cred()?.uid() == own;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    tokio::time::timeout(LONGEST, (&mut stream).take(MOST_BYTES).read_line(&mut line)).await??;
    let reply = match serde_json::from_str::<Command>(&line) {
        // Only after the line was read: closing on it would take the reply away as well.
        _ if !is_own => Reply::Refused(format!(
            "only the server's own user may give it commands; run this as that user, such as with `sudo -u '#{own}'`"
        )),
        Ok(command) => operator.execute(command).await,
        Err(error) => Reply::Refused(format!("the running server does not know this command ({error})")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.shutdown().await
}

/// Sends a command to the server that has the directory. `None` if there is none.
///
/// # Errors
/// What the system said once a connection was there, or that there was no whole answer in time.
pub async fn send(directory: &Path, command: &Command) -> io::Result<Option<Reply>> {
    let is_short = command.only_looks() && !matches!(command, Command::ListAudit { .. });
    send_within(if is_short { PATIENCE_OF_A_LOOK } else { PATIENCE }, directory, command).await
}

async fn send_within(patience: Duration, directory: &Path, command: &Command) -> io::Result<Option<Reply>> {
    let Ok(socket) = Socket::in_directory(directory) else { return Ok(None) };
    let Ok(mut stream) = UnixStream::connect(socket.path()).await else { return Ok(None) };
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    let answered = tokio::time::timeout(patience, async {
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    });
    let answer = answered
        .await
        .map_err(|_elapsed| io::Error::other(format!("it took longer than {patience:?}{}", command.doubt())))??;
    if !answer.ends_with(b"\n") {
        return Err(io::Error::other(format!("it closed the connection without a reply{}", command.doubt())));
    }
    let reply = serde_json::from_slice(&answer).map_err(|error| {
        io::Error::other(format!("this version does not know its reply ({error}); use the server's version"))
    })?;
    Ok(Some(reply))
}

/// Whether a server answers on the directory's socket. It is asked for nothing, so that it does nothing.
pub fn is_served(directory: &Path) -> bool {
    Socket::in_directory(directory).and_then(|socket| std::os::unix::net::UnixStream::connect(socket.path())).is_ok()
}

/// The socket's address through an open directory: a Unix socket's path holds 107 bytes, a directory's any number.
struct Socket {
    directory: std::fs::File,
}

impl Socket {
    fn in_directory(path: &Path) -> io::Result<Self> {
        Ok(Self { directory: std::fs::File::open(path)? })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.directory.as_raw_fd()))
    }
}
