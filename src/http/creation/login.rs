//! The check of a customer's credentials: asked once, unless too many attempts have failed lately.
//!
//! A check that has begun runs to its end, also for a client that has hung up: only its outcome tells the throttle
//! whether anybody guessed.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::credential::gate::Admitted;
use crate::credential::throttle::Sender;
use crate::credential::{Credentials, InForce, Verdict, Verifier, VerifyError};
use crate::http::App;
use crate::http::auth::Peer;
use crate::http::body::Body;
use crate::http::error::Refusal;
use crate::id::CustomerKey;
use crate::store::{Action, CheckedAccount};

/// Who shows a customer's password.
pub struct Login {
    /// The email, as it was sent.
    pub email: String,
    /// The password.
    pub password: SecretString,
    /// The persona's name, as it was sent; empty where none is asked for.
    pub persona: String,
}

/// One check of a login, which may outlive the request.
struct Check {
    app: Arc<App>,
    peer: Peer,
    verifier: InForce,
    login: Arc<Login>,
    attempt: Admitted,
    /// The memory of the login counts until the check has ended.
    _body: Arc<Body>,
}

/// Asks the credential server, and returns the account that was checked if the store has it.
///
/// # Errors
/// [`Refusal::BadCredentials`], or why there is no verdict.
pub async fn check(
    app: &Arc<App>,
    (peer, sender): (Peer, Sender),
    verifier: InForce,
    customer: &CustomerKey,
    login: &Arc<Login>,
    body: &Arc<Body>,
) -> Result<Option<CheckedAccount>, Refusal> {
    let patience = app.config().credential.timeout;
    let attempt = app.gate.admit(customer, sender, patience, || app.clock.now()).await;
    let attempt = attempt.inspect_err(|refused| app.audit_not_admitted(refused, peer, Some(customer)))?;
    let (login, _body) = (Arc::clone(login), Arc::clone(body));
    let check = Check { app: Arc::clone(app), peer, verifier, login, attempt, _body };
    app.tasks.carry_out(check.run()).await
}

/// Asks again, of an account that has changed since the password was good. That is no attempt to guess.
///
/// # Errors
/// As [`check`].
pub async fn check_again(
    app: &App,
    peer: Peer,
    verifier: &InForce,
    login: &Login,
) -> Result<Option<CheckedAccount>, Refusal> {
    match verifier.verify(login.credentials()).await? {
        Verdict::Accepted(account) => Ok(account),
        Verdict::Refused => Err(refuse(app, peer, verifier, login)),
    }
}

/// Notes that the credentials are not good.
fn refuse(app: &App, peer: Peer, verifier: &InForce, login: &Login) -> Refusal {
    let key = verifier.key(&login.email);
    tracing::info!(customer = %key, peer = %peer.client, "credentials refused");
    app.audit_refused_credentials(peer, Action::CredentialsRefused, Some(&key));
    Refusal::BadCredentials
}

impl Login {
    /// What its texts take in memory beside the body that they came in, as far as that is worth counting.
    pub fn extra_bytes(&self) -> usize {
        const LEAST_BYTES: usize = 4_096;
        let bytes = self.email.len() + self.password.expose_secret().len() + self.persona.len();
        if bytes < LEAST_BYTES { 0 } else { bytes }
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials { email: &self.email, password: self.password.expose_secret(), persona: &self.persona }
    }
}

impl Check {
    async fn run(self) -> Result<Option<CheckedAccount>, Refusal> {
        let Self { app, peer, verifier, login, attempt, _body } = self;
        let began = app.clock.now();
        let verdict = verifier.verify(login.credentials()).await;
        app.metrics.checks.durations.record(app.clock.now().saturating_since(began));
        match verdict {
            Ok(Verdict::Accepted(account)) => {
                app.metrics.checks.note_verdict();
                attempt.succeeded(app.clock.now());
                Ok(account)
            }
            Ok(Verdict::Refused) => {
                app.metrics.checks.note_verdict();
                attempt.refused(app.clock.now());
                Err(refuse(&app, peer, &verifier, &login))
            }
            Err(error) => {
                // What does not come to the credential server says nothing of how that is.
                if let VerifyError::Failed(reason) = &error {
                    app.metrics.checks.note_failure(app.clock.wall(), reason);
                }
                attempt.failed_to_check();
                Err(error.into())
            }
        }
    }
}
