//! `[tls]`: the certificate with which the server proves who it is.
//!
//! Only the paths; `server::tls` reads the files, and reads them again when they change.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Conflict;
use super::value;

/// `[tls]`: the certificate with which the server proves who it is. Without it connections are not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those that vouch for it, in PEM form, the server's own first. Default none.
    #[serde(with = "value::optional_path", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM form and not encrypted. Default none.
    #[serde(with = "value::optional_path", skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Tls {
    /// The files of the certificate and of its key, if connections are to be encrypted.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.certificate.as_deref().zip(self.key.as_deref())
    }

    pub(super) fn conflict(&self) -> Option<Conflict> {
        let (written, missing) = match (&self.certificate, &self.key) {
            (Some(_), None) => ("tls.certificate", "tls.key"),
            (None, Some(_)) => ("tls.key", "tls.certificate"),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let text = format!("`{written}` is set and `{missing}` is not: set both, or neither for no TLS");
        Some(Conflict { keys: vec![written.to_owned()], text })
    }
}
