//! The secret by which a proxy proves that it is one: read once at start, kept as a hash, taken out of every request.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::http::{HeaderMap, HeaderName};

use crate::config::ProxySecret;

const LEAST_BYTES: usize = 32;
const MOST_BYTES: usize = 1_024;
const OTHERS_MAY_READ: u32 = 0o004;

/// The hash of the secret. Two of them are compared in constant time.
#[derive(Clone)]
pub struct Secret(blake3::Hash);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// Why a file holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It can't be read.
    #[error("`proxy_secret.file` is {path}, which can't be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It holds something else.
    #[error(
        "`proxy_secret.file` is {path}, which does not hold 32 to 1024 printable characters: make one with `openssl rand \
         -hex 32`"
    )]
    Malformed {
        /// The file.
        path: String,
    },
}

impl Secret {
    /// Reads the secret that the configuration names; nothing if it names none. Warns if every user may read it.
    ///
    /// # Errors
    /// A [`SecretError`] that says what to do.
    pub fn load(config: &ProxySecret) -> Result<Option<Self>, SecretError> {
        config.file.as_deref().map(Self::read).transpose()
    }

    fn read(path: &Path) -> Result<Self, SecretError> {
        let shown = || path.display().to_string();
        let unreadable = |error: std::io::Error| SecretError::Unreadable { path: shown(), why: error.to_string() };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.permissions().mode() & OTHERS_MAY_READ != 0 {
            tracing::warn!(file = %path.display(), "every user may read the proxy's secret: chmod o-r this file");
        }
        let mut content = Vec::new();
        file.take(MOST_BYTES as u64 + 2).read_to_end(&mut content).map_err(unreadable)?;
        let secret = content.trim_ascii();
        let is_good = (LEAST_BYTES..=MOST_BYTES).contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
        if is_good { Ok(Self::of(secret)) } else { Err(SecretError::Malformed { path: shown() }) }
    }

    pub(super) fn of(secret: &[u8]) -> Self {
        Self(blake3::hash(secret))
    }

    /// Removes all headers of this name; whether there was exactly one and it carried the secret.
    pub(super) fn is_taken_from(&self, headers: &mut HeaderMap, name: &HeaderName) -> bool {
        let is_single = headers.get_all(name).iter().count() == 1;
        let last = headers.remove(name);
        last.is_some_and(|value| is_single && blake3::hash(value.as_bytes()) == self.0)
    }
}

/// The header that carries the secret.
pub(super) fn header(config: &ProxySecret) -> HeaderName {
    HeaderName::try_from(config.header.as_str()).expect("the configuration has checked it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Secret, SecretError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, content).unwrap();
        Secret::read(&path)
    }

    #[test]
    fn a_secret_is_long_and_printable_and_the_end_of_its_line_is_no_part_of_it() {
        let secret = "0123456789abcdef0123456789abcdef";
        assert_eq!(read(&format!("{secret}\n")).unwrap().0, Secret::of(secret.as_bytes()).0);
        assert!(read(&"a".repeat(MOST_BYTES)).is_ok());
        for content in
            ["", "\n", "short", &"a".repeat(MOST_BYTES + 1), &format!("{secret} {secret}"), "ä".repeat(40).as_str()]
        {
            let error = read(content).err().unwrap().to_string();
            assert!(error.contains("32 to 1024 printable characters"), "{content}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let error = Secret::read(Path::new("/nonexistent/secret")).err().unwrap().to_string();
        assert!(error.starts_with("`proxy_secret.file` is /nonexistent/secret, which can't be read"), "{error}");
    }
}
