//! The service behind an agent: where it is at this moment, one message to it, and why it did not answer.
//!
//! The address is looked up for each message, so that an edited mapping takes effect. Decides nothing about retries but
//! the one within the HTTP client; keeps no state of a session.

use std::error::Error;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Request, Response, StatusCode, Uri};
use tokio_util::io::StreamReader;

use crate::agent::rpc::Notification;
use crate::http_client::{AnswerBody, FetchError, HttpClient};
use crate::id::{Epoch, Printable, SessionId};
use crate::service_mapping::ServiceMapping;

use super::answer::{self, Answer, BodyError};

const SESSION: HeaderName = HeaderName::from_static("frontdesk-session");
const EPOCH: HeaderName = HeaderName::from_static("frontdesk-epoch");

/// What agents that are services need of the server. Cloning shares it.
#[derive(Clone, Default)]
pub struct Services {
    /// The names of services and where they are.
    pub mapping: Arc<ServiceMapping>,
    /// What asks them.
    pub client: HttpClient,
}

/// One service as it serves one session under one epoch.
pub(super) struct Service {
    pub(super) services: Services,
    pub(super) name: Box<str>,
    pub(super) session: SessionId,
    pub(super) epoch: Epoch,
    pub(super) line_bytes: usize,
}

/// Why a service did not answer: one sentence that names it.
#[derive(Debug, thiserror::Error)]
#[error("the service {name}{} {fault}", At(.address.as_deref()))]
pub(super) struct ServiceError {
    name: Box<str>,
    /// Host and port; nothing more of the entry, which may hold what is not for logs.
    address: Option<Box<str>>,
    pub(super) fault: Fault,
}

/// What went wrong. The texts go on from "the service NAME at ADDRESS".
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("is not in the service mapping; add it there")]
    NotMapped,
    #[error("has an address that can't be called; correct it in the service mapping")]
    BadAddress,
    #[error("does not answer: {0}")]
    Unreachable(String),
    #[error("does not answer: no answer to {method} in {after}")]
    TimedOut { method: &'static str, after: humantime::FormattedDuration },
    #[error("answered with {0}, a redirect, which is not followed; put the address that it leads to into the mapping")]
    Redirect(StatusCode),
    #[error("answered with {0} instead of 200")]
    Status(StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("does not know the session: {0}")]
    UnknownSession(String),
    #[error("answered {method} with an error: {words}")]
    Refused { method: &'static str, words: String },
}

impl Fault {
    /// What customers are told of it: nothing of the service's name, address or insides.
    pub(super) fn sentence(&self) -> &'static str {
        match self {
            Self::NotMapped | Self::BadAddress => "the agent's service is not configured",
            Self::Unreachable(_) | Self::TimedOut { .. } => "the agent's service does not answer",
            Self::Redirect(_) | Self::Status(_) | Self::Body(_) => "the agent's service did not answer as it should",
            Self::UnknownSession(_) => "the agent's service does not know the session",
            Self::Refused { .. } => "the agent's service refused",
        }
    }

    /// Whether the same message may be answered a moment later: nobody was there, or not yet.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut { .. } | Self::Body(BodyError::CutOff(_)) => true,
            // What a proxy says in the place of a service that is not up.
            Self::Status(status) => matches!(status.as_u16(), 502..=504),
            Self::NotMapped | Self::BadAddress | Self::Redirect(_) => false,
            Self::Body(_) | Self::UnknownSession(_) | Self::Refused { .. } => false,
        }
    }

    /// Whether the service does not have the session, so that there is nothing to end.
    pub(super) fn means_no_session(&self) -> bool {
        match self {
            Self::NotMapped | Self::BadAddress | Self::UnknownSession(_) => true,
            Self::Refused { method, .. } => *method == "initialize",
            Self::Unreachable(_) | Self::TimedOut { .. } | Self::Redirect(_) | Self::Status(_) | Self::Body(_) => false,
        }
    }
}

