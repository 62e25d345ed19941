//! Password hashing: argon2id on a few threads of low priority, each with its memory block allocated once.
//!
//! Parameters are those of OWASP's password storage cheat sheet (m = 19,456 KiB, t = 2, p = 1); hashes are PHC strings
//! and carry their own, so that older ones go on working. The number of threads bounds the memory, the queue bounds
//! the wait; a full queue is an answer at once. The low priority keeps a rush of sign-ins from slowing everything else.
//! A job whose caller has left is skipped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use argon2::password_hash::phc::{Decimal, Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use crate::low_priority;

/// Passwords above this many bytes are never checked: hashing must not cost more than it has to.
pub const LONGEST_PASSWORD_BYTES: usize = 4_096;

/// The threads. Dropping the last handle ends them.
#[derive(Clone, Debug)]
pub struct Hashing {
    jobs: SyncSender<Job>,
}

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashingError {
    /// More wait than may.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// It did not work; the sentence never holds the password.
    #[error("hashing failed: {0}")]
    Failed(String),
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Whether the password is the one that was hashed.
    pub is_good: bool,
    /// A new hash with today's parameters, if the stored one has others.
    pub rehashed: Option<String>,
}

enum Job {
    Hash { password: SecretString, reply: oneshot::Sender<Result<String, HashingError>> },
    Check { password: SecretString, hash: Option<String>, reply: oneshot::Sender<Result<Checked, HashingError>> },
}

impl Hashing {
    /// Starts `threads` threads (0: one a core) before which at most `queue` jobs wait.
    ///
    /// # Errors
    /// What the system said when a thread could not be started.
    pub fn start(threads: usize, queue: usize) -> std::io::Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let (jobs, waiting) = sync_channel(queue);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..threads {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new()
                .name(format!("hashing-{number}"))
                .spawn(move || work(&waiting, &mut Vec::new()))?;
        }
        Ok(Self { jobs })
    }

    /// Hashes a password for storage.
    ///
    /// # Errors
    /// A [`HashingError`].
    pub async fn hash(&self, password: SecretString) -> Result<String, HashingError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Hash { password, reply }, answer).await
    }

    /// Checks a password against a stored hash. Without one it does the same work and finds it wrong.
    ///
    /// # Errors
    /// A [`HashingError`].
    pub async fn check(&self, password: SecretString, hash: Option<String>) -> Result<Checked, HashingError> {
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Check { password, hash, reply }, answer).await
    }

    async fn submit<T>(&self, job: Job, answer: oneshot::Receiver<Result<T, HashingError>>) -> Result<T, HashingError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => HashingError::Busy,
            TrySendError::Disconnected(_) => HashingError::Failed("its threads have ended".into()),
        })?;
        answer.await.map_err(|_| HashingError::Failed("its thread has ended".into()))?
    }
}

/// Does the jobs until there can be no more, in this memory.
fn work(waiting: &Mutex<Receiver<Job>>, memory: &mut Vec<Block>) {
    low_priority::lower();
    loop {
        let job = waiting.lock().recv();
        match job {
            Ok(Job::Hash { password, reply }) if !reply.is_closed() => {
                let _ = reply.send(hash(&password, memory));
            }
            Ok(Job::Check { password, hash, reply }) if !reply.is_closed() => {
                let _ = reply.send(check(&password, hash.as_deref(), memory));
            }
            // Whoever asked has gone away.
            Ok(Job::Hash { .. } | Job::Check { .. }) => {}
            Err(_) => return,
        }
    }
}

fn hash(password: &SecretString, memory: &mut Vec<Block>) -> Result<String, HashingError> {
    let salt = crate::random::bytes::<16>();
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    fill(password, &salt, Params::DEFAULT, &mut output, memory)?;
    let phc = PasswordHash {
        algorithm: Ident::new(Algorithm::Argon2id.as_str()).map_err(failed)?,
        version: Some(Decimal::from(Version::V0x13)),
        params: ParamsString::try_from(&Params::DEFAULT).map_err(failed)?,
        salt: Some(Salt::new(&salt).map_err(failed)?),
        hash: Some(Output::new(&output).map_err(failed)?),
    };
    Ok(phc.to_string())
}

