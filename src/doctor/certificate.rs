//! Whether the certificate can be used: readable, a pair with its key, for some time yet, for the names that it is asked for.
//!
//! The TLS library parses the names and tells them when it refuses a certificate. It is asked whether it would accept this
//! one for a name that nobody has.

use std::path::Path;
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use tokio_rustls::rustls;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::server::tls::{Tls, validity};

use super::Finding;

const ABOUT: &str = "certificate";
const DAY: Duration = Duration::from_hours(24);
/// When the next one should be there.
const SOON_DAYS: i64 = 14;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// When it ends, in seconds since the Unix epoch, if it says so in a way that can be read.
    until: Option<i64>,
    /// The names that it is for.
    names: Vec<String>,
    /// Those of the configuration's names that it is not for.
    missing: Vec<String>,
}

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some((certificate, key)) = config.tls.files() else { return Vec::new() };
    if let Err(error) = Tls::load(certificate, key) {
        let cure = "correct `tls.certificate` and `tls.key`; a running server keeps the last good pair";
        return vec![Finding::error(ABOUT, error.to_string(), cure)];
    }
    let now = SystemClock::resume(None).wall().unix_millis() / 1_000;
    match read(certificate, &config.hosts) {
        Some(said) => judge(&said, now, certificate),
        None => Vec::new(),
    }
}

fn read(path: &Path, hosts: &[String]) -> Option<Said> {
    let first = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
    let parsed = ParsedCertificate::try_from(&first).ok()?;
    let is_missing = |host: &&String| match ServerName::try_from(host.trim_matches(['[', ']']).to_owned()) {
        Ok(name) => verify_server_name(&parsed, &name).is_err(),
        Err(_) => false,
    };
    let missing = hosts.iter().filter(is_missing).cloned().collect();
    Some(Said { until: validity::end(&first), names: names(&parsed), missing })
}

fn names(parsed: &ParsedCertificate<'_>) -> Vec<String> {
    let Ok(nobody) = ServerName::try_from("nobody.invalid") else { return Vec::new() };
    match verify_server_name(parsed, &nobody) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. })) => {
            presented.iter().map(|name| plain(name).to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// A name as it is typed: the library writes `DnsName("desk.example.org")`.
fn plain(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')')).trim_matches('"')
}

fn judge(said: &Said, now: i64, path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let of_names = (!said.missing.is_empty()).then(|| {
        let sentence = format!("{shown} is not for {}, which `hosts` has", said.missing.join(", "));
        Finding::warning(ABOUT, sentence, "have it made for all of them, or take them out of `hosts`")
    });
    let Some(until) = said.until else { return of_names.into_iter().collect() };
    let days = (until - now).div_euclid(i64::try_from(DAY.as_secs()).unwrap_or(i64::MAX));
    let cure = "renew it: a new pair of files is in force within a second, without a restart";
    let of_time = if days < 0 {
        Finding::error(ABOUT, format!("{shown} ended {} days ago", -days), cure)
    } else if days < SOON_DAYS {
        Finding::warning(ABOUT, format!("{shown} ends in {days} days"), cure)
    } else {
        let names = if said.names.is_empty() { String::new() } else { format!(" for {}", said.names.join(", ")) };
        Finding::ok(ABOUT, format!("{shown} is good{names}, for {days} more days"))
    };
    [Some(of_time), of_names].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use crate::doctor::Level;

    use super::*;

    fn configured(directory: &Path, hosts: &[&str]) -> Config {
        let made = rcgen::generate_simple_self_signed(["desk.example.org".to_owned()]).unwrap();
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = crate::config::Tls { certificate: Some(certificate), key: Some(key) };
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Config { tls, hosts, ..Config::default() }
    }

    #[test]
    fn dates_and_names_are_read_out_of_a_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let config = configured(directory.path(), &["desk.example.org", "other.example.org"]);
        let said = read(config.tls.certificate.as_deref().unwrap(), &config.hosts).unwrap();
        assert!(said.until.is_some());
        assert_eq!(said.names, ["desk.example.org"]);
        assert_eq!(said.missing, ["other.example.org"]);
    }

    #[test]
    fn a_certificate_that_is_over_is_an_error_and_one_that_ends_soon_a_warning() {
        let level = |left: i64| {
            let said = Said { until: Some(1_000_000 + left), names: vec!["a".into()], missing: Vec::new() };
            judge(&said, 1_000_000, Path::new("c.pem"))[0].level
        };
        let day = 86_400;
        assert_eq!([level(-1), level(13 * day), level(15 * day)], [Level::Error, Level::Warning, Level::Ok]);
    }

    #[test]
    fn a_key_of_another_certificate_is_an_error() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut config = configured(one.path(), &[]);
        config.tls.key = configured(other.path(), &[]).tls.key;
        let found = check(&config);
        assert_eq!(found[0].level, Level::Error);
        assert!(found[0].sentence.contains("is not that of the certificate"), "{found:?}");
        assert_eq!(check(&Config::default()), []);
    }
}
