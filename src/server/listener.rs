//! The listening socket: opened by this process, or handed over by a service manager.
//!
//! A service manager that holds the socket keeps it while the server restarts, so that nobody else can listen there
//! meanwhile and clients wait instead of being refused (`sd_listen_fds(3)`). What it hands over has to be what `listen`
//! says, since everything about exposure is judged by that.

use std::io;
use std::net::{self, IpAddr};
use std::os::unix::net as unix_net;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Config, Listen};

use super::stream::Stream;
use super::unix::{self, SocketFile};

/// Connections that wait to be accepted: what a crowd of clients opens while the server looks elsewhere.
const MOST_WAITING_CONNECTIONS: i32 = 4_096;

/// A socket that listens.
pub struct Listener {
    // Declared first, so that it goes first: once nobody listens, another server may make a file of this name.
    _file: Option<SocketFile>,
    socket: Socket,
    address: Listen,
    is_handed_over: bool,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket that a service manager has opened.
#[derive(Debug)]
pub enum HandedOver {
    /// For TCP.
    Tcp(net::TcpListener),
    /// A Unix socket.
    Unix(unix_net::UnixListener),
}

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another socket is there.
    #[error("{address} is taken; stop what listens there, or choose another address with --listen")]
    Taken {
        /// Where the server should listen.
        address: Listen,
    },
    /// The address is none of this machine's.
    #[error("this machine has no address {ip}; choose one that it has with --listen")]
    NoSuchAddress {
        /// The address without its port.
        ip: IpAddr,
    },
    /// The port is for privileged processes.
    #[error("this user may not listen on port {port}; choose one above 1023 with --listen, and put a proxy in front")]
    Forbidden {
        /// The port.
        port: u16,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {address} ({cause}); choose another address with --listen")]
    Refused {
        /// Where the server should listen.
        address: Listen,
        /// What the system said.
        cause: io::Error,
    },
    /// The path is another file's.
    #[error("{address} is a file that is no socket; remove it, or choose another path")]
    NoSocket {
        /// Where the server should listen.
        address: Listen,
    },
    /// The socket's file can't be given to the group.
    #[error(
        "the Unix socket can't be given to the group {group:?} ({why}); set `unix_socket.group` to one that the server's \
         user belongs to"
    )]
    Group {
        /// Its name or number.
        group: String,
        /// What is wrong with it.
        why: String,
    },
    /// The service manager handed over something else.
    #[error("the service manager's socket listens on {found}, and `listen` is {wanted}; write the same in both")]
    Other {
        /// Where it listens.
        found: Listen,
        /// What the configuration says.
        wanted: Listen,
    },
    /// It can't be used.
    #[error("the service manager's socket can't be used ({0}); its unit needs exactly one ListenStream=")]
    Unusable(String),
}

impl HandedOver {
    /// Takes the socket that the environment names, if it names this process's. Has to be called before the process has
    /// threads, since it removes the variables.
    ///
    /// # Errors
    /// That it is not exactly one socket that listens for connections.
    pub fn from_environment() -> Result<Option<Self>, ListenError> {
        let is_ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
        let mut handed_over = if is_ours { ListenFd::from_env() } else { ListenFd::empty() };
        match handed_over.len() {
            0 => return Ok(None),
            1 => {}
            more => return Err(ListenError::Unusable(format!("there are {more} sockets"))),
        }
        if let Ok(Some(listener)) = handed_over.take_unix_listener(0) {
            return Ok(Some(Self::Unix(listener)));
        }
        let listener = handed_over.take_tcp_listener(0).map_err(|error| ListenError::Unusable(error.to_string()))?;
        Ok(listener.map(Self::Tcp))
    }

    /// Where it listens.
    fn address(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
                Ok(Listen::Unix(path.to_owned()))
            }
        }
    }

    fn into_listener(self, wanted: &Listen) -> Result<Listener, ListenError> {
        let unusable = |error: io::Error| ListenError::Unusable(error.to_string());
        let address = self.address().map_err(unusable)?;
        if address != *wanted {
            return Err(ListenError::Other { found: address, wanted: wanted.clone() });
        }
        let socket = match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true).map_err(unusable)?;
                Socket::Tcp(TcpListener::from_std(listener).map_err(unusable)?)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true).map_err(unusable)?;
                Socket::Unix(UnixListener::from_std(listener).map_err(unusable)?)
            }
        };
        Ok(Listener { _file: None, socket, address, is_handed_over: true })
    }
}

impl Listener {
    /// Takes the socket that was handed over, or opens the one that the configuration wants.
    ///
    /// # Errors
    /// A [`ListenError`] that says what to do.
    pub async fn open(config: &Config, handed_over: Option<HandedOver>) -> Result<Self, ListenError> {
        match (handed_over, &config.listen) {
            (Some(handed_over), wanted) => handed_over.into_listener(wanted),
            (None, Listen::Tcp(address)) => {
                let refused = |error| refused(&config.listen, error);
                let listener = TcpListener::bind(address).await.map_err(refused)?;
                // A client that finds no room to wait tries again a second later. The kernel's own limit holds, too.
                let _ = rustix::net::listen(&listener, MOST_WAITING_CONNECTIONS);
                let address = Listen::Tcp(listener.local_addr().map_err(refused)?);
                Ok(Self { _file: None, socket: Socket::Tcp(listener), address, is_handed_over: false })
            }
            (None, Listen::Unix(path)) => {
                let (listener, file) = unix::open(path, &config.unix_socket, MOST_WAITING_CONNECTIONS)?;
                let listener = UnixListener::from_std(listener).map_err(|error| refused(&config.listen, error))?;
                let (socket, address) = (Socket::Unix(listener), config.listen.clone());
                Ok(Self { _file: Some(file), socket, address, is_handed_over: false })
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Listen {
        &self.address
    }

    /// Whether a service manager keeps it while the server restarts.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over
    }

    /// The next connection, with the client's address if it has one.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(remote.ip())))
            }
            Socket::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

pub(super) fn refused(address: &Listen, cause: io::Error) -> ListenError {
    let tcp = address.tcp();
    match (cause.kind(), tcp) {
        (io::ErrorKind::AddrInUse, _) => ListenError::Taken { address: address.clone() },
        (io::ErrorKind::AddrNotAvailable, Some(tcp)) => ListenError::NoSuchAddress { ip: tcp.ip() },
        (io::ErrorKind::PermissionDenied, Some(tcp)) => ListenError::Forbidden { port: tcp.port() },
        (_, _) => ListenError::Refused { address: address.clone(), cause },
    }
}