fn check(password: &SecretString, hash: Option<&str>, memory: &mut Vec<Block>) -> Result<Checked, HashingError> {
    let Some(text) = hash else {
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        fill(password, b"no such customer", Params::DEFAULT, &mut output, memory)?;
        return Ok(Checked { is_good: false, rehashed: None });
    };
    let stored = PasswordHash::new(text).map_err(failed)?;
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err(HashingError::Failed("the stored hash has no salt or no output".into()));
    };
    if stored.algorithm.as_str() != Algorithm::Argon2id.as_str() {
        return Err(HashingError::Failed(format!("the stored hash is {} and not argon2id", stored.algorithm)));
    }
    let params = Params::try_from(&stored).map_err(failed)?;
    let mut output = vec![0; expected.as_bytes().len()];
    fill(password, salt.as_ref(), params.clone(), &mut output, memory)?;
    let is_good = output.ct_eq(expected.as_bytes()).into();
    let today = Params::DEFAULT;
    let is_old =
        (params.m_cost(), params.t_cost(), params.p_cost()) != (today.m_cost(), today.t_cost(), today.p_cost());
    let rehashed = if is_good && is_old { Some(self::hash(password, memory)?) } else { None };
    Ok(Checked { is_good, rehashed })
}

fn fill(
    password: &SecretString,
    salt: &[u8],
    params: Params,
    output: &mut [u8],
    memory: &mut Vec<Block>,
) -> Result<(), HashingError> {
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.expose_secret().as_bytes(), salt, output, &mut memory[..blocks])
        .map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> HashingError {
    HashingError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let hashing = Hashing::start(1, 8).unwrap();
        let hash = hashing.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hashing.check(secret("correct horse"), Some(hash.clone())).await.unwrap().is_good);
        assert!(!hashing.check(secret("correct horsf"), Some(hash)).await.unwrap().is_good);
        assert!(!hashing.check(secret("anything"), None).await.unwrap().is_good);
    }

    #[test]
    fn a_job_whose_caller_has_left_is_skipped() {
        let (jobs, waiting) = sync_channel(2);
        jobs.send(Job::Hash { password: secret("x"), reply: oneshot::channel().0 }).unwrap();
        jobs.send(Job::Check { password: secret("x"), hash: None, reply: oneshot::channel().0 }).unwrap();
        drop(jobs);
        let mut memory = Vec::new();
        work(&Mutex::new(waiting), &mut memory);
        assert!(memory.is_empty(), "something was hashed");
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let hashing = Hashing::start(1, 8).unwrap();
        assert_ne!(hashing.hash(secret("x")).await.unwrap(), hashing.hash(secret("x")).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_with_older_parameters_is_accepted_and_made_anew() {
        let hashing = Hashing::start(1, 8).unwrap();
        let old = old_hash("secret");
        let checked = hashing.check(secret("secret"), Some(old.clone())).await.unwrap();
        assert!(checked.is_good);
        let renewed = checked.rehashed.unwrap();
        assert!(renewed.contains("m=19456,t=2,p=1"));
        assert!(hashing.check(secret("secret"), Some(renewed)).await.unwrap().rehashed.is_none());
        assert!(hashing.check(secret("wrong"), Some(old)).await.unwrap().rehashed.is_none());
    }

    #[tokio::test]
    async fn a_stored_text_that_is_no_hash_is_an_error_and_not_a_refusal() {
        let hashing = Hashing::start(1, 8).unwrap();
        for text in ["", "plain", "$bcrypt$v=1$x=1$c2FsdHNhbHQ$aGFzaA"] {
            assert!(hashing.check(secret("x"), Some(text.into())).await.is_err(), "{text}");
        }
    }

    fn old_hash(password: &str) -> String {
        let params = Params::new(64, 1, 1, Some(32)).unwrap();
        let mut output = [0; 32];
        fill(&secret(password), b"saltsaltsalt", params.clone(), &mut output, &mut Vec::new()).unwrap();
        PasswordHash {
            algorithm: Ident::new("argon2id").unwrap(),
            version: Some(Decimal::from(Version::V0x13)),
            params: ParamsString::try_from(&params).unwrap(),
            salt: Some(Salt::new(b"saltsaltsalt").unwrap()),
            hash: Some(Output::new(&output).unwrap()),
        }
        .to_string()
    }
}
