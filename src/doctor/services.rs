//! Whether what the server calls can be reached: the credential server, and the services that are agents. They are
//! connected to, over TLS where that is spoken, and asked for nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::data_dir::DataPaths;
use crate::http_client::HttpClient;
use crate::service_mapping::{Address, CREDENTIAL_SERVER, ServiceMapping};
use crate::store::sqlite::inspect;
use crate::verify::may_not_read;

use super::Finding;

/// Longer than a handshake over a bad line.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn check_credentials(address: Option<Arc<str>>, directory: &Path) -> Vec<Finding> {
    const ABOUT: &str = "credential server";
    let Some(address) = address else {
        return vec![match inspect::customer_count(directory) {
            None if may_not_read(&DataPaths::new(directory).database()) => Finding::note(
                ABOUT,
                "the embedded credential server decides, and this user may not see which customers it has",
                "run this as the user that the server runs as, such as with `sudo -u USER`",
            ),
            Some(0) | None => Finding::note(
                ABOUT,
                "the embedded credential server decides, and has no customers",
                "add some with `frontdesk customer add`",
            ),
            Some(count) => {
                let worded = if count == 1 { "1 customer".to_owned() } else { format!("{count} customers") };
                Finding::ok(ABOUT, format!("the embedded credential server decides, and has {worded}"))
            }
        }];
    };
    vec![match reach(&address).await {
        Ok(()) => Finding::ok(ABOUT, format!("{CREDENTIAL_SERVER} at {address} takes connections")),
        Err(why) => Finding::error(
            ABOUT,
            format!("{CREDENTIAL_SERVER} at {address} can't be reached ({why})"),
            "start it, or correct its address in the service mapping: nobody can sign in",
        ),
    }]
}

pub(super) async fn check_agents(config: &Config, mapping: &ServiceMapping) -> Vec<Finding> {
    const ABOUT: &str = "agents";
    let services = config.personas.iter().filter_map(|(name, persona)| Some((name, persona.service.as_deref()?)));
    let mut found = Vec::new();
    for (name, service) in services {
        // That it is not there at all is the mapping's own check to tell.
        let Some(address) = mapping.get(service) else { continue };
        found.push(match reach(&address).await {
            Ok(()) => Finding::ok(ABOUT, format!("{service} at {address}, the agents of {name}, takes connections")),
            Err(why) => Finding::error(
                ABOUT,
                format!("{service} at {address}, the agents of {name}, can't be reached ({why})"),
                "start it, or correct its address in the service mapping",
            ),
        });
    }
    found
}

/// Connects, and hangs up.
async fn reach(entry: &str) -> Result<(), String> {
    // What comes behind an agent's address is the path of its requests.
    let (scheme, rest) = entry.split_once("://").unwrap_or(("http", entry));
    let authority = rest.split('/').next().unwrap_or(rest);
    let base = if entry.contains("://") { format!("{scheme}://{authority}") } else { authority.to_owned() };
    let address = Address::parse(&base).ok_or("it is no address")?;
    let uri = format!("{}://{}/", address.scheme, address.authority).parse().map_err(|_| "it is no address")?;
    HttpClient::new().reach(&uri, PATIENCE).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use crate::data_dir::DataDir;
    use crate::doctor::Level;
    use crate::store::sqlite::SqliteStore;

    use super::*;

    #[tokio::test]
    async fn a_credential_server_that_takes_connections_is_asked_for_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Arc<str> = listener.local_addr().unwrap().to_string().into();
        let found = check_credentials(Some(Arc::clone(&address)), Path::new("/")).await;
        assert_eq!(found[0].level, Level::Ok, "{found:?}");
        let (stream, _) = listener.accept().await.unwrap();
        let mut sent = [0; 1];
        assert_eq!(tokio::io::AsyncReadExt::read(&mut { stream }, &mut sent).await.unwrap(), 0);
        drop(listener);
        let away = check_credentials(Some(address), Path::new("/")).await;
        assert_eq!(away[0].level, Level::Error);
        assert!(away[0].text().contains("nobody can sign in"), "{away:?}");
    }

    #[tokio::test]
    async fn the_embedded_one_is_counted_and_not_called() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDir::open(root.path()).unwrap();
        drop(SqliteStore::open(directory.paths()).unwrap());
        let found = check_credentials(None, root.path()).await;
        assert_eq!(found[0].level, Level::Note);
        assert!(found[0].text().contains("frontdesk customer add"), "{found:?}");
    }
}
