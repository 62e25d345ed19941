//! The embedded credential server: customers of the store, with their passwords.
//!
//! It owns the hashing threads, the judging of new passwords and the cache. An unknown customer costs the same work as a
//! wrong password. All changes of a customer go through here, so that the cache never outlives a password.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::id::CustomerKey;
use crate::store::{CheckedAccount, Customer, Store, StoreError};
use crate::turns::Turns;

use super::cache::Cache;
use super::email::{self, EmailError};
use super::hashing::{Hashing, HashingError, LONGEST_PASSWORD_BYTES};
use super::judging::Judging;
use super::password::PasswordRefused;
use super::{Credentials, Verdict, Verification, Verifier, VerifyError};
use crate::config;

/// The embedded credential server.
pub struct Embedded {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    hashing: Hashing,
    judging: Judging,
    /// An account's password is replaced by one caller at a time.
    changes: Turns<CustomerKey>,
    cache: Cache,
}

/// Why a customer was not changed.
#[derive(Debug, thiserror::Error)]
pub enum CustomerError {
    /// The email can't be one.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// There is a customer with this email, or one that differs only in case, space or composition.
    #[error("there is already a customer {existing:?}; emails that differ only in case or accents' spelling are one")]
    Exists {
        /// The email of the other one.
        existing: String,
    },
    /// There is none.
    #[error("there is no such customer")]
    Unknown,
    /// The password may not be chosen.
    #[error(transparent)]
    PasswordRefused(#[from] PasswordRefused),
    /// The hash was not made.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl Embedded {
    /// Serves the customers of `store`.
    ///
    /// # Errors
    /// What the system said when the hashing threads could not be started.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: &config::Credential) -> std::io::Result<Self> {
        let hashing = Hashing::start(settings.hashing_threads as usize, settings.hashing_queue as usize)?;
        let (judging, changes) = (Judging::new(settings.hashing_queue as usize), Turns::new(Semaphore::MAX_PERMITS));
        Ok(Self { store, clock, hashing, judging, changes, cache: Cache::new(settings.cache) })
    }

    /// The customer with this email.
    ///
    /// # Errors
    /// [`CustomerError::Unknown`], or [`CustomerError::Store`].
    pub async fn customer(&self, email: &str) -> Result<Customer, CustomerError> {
        let found = self.store.customer(&self.key(email)).await.map_err(CustomerError::Store)?;
        found.ok_or(CustomerError::Unknown)
    }

    /// Checks what can be said of an email and a password before anybody has them.
    ///
    /// # Errors
    /// [`CustomerError::Email`] or [`CustomerError::PasswordRefused`].
    pub async fn check_new(&self, email: &str, password: &SecretString) -> Result<(), CustomerError> {
        email::check(email)?;
        self.check_password(email, password).await
    }

    /// Adds a customer. The password must be one that [`super::password::check`] lets pass.
    ///
    /// # Errors
    /// A [`CustomerError`].
    pub async fn add(&self, email: &str, password: SecretString) -> Result<Customer, CustomerError> {
        self.check_new(email, &password).await?;
        let key = self.key(email);
        match self.customer(email).await {
            Ok(Customer { email: existing, .. }) => return Err(CustomerError::Exists { existing }),
            Err(CustomerError::Unknown) => {}
            Err(error) => return Err(error),
        }
        let password_hash = self.hashing.hash(password).await?;
        let customer =
            Customer { key, email: email.trim().to_owned(), password_hash, created: self.clock.wall(), disabled: None };
        match self.store.add_customer(customer.clone()).await {
            Ok(()) => Ok(customer),
            Err(StoreError::Conflict) => Err(CustomerError::Exists { existing: customer.email }),
            Err(error) => Err(CustomerError::Store(error)),
        }
    }

    /// Replaces a customer's password by one that [`super::password::check`] lets pass. What it was does not matter.
    ///
    /// # Errors
    /// A [`CustomerError`].
    pub async fn set_password(&self, email: &str, password: SecretString) -> Result<(), CustomerError> {
        self.check_password(email, &password).await?;
        let hash = self.hashing.hash(password).await?;
        self.replace(&self.key(email), hash, None).await.map_err(missing_is_unknown)
    }

