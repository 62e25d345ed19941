//! What operators' commands do, on a running server or on a store that no server has.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::agent::Launcher;
use crate::clock::Clock;
use crate::credential::embedded::{CustomerError, Embedded};
use crate::credential::{InForce, Verifier};
use crate::customer::{self, RemoveError};
use crate::events::EventLog;
use crate::http::App;
use crate::http::v1::nodes::NodeView;
use crate::http::v1::throttled::list::ThrottledView;
use crate::id::{CustomerKey, Printable, SessionId};
use crate::principal::Scope;
use crate::session::machine::{self, Event, Limits};
use crate::session::registry::Places;
use crate::session::{CommandError, Reason, Registry, Sequences, SessionRecord};
use crate::shim::wire::Usage;
use crate::shutdown::AtStop;
use crate::store::{Action, Actor, AuditEntry, Filter, Store, StoreError};

use super::{Command, Reloader, Reply, audit, events, tokens};

const NO_SERVER: &str = "no server runs on this data directory; start it with `frontdesk serve`, or name the right one \
     with --data-dir";
const NO_EFFECT: &str =
    "; this has no effect on sign-ins while the service mapping names a CREDENTIAL_SERVER, which decides alone";

/// Executes commands. Cloning shares what it works on.
#[derive(Clone)]
pub struct Operator {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) embedded: Arc<Embedded>,
    /// The sessions that the running server drives; `None` if no server runs.
    pub(super) registry: Option<Registry>,
    pub(super) sequences: Sequences,
    /// The running server.
    app: Option<Arc<App>>,
    reloader: Option<Arc<Reloader>>,
    /// Ends the agents that a stopped server has left.
    launcher: Option<Launcher>,
    /// Whether the next server is to ask a remote credential server, where none runs that could say.
    is_remote_next: bool,
}

/// A customer as a table shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CustomerRow {
    /// The canonical email, by which the next page goes on.
    pub key: String,
    /// The email as it was added.
    pub email: String,
    /// When, in RFC 3339.
    pub added: String,
    /// `enabled` or `disabled`.
    #[serde(default)]
    pub state: String,
}

/// A session as a table shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub customer: String,
    /// Which persona.
    pub persona: String,
    /// Its phase.
    pub phase: String,
    /// How often an agent was started for it.
    pub epoch: u32,
    /// The agent's process.
    pub pid: Option<u32>,
    /// What its processes take, if that was measured.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Which limits are in force and by what, in words; empty if there are none.
    #[serde(default)]
    pub limits: String,
    /// When it was requested, in RFC 3339.
    pub created: String,
    /// Since then, in seconds of the wall clock.
    pub age_seconds: i64,
    /// How it ended, or is about to.
    pub outcome: Option<String>,
    /// Why, or what its agent says of its progress.
    pub reason: Option<String>,
}

