//! TLS: the certificate in force, which changes when its files do.
//!
//! Both files are read again five times a second, as the service mapping is (`service_mapping` says why). They are two:
//! what has changed is only judged when it stands still from one look to the next, so that a pair that is being
//! replaced is not taken for a broken one. A pair that stays broken keeps the last good one in force. Connections that
//! are open go on with the certificate that they began with.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::metrics::Metrics;
use crate::shutdown::Tasks;

pub mod validity;

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const MOST_BYTES: u64 = 1 << 20;

/// How long a client may take for the handshake: some round trips, also over a bad line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client chooses by its side of ALPN (RFC 7301) to speak HTTP/2.
const HTTP_2: &[u8] = b"h2";

/// The certificate in force.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    in_force: RwLock<InForce>,
    /// The files' content when they were loaded: an edit before the watch begins is an edit, too.
    loaded: blake3::Hash,
}

/// A certificate that connections begin with.
#[derive(Clone, Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    /// When it ends, in seconds since the Unix epoch.
    end: Option<i64>,
}

/// Why two files are no certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One can't be read.
    #[error("`{setting}` is {path}, which can't be read: {why}")]
    Unreadable {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// One does not hold what it should.
    #[error("`{setting}` is {path}, which {why}")]
    Malformed {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// They don't belong together.
    #[error(
        "the key {key} is not that of the certificate {certificate}: set `tls.certificate` and `tls.key` to a pair"
    )]
    NoPair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
    },
}

impl Tls {
    /// Reads a certificate and its key. Blocks for as long as the disk does.
    ///
    /// # Errors
    /// A [`TlsError`] that says which file is wrong.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files::read(certificate, key)?;
        let in_force = RwLock::new(files.in_force(certificate, key)?);
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, in_force, loaded: files.hash() })
    }

    /// Starts the task that keeps up with the files.
    pub fn watch(self: &Arc<Self>, tasks: &Tasks, metrics: &Arc<Metrics>) {
        let (tls, watched, metrics) = (Arc::clone(self), tasks.clone(), Arc::clone(metrics));
        metrics.certificate_end.set(tls.end());
        tasks.spawn(async move {
            let mut seen = Seen { last: Some(tls.loaded), judged: Some(tls.loaded) };
            loop {
                tokio::select! {
                    () = watched.draining() => return,
                    () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                }
                let looking = Arc::clone(&tls);
                let Ok(now) = tokio::task::spawn_blocking(move || looking.look(seen)).await else { return };
                seen = now;
                metrics.certificate_end.set(tls.end());
            }
        });
    }

    /// When the certificate in force ends, in seconds since the Unix epoch.
    fn end(&self) -> Option<i64> {
        self.in_force.read().end
    }

    /// Speaks TLS with a client that has connected; whether HTTP/2 is to be spoken on it.
    ///
    /// # Errors
    /// What broke the handshake, or that it took too long.
    pub(super) async fn accept<S>(&self, stream: S) -> std::io::Result<(TlsStream<S>, bool)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.in_force.read().config);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await??;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok((stream, is_http2))
    }

    /// Looks whether the files have changed, and takes what they hold once it stands still.
    fn look(&self, seen: Seen) -> Seen {
        let found = Files::read(&self.certificate, &self.key);
        let now = found.as_ref().ok().map(Files::hash);
        if now == seen.judged || now != seen.last {
            return Seen { last: now, ..seen };
        }
        match found.and_then(|files| files.in_force(&self.certificate, &self.key)) {
            Ok(in_force) => {
                *self.in_force.write() = in_force;
                tracing::info!(certificate = %self.certificate.display(), "certificate in force");
            }
            Err(error) => {
                tracing::error!(error = %error, "certificate not taken; the last good one stays in force");
            }
        }
        Seen { last: now, judged: now }
    }
}

/// What the watch has seen of the files, as the hash of their content; nothing if one could not be read.
#[derive(Clone, Copy)]
struct Seen {
    /// At the last look.
    last: Option<blake3::Hash>,
    /// When they were last taken or refused.
    judged: Option<blake3::Hash>,
}

/// The content of both files.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: read("tls.certificate", certificate)?, key: read("tls.key", key)? })
    }

    fn hash(&self) -> blake3::Hash {
        let mut both = blake3::Hasher::new();
        both.update(&(self.certificate.len() as u64).to_le_bytes());
        both.update(&self.certificate);
        both.update(&self.key);
        both.finalize()
    }

    fn in_force(&self, certificate: &Path, key: &Path) -> Result<InForce, TlsError> {
        let malformed =
            |setting, path: &Path, why: String| TlsError::Malformed { setting, path: path.display().to_string(), why };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain
            .ok_or_else(|| malformed("tls.certificate", certificate, "has no certificate in PEM form".to_owned()))?;
        let end = validity::end(&chain[0]);
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            malformed("tls.key", key, "has no private key in PEM form, or only one that is encrypted".to_owned())
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for TLS 1.2 and 1.3");
        let paired = builder.with_no_client_auth().with_single_cert(chain, private);
        let mut config = paired.map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                return TlsError::NoPair {
                    certificate: certificate.display().to_string(),
                    key: key.display().to_string(),
                };
            }
            // The key is all that goes in beside the certificate.
            if matches!(error, rustls::Error::InvalidCertificate(_)) {
                malformed("tls.certificate", certificate, format!("has no certificate that can be used ({error})"))
            } else {
                malformed("tls.key", key, format!("has no key that can be used ({error})"))
            }
        })?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok(InForce { config: Arc::new(config), end })
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let shown = || path.display().to_string();
    let mut content = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut content))
        .map_err(|error| TlsError::Unreadable { setting, path: shown(), why: error.to_string() })?;
    if content.len() as u64 > MOST_BYTES {
        return Err(TlsError::Malformed { setting, path: shown(), why: "is larger than 1 MiB".to_owned() });
    }
    Ok(content)
}