    /// Replaces a customer's password by one that was checked, if it is still that of `shown`. Returns whether it was.
    ///
    /// # Errors
    /// A [`CustomerError`].
    pub async fn change_password(&self, shown: Customer, password: SecretString) -> Result<bool, CustomerError> {
        // Of many changes at once one is made. The others are not hashed.
        let _turn = self.changes.wait(Some(shown.key.clone())).await;
        let customer = self.store.customer(&shown.key).await.map_err(CustomerError::Store)?;
        if customer.is_none_or(|customer| customer.password_hash != shown.password_hash) {
            return Ok(false);
        }
        let hash = self.hashing.hash(password).await?;
        match self.replace(&shown.key, hash, Some(shown.password_hash)).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict | StoreError::Missing) => Ok(false),
            Err(error) => Err(CustomerError::Store(error)),
        }
    }

    async fn replace(&self, key: &CustomerKey, hash: String, expect: Option<String>) -> Result<(), StoreError> {
        let replaced = self.store.set_password(key, hash, expect).await;
        self.cache.forget(key);
        replaced
    }

    /// Checks a password before the customer with this email gets it.
    ///
    /// # Errors
    /// [`CustomerError::PasswordRefused`] or [`CustomerError::Hashing`].
    pub async fn check_password(&self, email: &str, password: &SecretString) -> Result<(), CustomerError> {
        Ok(self.judging.judge(self.key(email), email, password).await??)
    }

    /// Disables a customer, whose password is good for nothing from then on, or enables it again.
    ///
    /// # Errors
    /// A [`CustomerError`].
    pub async fn set_disabled(&self, email: &str, disabled: bool) -> Result<CustomerKey, CustomerError> {
        let key = self.key(email);
        let set = self.store.set_disabled(&key, disabled.then(|| self.clock.wall())).await;
        self.cache.forget(&key);
        set.map_err(missing_is_unknown)?;
        Ok(key)
    }

    /// Removes a customer and returns the key, under which a session may still live.
    ///
    /// # Errors
    /// A [`CustomerError`].
    pub async fn remove(&self, email: &str) -> Result<CustomerKey, CustomerError> {
        let key = self.key(email);
        let removed = self.store.remove_customer(&key).await;
        self.cache.forget(&key);
        removed.map_err(missing_is_unknown)?;
        Ok(key)
    }

    async fn check(&self, credentials: Credentials<'_>) -> Result<Verdict, VerifyError> {
        let key = self.key(credentials.email);
        let now = self.clock.now();
        if let Some(account) = self.cache.knows(&key, credentials.password, now) {
            return Ok(Verdict::Accepted(Some(account)));
        }
        let (began, seen) = (self.cache.begin(), self.store.accounts_seen());
        let customer = self.store.customer(&key).await.map_err(|error| VerifyError::Failed(error.to_string()))?;
        // A disabled customer's password costs what that of an unknown one does, which is what a wrong one does.
        let stored = customer.filter(|customer| customer.disabled.is_none()).map(|customer| customer.password_hash);
        let is_password = (1..=LONGEST_PASSWORD_BYTES).contains(&credentials.password.len());
        let (password, hash) = if is_password {
            (SecretString::from(credentials.password), stored.clone())
        } else {
            (SecretString::from("no password"), None)
        };
        let checked = self.hashing.check(password, hash).await.map_err(|error| match error {
            HashingError::Busy => VerifyError::Busy,
            HashingError::Failed(_) => VerifyError::Failed(error.to_string()),
        })?;
        let Some(hash) = stored.filter(|_| checked.is_good) else { return Ok(Verdict::Refused) };
        let account = CheckedAccount::new(seen, &hash);
        let Some(renewed) = checked.rehashed else {
            self.cache.remember(&key, credentials.password, account, began, now);
            return Ok(Verdict::Accepted(Some(account)));
        };
        let renewed_account = CheckedAccount::new(seen, &renewed);
        // Only over the hash that was checked: a password changed meanwhile stays changed.
        match self.store.set_password(&key, renewed, Some(hash)).await {
            Ok(()) => {
                tracing::info!(customer = %key, "password hash renewed");
                Ok(Verdict::Accepted(Some(renewed_account)))
            }
            Err(error) => {
                tracing::warn!(customer = %key, error = %error, "password hash not renewed");
                Ok(Verdict::Accepted(Some(account)))
            }
        }
    }
}

impl Verifier for Embedded {
    fn verify<'a>(&'a self, credentials: Credentials<'a>) -> Verification<'a> {
        Box::pin(self.check(credentials))
    }

    fn key(&self, email: &str) -> CustomerKey {
        CustomerKey::new(&email::canonical(email))
    }
}

fn missing_is_unknown(error: StoreError) -> CustomerError {
    match error {
        StoreError::Missing => CustomerError::Unknown,
        error @ (StoreError::Conflict
        | StoreError::Busy
        | StoreError::Unavailable(_)
        | StoreError::Full
        | StoreError::Corrupt(_)
        | StoreError::SetAside(_)
        | StoreError::Malformed(_)
        | StoreError::Unsupported(_)) => CustomerError::Store(error),
    }
}
