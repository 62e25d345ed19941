//! `ServiceURLMapping.json`: the names of services and where they are.
//!
//! A flat JSON object of `NAME: "host:port"` or `NAME: "https://..."`. What Frontdesk itself calls must be an
//! [`Address`]; the entries of others may go on with a path. The file is watched: a good edit is in force
//! within half a second, a broken one keeps the last good mapping and says so. It is read anew five times a second
//! rather than watched by inotify: that sees edits through symbolic links, bind mounts and network file systems, which
//! is how orchestrators deliver such files, and costs one small read.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Authority;
use parking_lot::RwLock;

use crate::shutdown::Tasks;

/// The service that decides about credentials, if the mapping has it.
pub const CREDENTIAL_SERVER: &str = "CREDENTIAL_SERVER";

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
const MOST_BYTES: u64 = 1 << 20;

/// The mapping in force.
#[derive(Debug, Default)]
pub struct ServiceMapping {
    services: RwLock<Arc<Services>>,
    problem: RwLock<Option<String>>,
    /// The file's content when it was loaded: an edit before the watch begins is an edit, too.
    loaded: Option<Vec<u8>>,
}

type Services = HashMap<String, Arc<str>>;

/// Where a service is: `host:port`, `http://host[:port]` or `https://host[:port]`, and nothing more. The host may be an
/// IPv6 literal in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, and the port if one is named.
    pub authority: &'a str,
}

impl<'a> Address<'a> {
    /// Reads an entry of the mapping. Anything that could move a query elsewhere is no address.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority, needs_port) = match text.split_once("://") {
            None => ("http", text, true),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => ("http", without_slash(rest), false),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => ("https", without_slash(rest), false),
            Some(_) => return None,
        };
        let parsed: Authority = authority.parse().ok()?;
        let port_is_good = match parsed.port_u16() {
            Some(_) => true,
            None => !needs_port && parsed.host() == authority,
        };
        let is_plain = !parsed.host().is_empty() && !authority.contains(['/', '?', '#', '@', '\\']);
        (port_is_good && is_plain).then_some(Self { scheme, authority })
    }
}

fn without_slash(authority: &str) -> &str {
    authority.strip_suffix('/').unwrap_or(authority)
}

/// Why a file is no mapping.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It can't be read.
    #[error("{path} can't be read: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It is not a flat JSON object of addresses.
    #[error("{path} is no service mapping: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ServiceMapping {
    /// Reads the mapping. A file that does not exist is an empty one, unless it is `required`.
    ///
    /// # Errors
    /// A [`MappingError`] if there is one and it is not good: a server must not start on half its services.
    pub fn load(path: &Path, required: bool) -> Result<Self, MappingError> {
        if !required && !path.exists() {
            return Ok(Self::default());
        }
        let content = read(path)?;
        let services = RwLock::new(Arc::new(parse(path, &content)?));
        Ok(Self { services, problem: RwLock::default(), loaded: Some(content) })
    }

    /// The address of a service, as the mapping has it at this moment.
    pub fn get(&self, service: &str) -> Option<Arc<str>> {
        self.services.read().get(service).cloned()
    }

    /// The names of all services, in their order.
    pub fn names(&self) -> Vec<String> {
        let services = Arc::clone(&self.services.read());
        let mut names: Vec<_> = services.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// What is wrong with the file, while the last good mapping stays in force.
    pub fn problem(&self) -> Option<String> {
        self.problem.read().clone()
    }

    /// Starts the task that keeps up with the file.
    pub fn watch(self: &Arc<Self>, path: PathBuf, tasks: &Tasks) {
        let mapping = Arc::clone(self);
        let watched = tasks.clone();
        tasks.spawn(async move {
            let mut last = mapping.loaded.clone();
            loop {
                tokio::select! {
                    () = watched.draining() => return,
                    () = tokio::time::sleep(BETWEEN_LOOKS) => {}
                }
                let (file, known) = (path.clone(), last.take());
                let Ok((content, news)) = tokio::task::spawn_blocking(move || look(&file, known)).await else { return };
                last = content;
                if let Some(news) = news {
                    mapping.accept(news);
                }
            }
        });
    }

    fn accept(&self, news: Result<Services, MappingError>) {
        let mut problem = self.problem.write();
        match news {
            Ok(services) => {
                let services = Arc::new(services);
                let before = {
                    let mut in_force = self.services.write();
                    std::mem::replace(&mut *in_force, Arc::clone(&services))
                };
                *problem = None;
                if before.contains_key(CREDENTIAL_SERVER) && !services.contains_key(CREDENTIAL_SERVER) {
                    tracing::warn!(
                        "the service mapping has no CREDENTIAL_SERVER any more: the customers of `frontdesk customer` \
                         decide from now on"
                    );
                }
                let names: Vec<_> = services.keys().map(String::as_str).collect();
                tracing::info!(services = names.join(","), "service mapping in force");
            }
            Err(error) => {
                tracing::error!(error = %error, "service mapping not taken; the last good one stays in force");
                *problem = Some(error.to_string());
            }
        }
    }
}

