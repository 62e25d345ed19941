//! What operators, and customers themselves, do to customers and their sessions, by a command on this machine or over HTTP.
//!
//! Both ways come here, so that an email names the same customer, and a removal takes the same with it.

use std::cmp::Reverse;

use crate::credential::Verifier;
use crate::credential::embedded::{CustomerError, Embedded};
use crate::id::{CustomerKey, SessionId};
use crate::session::{CommandError, SessionRecord};
use crate::store::{Filter, Store, StoreError};
use crate::token::TokenHash;

/// Why a customer is not gone, or disabled, with all that belongs to it.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Nothing was done.
    #[error(transparent)]
    Customer(#[from] CustomerError),
    /// It was done, and whether the customer has a session is not known.
    #[error(transparent)]
    Look(StoreError),
    /// It was done, and the session goes on.
    #[error("session {0} was not stopped: {1}")]
    Session(SessionId, #[source] CommandError),
}

/// Whom an email may name: the embedded credential server's customer, and a remote one's, which is known by the email as
/// it was sent. One key if they are the same.
pub fn keys(embedded: &Embedded, email: &str) -> Vec<CustomerKey> {
    let mut keys = vec![embedded.key(email), CustomerKey::new(email)];
    keys.dedup();
    keys
}

/// Up to `most` sessions that match, the youngest first; with an email, of those whom it may name.
///
/// # Errors
/// What the store said.
pub async fn sessions(
    store: &dyn Store,
    embedded: &Embedded,
    email: Option<&str>,
    filter: &Filter,
    most: usize,
) -> Result<Vec<SessionRecord>, StoreError> {
    let Some(email) = email else { return store.list(filter.clone(), most).await };
    let mut found = Vec::new();
    for key in keys(embedded, email) {
        found.extend(store.list(Filter { customer: Some(key), ..filter.clone() }, most).await?);
    }
    found.sort_unstable_by_key(|record| Reverse(record.id));
    found.truncate(most);
    Ok(found)
}

/// Makes the tokens of the customer's live session good for nothing; what `successor` returns for it is then the only good
/// one. Returns the session, if there is one.
///
/// # Errors
/// What the store said.
pub async fn sign_out(
    store: &dyn Store,
    customer: &CustomerKey,
    successor: impl FnOnce(SessionId) -> Option<TokenHash>,
) -> Result<Option<SessionId>, StoreError> {
    let Some(stored) = store.live(customer).await? else { return Ok(None) };
    let session = stored.record.id;
    match store.retire_tokens(session, successor(session)).await {
        Ok(()) => Ok(Some(session)),
        // It has ended since.
        Err(StoreError::Missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a customer, and stops its session by `stop`. Returns whether there was one.
///
/// # Errors
/// A [`RemoveError`].
pub async fn remove(
    store: &dyn Store,
    embedded: &Embedded,
    email: &str,
    stop: impl AsyncFnOnce(&SessionRecord, &str) -> Result<(), CommandError>,
) -> Result<bool, RemoveError> {
    let key = remove_account(embedded, email).await?;
    stop_session_of_removed(store, &key, stop).await
}

/// Removes a customer, and leaves alone whatever session has this email.
///
/// # Errors
/// [`RemoveError::Customer`].
pub async fn remove_account(embedded: &Embedded, email: &str) -> Result<CustomerKey, RemoveError> {
    let key = embedded.remove(email).await?;
    tracing::info!(customer = %key, "customer removed");
    Ok(key)
}

/// Disables a customer, and stops its session by `stop`; or enables it again. Returns whether there was a session.
///
/// # Errors
/// A [`RemoveError`].
pub async fn set_disabled(
    store: &dyn Store,
    embedded: &Embedded,
    email: &str,
    disabled: bool,
    stop: impl AsyncFnOnce(&SessionRecord, &str) -> Result<(), CommandError>,
) -> Result<bool, RemoveError> {
    let key = embedded.set_disabled(email, disabled).await?;
    tracing::info!(customer = %key, disabled, "customer disabled or enabled");
    if disabled { stop_session(store, &key, "its customer was disabled", stop).await } else { Ok(false) }
}

/// Stops the session of a customer who was removed before, should that not have come so far.
///
/// # Errors
/// A [`RemoveError`].
pub async fn stop_session_of_removed(
    store: &dyn Store,
    key: &CustomerKey,
    stop: impl AsyncFnOnce(&SessionRecord, &str) -> Result<(), CommandError>,
) -> Result<bool, RemoveError> {
    stop_session(store, key, "its customer was removed", stop).await
}

async fn stop_session(
    store: &dyn Store,
    key: &CustomerKey,
    why: &str,
    stop: impl AsyncFnOnce(&SessionRecord, &str) -> Result<(), CommandError>,
) -> Result<bool, RemoveError> {
    let Some(stored) = store.live(key).await.map_err(RemoveError::Look)? else { return Ok(false) };
    let stopped = stop(&stored.record, why).await;
    stopped.map_err(|error| RemoveError::Session(stored.record.id, error))?;
    Ok(true)
}