impl Service {
    /// Sends a call and reads its answer. Dropping the future closes the connection.
    pub(super) async fn call(
        &self,
        id: u64,
        message: Bytes,
        told: impl Fn(Notification, Bytes),
    ) -> Result<Answer, ServiceError> {
        let (address, answer) = self.post(message).await?;
        let status = answer.status();
        let fault = if status.is_redirection() {
            Fault::Redirect(status)
        } else if status != StatusCode::OK {
            Fault::Status(status)
        } else {
            let body = StreamReader::new(answer.into_body().map_err(io::Error::other).into_data_stream());
            match answer::read(body, self.line_bytes, id, told).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error.into(),
            }
        };
        Err(self.error(Some(&address), fault))
    }

    /// Sends a notification; any status of success will do, and the body is not read.
    pub(super) async fn notify(&self, message: Bytes) -> Result<(), ServiceError> {
        let (address, answer) = self.post(message).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let fault = if status.is_redirection() { Fault::Redirect(status) } else { Fault::Status(status) };
        Err(self.error(Some(&address), fault))
    }

    /// An error of this service, wherever it is now.
    pub(super) fn failed(&self, fault: Fault) -> ServiceError {
        let uri = self.services.mapping.get(&self.name).and_then(|entry| uri(&entry));
        self.error(uri.as_ref(), fault)
    }

    async fn post(&self, message: Bytes) -> Result<(Uri, Response<AnswerBody>), ServiceError> {
        let entry = self.services.mapping.get(&self.name).ok_or_else(|| self.error(None, Fault::NotMapped))?;
        let uri = uri(&entry).ok_or_else(|| self.error(None, Fault::BadAddress))?;
        let request = Request::post(&uri)
            .header(CONTENT_TYPE, "application/json")
            .header(SESSION, self.session.to_string())
            .header(EPOCH, self.epoch.0)
            .body(Full::new(message))
            .map_err(|_| self.error(Some(&uri), Fault::BadAddress))?;
        match self.services.client.open(request, true).await {
            Ok(answer) => Ok((uri, answer)),
            Err(error) => Err(self.error(Some(&uri), fault_of(&error))),
        }
    }

    fn error(&self, uri: Option<&Uri>, fault: Fault) -> ServiceError {
        ServiceError { name: self.name.clone(), address: uri.and_then(host_and_port), fault }
    }
}

/// The URL of an entry of the mapping: its own path, or the root.
fn uri(entry: &str) -> Option<Uri> {
    if entry.contains("://") { entry.parse().ok() } else { format!("http://{entry}/").parse().ok() }
}

fn host_and_port(uri: &Uri) -> Option<Box<str>> {
    let host = uri.host()?;
    let text = uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some(Printable(&text).to_string().into())
}

fn fault_of(error: &FetchError) -> Fault {
    match error {
        FetchError::InvalidUri => Fault::BadAddress,
        FetchError::Connect(cause) | FetchError::Transport(cause) => {
            Fault::Unreachable(system_words(cause.as_ref()).unwrap_or_else(|| error.to_string()))
        }
        FetchError::Timeout { .. } | FetchError::TooLarge { .. } => Fault::Unreachable(error.to_string()),
    }
}

/// What the system calls the failure, if it is one of the network's: "connection refused".
fn system_words(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(kind) = kind.filter(|kind| is_of_the_network(*kind)) {
            return Some(kind.to_string());
        }
        next = cause.source();
    }
    None
}

fn is_of_the_network(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut
    )
}

/// " at ADDRESS", or nothing.
struct At<'a>(Option<&'a str>);

impl std::fmt::Display for At<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |address| write!(f, " at {address}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::WallTime;

    /// The service `ROBOTS` at an address, for a session of its own.
    pub(in crate::agent::http) fn service(address: &str) -> Service {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mapping.json");
        std::fs::write(&path, format!(r#"{{"ROBOTS": "{address}"}}"#)).unwrap();
        let mapping = Arc::new(ServiceMapping::load(&path, true).unwrap());
        Service {
            services: Services { mapping, client: HttpClient::default() },
            name: "ROBOTS".into(),
            session: SessionId::new(WallTime::from_unix_millis(1), [1; 10]),
            epoch: Epoch(1),
            line_bytes: 1_000,
        }
    }

    #[test]
    fn an_entry_is_called_at_its_own_path_or_the_root() {
        for (entry, expected) in [
            ("host:80", "http://host:80/"),
            ("[::1]:80", "http://[::1]:80/"),
            ("https://host", "https://host/"),
            ("https://host/a/b?c=d", "https://host/a/b?c=d"),
        ] {
            assert_eq!(uri(entry).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn sentences_name_host_and_port_and_nothing_else_of_the_entry() {
        let uri = uri("https://user:hunter2@host:8443/secret").unwrap();
        assert_eq!(host_and_port(&uri).unwrap().as_ref(), "host:8443");
    }

    #[test]
    fn a_failure_is_told_by_the_systems_name_for_it() {
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(fault_of(&FetchError::Connect(refused.into())).to_string(), "does not answer: connection refused");
        let other = io::Error::other("invalid certificate");
        assert_eq!(
            fault_of(&FetchError::Connect(other.into())).to_string(),
            "does not answer: cannot connect: invalid certificate"
        );
    }
}
