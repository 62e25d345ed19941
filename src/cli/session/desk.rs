//! The server that a customer's command speaks to, and why it got nothing there, in words.

use std::error::Error;
use std::io::{self, ErrorKind};

use anyhow::{Context, anyhow};

use crate::cli::Failure;
use crate::client::{Client, ClientError, Code, Retries, SessionView};
use crate::http_client::FetchError;
use crate::id::{Printable, SessionId};

use super::refusal::About;

/// A person waits: a server that is away is asked for a moment only.
const RETRIES: Retries = Retries {
    attempts: 3,
    within: std::time::Duration::from_secs(10),
    first_pause: std::time::Duration::from_millis(200),
};

pub(super) struct Desk {
    server: String,
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Desk {
    pub(super) fn new(server: &str, token: Option<&str>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let client = Client::new(server).map_err(|error| Failure::Usage(error.to_string()))?.with_retries(RETRIES);
        let client = match token {
            Some(token) => client.with_token(token),
            None => client,
        };
        Ok(Self { server: server.to_owned(), runtime, client })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for what comes of a call.
    pub(super) fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
        about: &About<'_>,
    ) -> Result<T, Failure> {
        self.runtime.block_on(call).map_err(|error| self.failure(&error, about))
    }

    /// The token's session, which must be that of the customer who was named.
    pub(super) fn session(&self, id: SessionId, about: &About<'_>) -> Result<SessionView, Failure> {
        let session = self.wait(self.client.session(id), about)?;
        if crate::credential::email::canonical(&session.email) != crate::credential::email::canonical(about.email) {
            return Err(about.refused(Code::TokenRequired));
        }
        Ok(session)
    }

    /// What went wrong, and what to do.
    pub(super) fn failure(&self, error: &ClientError, about: &About<'_>) -> Failure {
        let server = &self.server;
        match error {
            ClientError::Refused { refused, .. } => about.failure(refused),
            ClientError::Unsendable(why) => Failure::Usage(format!("this cannot be sent: {why}")),
            ClientError::Stranger { status, .. } => Failure::Failed(format!(
                "the server at {server} is not Frontdesk (it answered {status}); name the right address with --server"
            )),
            ClientError::NoAnswer { cause: FetchError::Connect(cause), .. } if is_refused(cause.as_ref()) => {
                Failure::Failed(format!(
                    "no Frontdesk answers at {server}; start one with `frontdesk serve`, or name another with --server"
                ))
            }
            ClientError::NoAnswer { cause: FetchError::Connect(_), .. } => {
                anyhow!("{server} cannot be reached ({error}); name another server with --server").into()
            }
            ClientError::NoAnswer { .. } => anyhow!(
                "{server} did not answer ({error}); whether it did what was asked is unknown: see `frontdesk session \
                 status`"
            )
            .into(),
        }
    }
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An email as a shell takes it, safe to paste.
pub(super) fn quoted(email: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "@._+-%=:,/".contains(character);
    if !email.is_empty() && !email.starts_with('-') && email.chars().all(is_plain) {
        return email.to_owned();
    }
    format!("'{}'", Printable(email).to_string().replace('\'', r"'\''"))
}
