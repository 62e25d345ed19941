//! How an operator's command is carried out: by the running server, or on its store if none runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::agent::Launcher;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::control::{self, Command, Operator, Reply};
use crate::credential::embedded::Embedded;
use crate::data_dir::{DataDir, DataDirError, DataPaths};
use crate::events::EventLog;
use crate::service_mapping::{CREDENTIAL_SERVER, ServiceMapping};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

use super::Failure;

/// Carries the command out and returns what came of it.
pub(super) fn operate(config: &Config, command: Command) -> Result<Reply, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    let reply = runtime.block_on(settle(config, command))?;
    if let Reply::Refused(why) = reply { Err(Failure::Failed(why)) } else { Ok(reply) }
}

/// A directory is in use for a moment while another command works on it, or while a server starts or stops.
async fn settle(config: &Config, command: Command) -> Result<Reply> {
    const ATTEMPTS: usize = 200;
    const BETWEEN: Duration = Duration::from_millis(50);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let sent = control::send(&config.data_dir, &command).await;
        if let Some(reply) = sent.map_err(|error| unanswered(&command, &error))? {
            return Ok(reply);
        }
        match without_server(config, command.clone()).await {
            Err(error) if is_in_use(&error) && attempt < ATTEMPTS => tokio::time::sleep(BETWEEN).await,
            done => return done,
        }
    }
}

fn unanswered(command: &Command, error: &std::io::Error) -> anyhow::Error {
    let what_to_do = if command.only_looks() { "; `frontdesk doctor` says more" } else { "" };
    anyhow!("the running server did not answer on its control socket: {error}{what_to_do}")
}

fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DataDirError::InUse { .. }))
}

async fn without_server(config: &Config, command: Command) -> Result<Reply> {
    // Only who adds something wants a new data directory: others have mistaken the place.
    let adds = matches!(command, Command::AddCustomer { .. } | Command::CreateToken { .. });
    let place = config.data_dir.display();
    let is_there = DataPaths::new(&config.data_dir).database().try_exists();
    if is_there.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
        bail!(
            "this user may not read {place}; run this as the user that the server runs as, such as with `sudo -u USER`"
        );
    }
    if !is_there.unwrap_or(false) && !adds {
        let what = if config.data_dir.exists() {
            format!("{place} is not a data directory")
        } else {
            format!("there is no data directory {place}")
        };
        bail!("{what}; name the right one with --data-dir, or start `frontdesk serve` once");
    }
    let data_dir = DataDir::open(&config.data_dir)?;
    if matches!(command, Command::Status | Command::Drain { .. } | Command::Reload) {
        bail!("no server runs on {}; start it with `frontdesk serve`", config.data_dir.display());
    }
    if matches!(command, Command::ListSessions { before: None, .. } | Command::ShowSession { .. }) {
        anstream::eprintln!("note: no server runs on {}; this is what is stored", config.data_dir.display());
    }
    let store = SqliteStore::open(data_dir.paths())
        .with_context(|| format!("cannot open the store in {}", data_dir.paths().root().display()))?;
    let store: Arc<dyn Store> = Arc::new(store);
    if store.desk().greeting_due && matches!(command, Command::AddCustomer { .. }) {
        // Who has a customer needs none for a demonstration.
        store.greeted().await?;
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(store.desk().last_heartbeat.as_ref()));
    let embedded = Arc::new(Embedded::new(Arc::clone(&store), Arc::clone(&clock), &config.credential)?);
    let events = EventLog::open(data_dir.paths(), config.events.keep)
        .with_context(|| format!("cannot open the log of events in {}", data_dir.paths().root().display()))?;
    let launcher = Launcher::to_end(Arc::clone(&store), Arc::clone(&clock), events.clone(), data_dir.paths().agents());
    let operator = Operator::new(store, clock, embedded, None, events).ending(launcher).deciding(is_remote(config));
    let reply = operator.execute(command).await;
    drop(data_dir);
    Ok(reply)
}

/// Whether the service mapping names a remote credential server. One that can't be read keeps a server from starting, and
/// is that start's to tell.
fn is_remote(config: &Config) -> bool {
    let mapping = ServiceMapping::load(config.service_mapping_path(), config.service_mapping.is_some());
    mapping.is_ok_and(|mapping| mapping.get(CREDENTIAL_SERVER).is_some())
}
