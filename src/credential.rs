//! Credentials: who decides whether an email and a password are good.
//!
//! ```text
//!   creation ──> gate (throttle) ──> Verifier in force ──> verdict
//!                                      ├─ embedded: customers of the store, argon2id, a short-lived cache
//!                                      └─ remote: CREDENTIAL_SERVER of the service mapping
//! ```
//!
//! The service mapping is asked anew for each creation, so that an edit is in force at once. Each well-formed creation
//! asks exactly once. The verifier also says who is the same customer: see [`Verifier::key`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::id::CustomerKey;
use crate::service_mapping::{CREDENTIAL_SERVER, ServiceMapping};
use crate::store::CheckedAccount;

mod cache;
pub mod device;
pub mod email;
pub mod embedded;
pub mod gate;
pub mod hashing;
mod judging;
pub mod known_addresses;
pub mod password;
pub mod remote;
pub mod slowed;
pub mod throttle;

use embedded::Embedded;
use remote::RemoteVerifier;

/// What a customer presents to prove who they are, borrowed from the request that carries it.
///
/// Deliberately neither `Debug` nor owned: nothing that outlives the check holds the password.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The email as sent.
    pub email: &'a str,
    /// The password, in clear.
    pub password: &'a str,
    /// The `PERSONA_TYPE` as sent.
    pub persona: &'a str,
}

/// What a credential server decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The credentials are good: those of this account, or of one that a remote server keeps.
    Accepted(Option<CheckedAccount>),
    /// They are not; nobody learns why.
    Refused,
}

/// Why a check came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// More checks wait than may.
    #[error("too many credential checks wait")]
    Busy,
    /// The credentials are too long for the remote contract.
    #[error("the credentials are longer than the credential server takes")]
    TooLong,
    /// The credential server is away, slow or wrong. The sentence is for the log.
    #[error("{0}")]
    Failed(String),
}

/// A pending verdict.
pub type Verification<'a> = Pin<Box<dyn Future<Output = Result<Verdict, VerifyError>> + Send + 'a>>;

/// Decides about credentials.
pub trait Verifier: Send + Sync {
    /// Checks the credentials once.
    fn verify<'a>(&'a self, credentials: Credentials<'a>) -> Verification<'a>;

    /// Who the email's owner is. Two emails with one key are one customer.
    fn key(&self, email: &str) -> CustomerKey;
}

/// Both verifiers, and the mapping that says which one decides.
pub struct Verifiers {
    mapping: Arc<ServiceMapping>,
    embedded: Arc<Embedded>,
    remote: Arc<RemoteVerifier>,
}

impl Verifiers {
    /// Puts the two side by side.
    pub fn new(mapping: Arc<ServiceMapping>, embedded: Arc<Embedded>, remote: RemoteVerifier) -> Self {
        Self { mapping, embedded, remote: Arc::new(remote) }
    }

    /// The verifier that the mapping puts in force at this moment.
    pub fn in_force(&self) -> InForce {
        match self.mapping.get(CREDENTIAL_SERVER) {
            Some(address) => InForce::Remote(Arc::clone(&self.remote), address),
            None => InForce::Embedded(Arc::clone(&self.embedded)),
        }
    }
}

/// One of the two verifiers, for one request: a mapping that changes meanwhile does not split it.
#[derive(Clone)]
pub enum InForce {
    /// The customers of the store.
    Embedded(Arc<Embedded>),
    /// A remote server, and its address.
    Remote(Arc<RemoteVerifier>, Arc<str>),
}

impl Verifier for InForce {
    fn verify<'a>(&'a self, credentials: Credentials<'a>) -> Verification<'a> {
        match self {
            Self::Embedded(embedded) => embedded.verify(credentials),
            Self::Remote(remote, address) => {
                Box::pin(async move { remote.check(address, &credentials).await.map_err(VerifyError::from) })
            }
        }
    }

    fn key(&self, email: &str) -> CustomerKey {
        match self {
            Self::Embedded(embedded) => embedded.key(email),
            // To the byte: the remote server alone knows which emails are the same.
            Self::Remote(..) => CustomerKey::new(email),
        }
    }
}