impl Operator {
    /// Works on a running server's sessions, or with `None` on a store that no server has.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        embedded: Arc<Embedded>,
        registry: Option<Registry>,
        events: EventLog,
    ) -> Self {
        let sequences = Sequences::new(Arc::clone(&store), Arc::clone(&clock), events);
        Self {
            store,
            clock,
            embedded,
            registry,
            sequences,
            app: None,
            reloader: None,
            launcher: None,
            is_remote_next: false,
        }
    }

    /// The same, for a server that can be asked how it is, and to stop.
    #[must_use]
    pub fn serving(self, app: Arc<App>) -> Self {
        Self { app: Some(app), ..self }
    }

    /// The same, for a server whose configuration can be read again.
    #[must_use]
    pub fn reloading(self, reloader: Arc<Reloader>) -> Self {
        Self { reloader: Some(reloader), ..self }
    }

    /// The same, where no server runs but its agents may.
    #[must_use]
    pub fn ending(self, launcher: Launcher) -> Self {
        Self { launcher: Some(launcher), ..self }
    }

    /// The same, where no server runs and the service mapping says who is to decide about credentials.
    #[must_use]
    pub fn deciding(self, is_remote: bool) -> Self {
        Self { is_remote_next: is_remote, ..self }
    }

    /// What is to be said of a customer's password that nobody is going to ask for.
    fn effect(&self) -> &'static str {
        let is_remote = self
            .app
            .as_ref()
            .map_or(self.is_remote_next, |app| matches!(app.verifiers.in_force(), InForce::Remote(..)));
        if is_remote { NO_EFFECT } else { "" }
    }

    /// Executes one command. What can't be done comes back as one sentence.
    pub async fn execute(&self, command: Command) -> Reply {
        let done = match command {
            Command::AddCustomer { email, password } => self.add_customer(&email, password.into()).await,
            Command::SetPassword { email, password } => self.set_password(&email, password.into()).await,
            Command::RemoveCustomer { email } => self.remove_customer(&email).await,
            Command::SetDisabled { email, disabled } => self.set_disabled(&email, disabled).await,
            Command::ListThrottled => {
                Ok(Reply::Throttled(self.app.as_deref().map(ThrottledView::all).unwrap_or_default()))
            }
            Command::ClearThrottled { email } => self.clear_throttled(&email).await,
            Command::ListCustomers { after, most } => self.customers(after.as_deref(), most).await,
            Command::ListSessions { email, ended, before, most } => {
                self.sessions(email.as_deref(), ended, before, most).await
            }
            Command::ShowSession { session } => self.show_session(&session).await,
            Command::ListEvents { session, after, most } => {
                let keys = [self.embedded.key(&session), CustomerKey::new(&session)];
                let is_served = self.registry.is_some();
                events::read(&*self.store, &self.sequences, &session, keys, (after, most), is_served).await
            }
            Command::StopSession { id, force } => self.stop_session(&id, force).await,
            Command::RestartSession { session } => self.restart_session(&session).await,
            Command::CreateToken { name, scopes, valid_for } => self.create_token(&name, &scopes, valid_for).await,
            Command::ListTokens => tokens::list(&*self.store, self.clock.wall()).await.map(Reply::Tokens),
            Command::RevokeToken { token } => self.revoke_token(&token).await,
            Command::ListAudit { query, most } => {
                let keys = query.customer.as_ref().map(|email| [self.embedded.key(email), CustomerKey::new(email)]);
                audit::read(&*self.store, &query, keys, most).await.map(Reply::Audit)
            }
            Command::Status => self.status(),
            Command::Drain { cancel } => self.drain(!cancel).await,
            Command::Reload => self.reload().await,
            Command::Stop { agents } => self.stop_server(agents).await,
        };
        done.unwrap_or_else(Reply::Refused)
    }

    /// Notes what was done, before anybody hears of it.
    async fn note(&self, entry: AuditEntry) -> Result<(), String> {
        let what = entry.action.name();
        self.store
            .note(entry)
            .await
            .map_err(|error| format!("it was done ({what}), but the audit could not record it: {}", of_store(&error)))
    }

    pub(super) fn entry(&self, action: Action) -> AuditEntry {
        AuditEntry {
            at: self.clock.wall(),
            actor: Actor::CommandLine,
            action,
            session: None,
            customer: None,
            from: None,
            detail: String::new(),
        }
    }

    async fn create_token(&self, name: &str, scopes: &[Scope], valid_for: Option<Duration>) -> Result<Reply, String> {
        let (made, detail) = tokens::make(&*self.store, &*self.clock, name, scopes, valid_for).await?;
        tracing::info!(token.id = %made.row.id, token.name = %Printable(name), "operator's token made");
        self.note(AuditEntry { detail, ..self.entry(Action::TokenMade) }).await?;
        Ok(Reply::Token(made))
    }

    async fn revoke_token(&self, wanted: &str) -> Result<Reply, String> {
        let (token, was_good) = tokens::revoke(&*self.store, wanted, self.clock.wall()).await?;
        let name = Printable(&token.name);
        if !was_good {
            return Ok(done(format!("token {name} was revoked before")));
        }
        tracing::info!(token.id = %token.id, token.name = %name, "operator's token revoked");
        let detail = format!("{} ({})", token.name, token.id);
        self.note(AuditEntry { detail, ..self.entry(Action::TokenRevoked) }).await?;
        Ok(done(format!("revoked token {name}")))
    }

    fn status(&self) -> Result<Reply, String> {
        let app = self.app.as_ref().ok_or(NO_SERVER)?;
        Ok(Reply::Node(Box::new(NodeView::of(app))))
    }

    async fn drain(&self, is_drained: bool) -> Result<Reply, String> {
        let app = self.app.as_ref().ok_or(NO_SERVER)?;
        let detail = if is_drained { "begun" } else { "over" }.to_owned();
        app.registry.drain(is_drained);
        tracing::info!(drain = %detail, "server drained");
        self.note(AuditEntry { detail, ..self.entry(Action::ServerDrained) }).await?;
        Ok(done(match (is_drained, app.registry.load().running) {
            (true, 0) => "draining: the server takes nothing new, and no agent runs".to_owned(),
            (true, 1) => "draining: the server takes nothing new; 1 agent runs on".to_owned(),
            (true, running) => format!("draining: the server takes nothing new; {running} agents run on"),
            (false, _) => "the server takes new sessions and starts agents again".to_owned(),
        }))
    }

    async fn reload(&self) -> Result<Reply, String> {
        let reloader = Arc::clone(self.reloader.as_ref().ok_or(NO_SERVER)?);
        let reloaded = tokio::task::spawn_blocking(move || reloader.reload_and_log()).await;
        let reloaded = reloaded.map_err(|error| format!("the configuration was not read: {error}"))??;
        let detail = reloaded.to_string();
        self.note(AuditEntry { detail, ..self.entry(Action::ServerReloaded) }).await?;
        Ok(Reply::Reloaded(reloaded))
    }

    async fn stop_server(&self, agents: bool) -> Result<Reply, String> {
        let tasks = self.app.as_ref().map(|app| &app.tasks);
        if tasks.is_some() || agents {
            // Before it is asked to: a server that stops may not come to it any more.
            let detail = if agents { "with its agents" } else { "without its agents" }.to_owned();
            self.note(AuditEntry { detail, ..self.entry(Action::ServerStopped) }).await?;
        }
        let message = match (tasks, agents) {
            (Some(tasks), true) => {
                tasks.ask_to_stop(AtStop::EndAgents);
                "stopping the server and its agents"
            }
            (Some(tasks), false) => {
                tasks.ask_to_stop(AtStop::LeaveAgents);
                "stopping the server; its agents run on"
            }
            (None, true) => return self.end_agents().await,
            (None, false) => "no server was running; `frontdesk stop --agents` ends agents that one has left",
        };
        Ok(done(message.to_owned()))
    }

    /// Ends what a stopped server has left.
    async fn end_agents(&self) -> Result<Reply, String> {
        let launcher = self.launcher.as_ref().ok_or("its agents are those of a running server")?;
        let ended = launcher.end_all().await.map_err(|error| format!("its agents can't be found: {error}"))?;
        Ok(done(format!("no server was running; ended {ended} of its agents")))
    }

    async fn add_customer(&self, email: &str, password: SecretString) -> Result<Reply, String> {
        let customer = self.embedded.add(email, password).await.map_err(|error| words(&error, email))?;
        tracing::info!(customer = %customer.key, "customer added");
        self.note(AuditEntry { customer: Some(customer.key.clone()), ..self.entry(Action::CustomerAdded) }).await?;
        Ok(done(format!("added {}{}", Printable(&customer.email), self.effect())))
    }

    async fn set_password(&self, email: &str, password: SecretString) -> Result<Reply, String> {
        self.embedded.set_password(email, password).await.map_err(|error| words(&error, email))?;
        let key = self.embedded.key(email);
        if let Some(app) = &self.app {
            app.gate.forgive(&key, self.clock.now());
        }
        tracing::info!(customer = %key, "password changed");
        self.note(AuditEntry { customer: Some(key.clone()), ..self.entry(Action::PasswordChanged) }).await?;
        let session = customer::sign_out(&*self.store, &key, |_| None).await.map_err(|error| {
            format!("the password was changed, but the tokens of the session were not revoked ({error}); try again")
        })?;
        let revoked = session.map_or("", |_| " and revoked the tokens of the session");
        Ok(done(format!("changed the password of {}{revoked}{}", Printable(email), self.effect())))
    }

    async fn remove_customer(&self, email: &str) -> Result<Reply, String> {
        let mut stopped = None;
        let stop = async |record: &SessionRecord, why: &str| {
            self.stop(record, true, why, None).await?;
            stopped = Some((record.clone(), why.to_owned()));
            Ok(())
        };
        let removed = customer::remove(&*self.store, &self.embedded, email, stop).await;
        if !matches!(removed, Err(RemoveError::Customer(_))) {
            let customer = Some(self.embedded.key(email));
            self.note(AuditEntry { customer, ..self.entry(Action::CustomerRemoved) }).await?;
        }
        if let Some((record, detail)) = stopped {
            self.note(AuditEntry { detail, ..self.stopped(&record, true) }).await?;
        }
        let had_session = removed.map_err(|error| match error {
            RemoveError::Customer(error) => words(&error, email),
            RemoveError::Look(error) => of_store(&error),
            RemoveError::Session(id, error) => {
                let email = Printable(email);
                format!("{email} was removed, its session was not stopped ({error}); try `frontdesk session stop {id}`")
            }
        })?;
        let stopped = if had_session { " and stopped its session" } else { "" };
        Ok(done(format!("removed {}{stopped}", Printable(email))))
    }

    async fn set_disabled(&self, email: &str, disabled: bool) -> Result<Reply, String> {
        let mut stopped = None;
        let stop = async |record: &SessionRecord, why: &str| {
            self.stop(record, false, why, None).await?;
            stopped = Some((record.clone(), why.to_owned()));
            Ok(())
        };
        let set = customer::set_disabled(&*self.store, &self.embedded, email, disabled, stop).await;
        if !matches!(set, Err(RemoveError::Customer(_))) {
            let action = if disabled { Action::CustomerDisabled } else { Action::CustomerEnabled };
            self.note(AuditEntry { customer: Some(self.embedded.key(email)), ..self.entry(action) }).await?;
        }
        if let Some((record, detail)) = stopped {
            self.note(AuditEntry { detail, ..self.stopped(&record, false) }).await?;
        }
        let had_session = set.map_err(|error| match error {
            RemoveError::Customer(error) => words(&error, email),
            RemoveError::Look(error) => of_store(&error),
            RemoveError::Session(id, error) => {
                let email = Printable(email);
                format!("{email} is disabled, its session was not stopped ({error}); try `frontdesk session stop {id}`")
            }
        })?;
        let (state, stopped) = (state(disabled), if had_session { " and its session is stopping" } else { "" });
        Ok(done(format!("{} is {state}{stopped}{}", Printable(email), self.effect())))
    }

    async fn clear_throttled(&self, email: &str) -> Result<Reply, String> {
        let gate = &self.app.as_ref().ok_or("no server runs, so nobody is slowed")?.gate;
        let keys = customer::keys(&self.embedded, email);
        for key in &keys {
            gate.forgive(key, self.clock.now());
        }
        self.note(AuditEntry { customer: keys.into_iter().next(), ..self.entry(Action::ThrottleCleared) }).await?;
        Ok(done(format!("{} may try again", Printable(email))))
    }

    async fn customers(&self, after: Option<&str>, most: usize) -> Result<Reply, String> {
        let customers = self.store.customers(after.map(CustomerKey::new), most).await;
        let rows = customers.map_err(|error| of_store(&error))?.into_iter().map(|customer| CustomerRow {
            key: customer.key.as_str().to_owned(),
            email: customer.email,
            added: customer.created.to_string(),
            state: state(customer.disabled.is_some()).to_owned(),
        });
        Ok(Reply::Customers(rows.collect()))
    }

    async fn sessions(
        &self,
        email: Option<&str>,
        ended: bool,
        before: Option<SessionId>,
        most: usize,
    ) -> Result<Reply, String> {
        let filter = Filter { ended, before, ..Filter::default() };
        let records = customer::sessions(&*self.store, &self.embedded, email, &filter, most).await;
        let records = records.map_err(|error| of_store(&error))?;
        let ids = || records.iter().map(|record| record.id).collect();
        let places = self.registry.as_ref().map(|registry| registry.places(ids())).unwrap_or_default();
        Ok(Reply::Sessions(records.iter().map(|record| self.row(record, &places)).collect()))
    }

    fn row(&self, record: &SessionRecord, places: &Places) -> SessionRow {
        let driven = self.registry.as_ref().and_then(|registry| registry.driven(record.id));
        let ending = record.phase.ending();
        let (progress, lost) = driven.as_ref().map_or((None, None), |driven| {
            let lost = driven.lost.as_ref().map(|reason| format!("an agent was lost: {}", reason.in_full()));
            (driven.progress.clone(), lost)
        });
        let waits_for = self.registry.as_ref().and_then(|registry| registry.waits_for(record)).map(str::to_owned);
        let why = record.phase.why().map(Reason::in_full);
        SessionRow {
            id: record.id,
            customer: record.customer.as_str().to_owned(),
            persona: record.persona.to_string(),
            phase: record.phase.name().to_owned(),
            epoch: record.phase.epoch().0,
            pid: driven.as_ref().and_then(|driven| driven.pid),
            usage: driven.as_ref().and_then(|driven| driven.usage),
            limits: driven.map(|driven| driven.limits).unwrap_or_default(),
            created: record.created.to_string(),
            age_seconds: (self.clock.wall().unix_millis() - record.created.unix_millis()).max(0) / 1_000,
            outcome: ending.map(|ending| ending.outcome.to_string()),
            reason: places.of(record.id).or(why).or(progress).or(lost).or(waits_for),
        }
    }

    async fn stop_session(&self, session: &str, force: bool) -> Result<Reply, String> {
        if let Some((id, why)) = self.set_aside(session).await {
            return self.give_up(id, &why, force).await;
        }
        let keys = [self.embedded.key(session), CustomerKey::new(session)];
        let stored = events::find(&*self.store, session, keys).await?;
        let id = stored.id;
        let record = self
            .stop(&stored, force, "stopped by an operator", Some(self.stopped(&stored, force)))
            .await
            .map_err(|error| match error {
                CommandError::Killed(_) => format!("session {id}: {error}"),
                CommandError::Rejected(_) | CommandError::Store(_) | CommandError::Draining => {
                    format!("session {id} was not stopped: {error}")
                }
            })?;
        Ok(done(match record.phase.ending() {
            Some(ending) if !record.phase.is_live() => format!("session {id} has ended: {}", ending.outcome),
            Some(_) | None => format!("session {id} is stopping"),
        }))
    }

    async fn restart_session(&self, session: &str) -> Result<Reply, String> {
        let keys = [self.embedded.key(session), CustomerKey::new(session)];
        let record = events::find(&*self.store, session, keys).await?;
        let id = record.id;
        let registry = self.registry.as_ref().ok_or_else(|| {
            format!("session {id} has no server that could start its agent; start one with `frontdesk serve`")
        })?;
        let note = AuditEntry {
            session: Some(id),
            customer: Some(record.customer.clone()),
            ..self.entry(Action::SessionRestarted)
        };
        let reason = Reason::new("restarted by an operator");
        let restarted = registry.restart(id, None, reason, note).await;
        restarted.map_err(|error| {
            format!("session {id} was not restarted: {error} (`frontdesk session list --all` shows it)")
        })?;
        Ok(done(format!("session {id} is restarting; `frontdesk session events {id}` shows how it goes on")))
    }

    fn stopped(&self, record: &SessionRecord, force: bool) -> AuditEntry {
        let action = if force { Action::SessionKilled } else { Action::SessionStopped };
        AuditEntry { session: Some(record.id), customer: Some(record.customer.clone()), ..self.entry(action) }
    }

    async fn stop(
        &self,
        record: &SessionRecord,
        force: bool,
        reason: &str,
        note: Option<AuditEntry>,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        match &self.registry {
            Some(registry) => registry.stop(record.id, force, Reason::new(reason), note.as_ref()).await,
            None => {
                if let Some(entry) = note.filter(|_| record.phase.is_live()) {
                    self.store.note(entry).await?;
                }
                self.end_without_server(record, reason).await
            }
        }
    }

    /// Ends a session whose server is not running. Its agent has no server: the next start ends what is left of it.
    async fn end_without_server(
        &self,
        record: &SessionRecord,
        reason: &str,
    ) -> Result<Arc<SessionRecord>, CommandError> {
        // Only the grace matters here, and there is nobody to grant it to.
        let limits = Limits {
            pending_timeout: Duration::ZERO,
            start_timeout: Duration::ZERO,
            start_attempts: 1,
            idle_timeout: None,
            max_lifetime: None,
            stop_grace: Duration::ZERO,
        };
        let mut record = record.clone();
        let stop = Event::Stop { force: true, reason: Reason::new(reason) };
        // A server that was killed may not have come to it.
        self.tell(&record).await;
        for event in [stop, Event::Recovered] {
            if !record.phase.is_live() {
                break;
            }
            let step = machine::step(&record.phase, &event, &limits, self.clock.now())?;
            record = record.after(step.phase);
            self.store.put(record.clone(), self.clock.now()).await?;
            self.tell(&record).await;
        }
        Ok(Arc::new(record))
    }

    /// Appends the step that led to the record, unless it is in the session's sequence. A log of events that fails does
    /// not keep the session from its end, which who reads its events finds all the same.
    pub(super) async fn tell(&self, record: &SessionRecord) {
        if let Err(error) = self.sequences.append(record).await {
            tracing::warn!(session.id = %record.id, error = %error, "transition not stored");
        }
    }
}

fn state(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "enabled" }
}

pub(super) fn done(message: String) -> Reply {
    Reply::Done { message }
}

fn words(error: &CustomerError, email: &str) -> String {
    match error {
        CustomerError::Unknown => {
            format!("there is no customer {}; `frontdesk customer list` shows them", Printable(email))
        }
        CustomerError::Store(error) => of_store(error),
        CustomerError::Email(_)
        | CustomerError::Exists { .. }
        | CustomerError::PasswordRefused(_)
        | CustomerError::Hashing(_) => error.to_string(),
    }
}

pub(super) fn of_store(error: &StoreError) -> String {
    match error {
        StoreError::Busy => "the store is busy; try again".to_owned(),
        StoreError::Unavailable(_) | StoreError::Full => {
            format!("{error}; check that the disk has room and can be written, then look whether it was done")
        }
        StoreError::Conflict
        | StoreError::Missing
        | StoreError::Corrupt(_)
        | StoreError::SetAside(_)
        | StoreError::Malformed(_)
        | StoreError::Unsupported(_) => error.to_string(),
    }
}