/// Looks whether the file has changed; returns its content, and the news if there are any.
fn look(path: &Path, known: Option<Vec<u8>>) -> (Option<Vec<u8>>, Option<Result<Services, MappingError>>) {
    match read(path) {
        Ok(content) if known.as_ref() == Some(&content) => (known, None),
        Ok(content) => {
            let services = parse(path, &content);
            (Some(content), Some(services))
        }
        // A file that was never there is no news; one that went away is, once.
        Err(error) => (None, known.map(|_| Err(error))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, MappingError> {
    let mut content = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut content))
        .map_err(|error| MappingError::Unreadable { path: path.display().to_string(), why: error.to_string() })?;
    if content.len() as u64 > MOST_BYTES {
        return Err(malformed(path, "it is larger than 1 MiB"));
    }
    Ok(content)
}

fn parse(path: &Path, content: &[u8]) -> Result<Services, MappingError> {
    crate::json::check(content).map_err(|error| malformed(path, &error.to_string()))?;
    let entries: HashMap<String, serde_json::Value> =
        serde_json::from_slice(content).map_err(|error| malformed(path, &error.to_string()))?;
    let mut services = Services::new();
    for (name, address) in entries {
        let is_good = if name == CREDENTIAL_SERVER { is_ours } else { is_address };
        let address = address.as_str().filter(|address| is_good(address));
        let address = address.ok_or_else(|| {
            malformed(path, &format!("{name:?} must be \"host:port\" or \"https://host\", as a string"))
        })?;
        services.insert(name, address.into());
    }
    Ok(services)
}

fn is_ours(text: &str) -> bool {
    Address::parse(text).is_some()
}

/// Whether it may be the address of a service that others call.
fn is_address(text: &str) -> bool {
    match text.parse::<Uri>() {
        Ok(uri) if text.contains("://") => {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        }
        Ok(uri) => {
            uri.authority().is_some_and(|authority| authority.as_str() == text && authority.port_u16().is_some())
        }
        Err(_) => false,
    }
}

fn malformed(path: &Path, why: &str) -> MappingError {
    MappingError::Malformed { path: path.display().to_string(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::AtStop;

    #[test]
    fn a_mapping_names_addresses() {
        let (_directory, path) = file(r#"{"CREDENTIAL_SERVER": "127.0.0.1:9000", "B": "https://b.example/x"}"#);
        let mapping = ServiceMapping::load(&path, true).unwrap();
        assert_eq!(mapping.get(CREDENTIAL_SERVER).as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(mapping.get("B").as_deref(), Some("https://b.example/x"));
        assert_eq!(mapping.get("C"), None);
    }

    #[test]
    fn a_missing_file_is_an_empty_mapping_unless_somebody_named_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none.json");
        assert_eq!(ServiceMapping::load(&path, false).unwrap().get("A"), None);
        assert!(matches!(ServiceMapping::load(&path, true), Err(MappingError::Unreadable { .. })));
    }

    #[test]
    fn what_is_no_mapping_says_why() {
        for (content, why) in [
            ("", "EOF"),
            ("[]", "invalid type"),
            (r#"{"A": 1}"#, "\"A\" must be"),
            (r#"{"A": "host"}"#, "\"A\" must be"),
            (r#"{"A": "ftp://x"}"#, "\"A\" must be"),
            (r#"{"A": {"B": "c:1"}}"#, "\"A\" must be"),
            (r#"{"A": "h:1", "A": "h:2"}"#, "twice"),
        ] {
            let (_directory, path) = file(content);
            let error = ServiceMapping::load(&path, true).unwrap_err().to_string();
            assert!(error.contains(why), "{content}: {error}");
        }
    }

    #[test]
    fn the_credential_servers_address_is_good_only_if_it_can_be_asked() {
        for bad in [
            "https://cred.example/api",
            "https://h/?x",
            "https://h?x",
            "https://h//",
            "https://h#x",
            "https://user@h",
            "user@h:80",
            "h",
            "h:80/",
            ":80",
            "https://",
            "https://h:",
            "https://h:port",
            "https://h:65536",
            "::1",
            "[::1",
        ] {
            let (_directory, path) = file(&format!(r#"{{"CREDENTIAL_SERVER": "{bad}"}}"#));
            let error = ServiceMapping::load(&path, true).expect_err(bad).to_string();
            assert!(error.contains("\"CREDENTIAL_SERVER\" must be"), "{bad}: {error}");
        }
        for good in ["h:80", "[::1]:80", "http://h", "HTTPS://h:8443/", "https://[2001:db8::1]"] {
            let (_directory, path) = file(&format!(r#"{{"CREDENTIAL_SERVER": "{good}"}}"#));
            assert_eq!(ServiceMapping::load(&path, true).unwrap().get(CREDENTIAL_SERVER).as_deref(), Some(good));
        }
    }

    #[tokio::test]
    async fn a_good_edit_is_in_force_and_a_broken_one_keeps_the_last_good_mapping() {
        let (_directory, path) = file(r#"{"A": "one:1"}"#);
        let mapping = Arc::new(ServiceMapping::load(&path, true).unwrap());
        let tasks = Tasks::default();
        mapping.watch(path.clone(), &tasks);

        std::fs::write(&path, r#"{"A": "two:2"}"#).unwrap();
        until(|| mapping.get("A").as_deref() == Some("two:2")).await;
        std::fs::write(&path, "{").unwrap();
        until(|| mapping.problem().is_some()).await;
        assert_eq!(mapping.get("A").as_deref(), Some("two:2"));
        std::fs::remove_file(&path).unwrap();
        until(|| mapping.problem().is_some_and(|problem| problem.contains("can't be read"))).await;
        assert_eq!(mapping.get("A").as_deref(), Some("two:2"));
        std::fs::write(&path, r#"{"A": "three:3"}"#).unwrap();
        until(|| mapping.get("A").as_deref() == Some("three:3") && mapping.problem().is_none()).await;

        tasks.drain(AtStop::EndAgents);
        tasks.ended().await;
    }

    fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ServiceURLMapping.json");
        std::fs::write(&path, content).unwrap();
        (directory, path)
    }

    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..3_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited half a minute");
    }
}
