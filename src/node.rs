//! One Frontdesk server put together: from a configuration to a node that serves.
//!
//! ```text
//! open: data directory, store, clock ──> build: agents, registry, credentials, HTTP ──> recover ──> serve ──> drain
//! ```
//!
//! Nothing is served before the sessions of an earlier server are settled. Who runs a node in a test does it through
//! here as well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::agent::http::Services;
use crate::agent::kept_logs::KeptLogs;
use crate::agent::{self, AgentLimits, Launcher, Means, port_holder};
use crate::backup;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, InForce, Listen};
use crate::credential::Verifiers;
use crate::credential::embedded::Embedded;
use crate::credential::gate::Gate;
use crate::credential::known_addresses;
use crate::credential::remote::RemoteVerifier;
use crate::credential::throttle::ThrottleConfig;
use crate::data_dir::{DataDir, DataPaths};
use crate::descriptors;
use crate::events::EventLog;
use crate::http::at_once::AtOnce;
use crate::http::audit::{Refused, SignIns};
use crate::http::body::Bodies;
use crate::http::code::Code;
use crate::http::forwarded::Proxies;
use crate::http::forwarded::secret::Secret;
use crate::http::route_class::RouteClass;
use crate::http::router::Router;
use crate::http::{App, Presence};
use crate::http_client::HttpClient;
use crate::metrics::{Metrics, Sampler};
use crate::server::Server;
use crate::server::listener::{HandedOver, ListenError, Listener};
use crate::server::tls::Tls;
use crate::service_mapping::ServiceMapping;
use crate::session::Registry;
use crate::shim::launch::Launch;
use crate::shutdown::{AtStop, Tasks};
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

use household::Household;

mod household;

/// Uploads of sessions' data at once: each holds a thread of those that may block.
const MOST_UPLOADS: usize = 16;
/// One that is sent again may come while the one before, whose client has gone, is being stored.
const MOST_UPLOADS_OF_A_SESSION: usize = 4;
/// Each holds a page of events and a piece that its reader has yet to take.
const MOST_STREAMS: usize = 2_000;
/// A team may follow one session; no session shall take the streams of all others.
const MOST_STREAMS_OF_A_SESSION: usize = 128;

/// A node that has recovered and is ready to serve.
pub struct Node {
    /// What the HTTP handlers use.
    pub app: Arc<App>,
    /// The customers of this node, for operators' commands.
    pub embedded: Arc<Embedded>,
    /// What agents have said.
    pub events: EventLog,
    /// The service mapping in force.
    pub mapping: Arc<ServiceMapping>,
    tls: Option<Arc<Tls>>,
    proxies: Proxies,
    listener: Listener,
    tasks: Tasks,
    // Declared last, so that the directory is given free after everything in it is closed.
    data_dir: DataDir,
}

impl Node {
    /// Opens, builds and recovers. A socket that a service manager has handed over is used in place of a new one.
    ///
    /// # Errors
    /// One sentence that says what is missing and what to do.
    pub async fn start(config: Config, handed_over: Option<HandedOver>) -> Result<Self> {
        agent::check_users(&config).map_err(|why| anyhow!(why))?;
        let data_dir = DataDir::open(&config.data_dir)?;
        backup::clear_links(data_dir.paths());
        let mapping_path = config.service_mapping_path().to_owned();
        let mapping = Arc::new(ServiceMapping::load(&mapping_path, config.service_mapping.is_some())?);
        let tls = config.tls.files().map(|(certificate, key)| Tls::load(certificate, key)).transpose()?.map(Arc::new);
        let proxies = Proxies::new(&config, Secret::load(&config.proxy_secret)?);
        // Bound before the store is made: a new data directory whose first start fails at the port is still new.
        let listener = listen(&config, handed_over, data_dir.paths()).await?;
        let paths = data_dir.paths().clone();
        let store = tokio::task::spawn_blocking(move || SqliteStore::open(&paths)).await?;
        let store = store.with_context(|| format!("cannot open the store in {}", data_dir.paths().root().display()))?;
        let writes = Arc::clone(store.writes());
        let shortage = store.shortage().clone();
        let store: Arc<dyn Store> = Arc::new(store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(store.desk().last_heartbeat.as_ref()));
        let tasks = Tasks::default();
        let embedded = Arc::new(Embedded::new(Arc::clone(&store), Arc::clone(&clock), &config.credential)?);
        let client = HttpClient::new();
        let events = EventLog::open(data_dir.paths(), config.events.keep);
        let events = events
            .with_context(|| format!("cannot open the log of events in {}", data_dir.paths().root().display()))?;
        events.yield_room(&shortage);
        let codes = Code::ALL.iter().map(|code| code.in_lower_case());
        let personas = config.personas.keys().map(ToString::to_string);
        let metrics = Arc::new(Metrics::new(
            personas,
            codes,
            RouteClass::ALL.map(RouteClass::name),
            writes,
            Arc::clone(events.writes()),
        ));
        let settings = InForce::new(config.clone());
        let kept_logs = KeptLogs::new(data_dir.paths().logs());
        kept_logs.remove_strays(&*store).await;
        let means = Means {
            launch: Launch::default(),
            agents: data_dir.paths().agents(),
            services: Services { mapping: Arc::clone(&mapping), client: client.clone() },
            events: events.clone(),
            metrics: Arc::clone(&metrics),
            settings: settings.clone(),
        };
        let registry = registry(&config, &store, &clock, &tasks, means);
        let began = clock.now();
        registry.recover().await?;
        metrics.recovery.record(clock.now().saturating_since(began));
        registry.look_after();
        mapping.watch(mapping_path, &tasks);
        if let Some(tls) = &tls {
            tls.watch(&tasks, &metrics);
        }
        let household = Household::new(&settings, &store, &events, &clock, kept_logs);
        tasks.spawn(household.run(tasks.clone()));
        let remote = RemoteVerifier::new(client, config.credential.timeout);
        let (refused, refused_writer) = Refused::new(Arc::clone(&store), Arc::clone(&clock), tasks.clone());
        tasks.spawn(refused_writer.run());
        let gate = Arc::new(Gate::new(ThrottleConfig::of(&config.throttle), store.desk().token_key.throttle_key()));
        known_addresses::restore(&gate, &*store, &*clock).await;
        tasks.spawn(known_addresses::keep(Arc::clone(&gate), Arc::clone(&store), Arc::clone(&clock), tasks.clone()));
        let sampler = Sampler::new(Arc::clone(&metrics), Arc::clone(&store), Arc::clone(&clock));
        tasks.spawn(sampler.clone().run(tasks.clone()));
        let presence = Presence {
            address: listener.address().clone(),
            is_kept_by_manager: listener.is_handed_over(),
            started: clock.wall(),
            since: clock.now(),
        };
        let app = Arc::new(App {
            refused,
            sign_ins: SignIns::default(),
            presence,
            paths: data_dir.paths().clone(),
            embedded: Arc::clone(&embedded),
            verifiers: Verifiers::new(Arc::clone(&mapping), Arc::clone(&embedded), remote),
            gate,
            uploads: AtOnce::new(MOST_UPLOADS, MOST_UPLOADS_OF_A_SESSION),
            streams: AtOnce::new(MOST_STREAMS, MOST_STREAMS_OF_A_SESSION),
            bodies: Bodies::new(&config.limits, tasks.clone()),
            registry,
            store,
            clock,
            events: events.clone(),
            metrics,
            sampler,
            tasks: tasks.clone(),
            settings,
        });
        Ok(Self { app, embedded, events, mapping, tls, proxies, listener, tasks, data_dir })
    }

    /// Where the node listens.
    pub fn address(&self) -> &Listen {
        self.listener.address()
    }

    /// The directory that the node has.
    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// The node's tasks, to which whoever serves something beside it adds its own.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Serves until `stop` completes, and for the configured time says that it is not ready; then lets open requests
    /// finish and leaves or ends the agents, as `stop` says, within the configured grace. Sessions stay as they are stored. Returns how many tasks had to be cut off.
    pub async fn serve(self, stop: impl Future<Output = AtStop>) -> usize {
        let Self { app, embedded, events, mapping, tls, proxies, listener, tasks, data_dir } = self;
        let config = app.config();
        let limits = &config.limits;
        let server = Server {
            answers: Arc::new(Router::new(Arc::clone(&app))),
            proxies,
            tls,
            connections: descriptors::connections(limits.connections, limits.max_running),
            connections_per_address: limits.connections_per_address,
            metrics: Arc::clone(&app.metrics),
        };
        let serving = server.run(listener, tasks.clone());
        let stopping = async {
            let at_stop = stop.await;
            tasks.withdraw();
            tokio::time::sleep(app.config().shutdown.readiness_delay).await;
            at_stop
        };
        let at_stop = tokio::select! {
            () = serving => AtStop::LeaveAgents,
            at_stop = stopping => at_stop,
        };
        let grace = config.shutdown.grace;
        tasks.drain(at_stop);
        let cut_off = match tokio::time::timeout(grace, tasks.ended()).await {
            Ok(()) => 0,
            Err(_) => tasks.count(),
        };
        // The heartbeat tells the next start where the time stands.
        if let Err(error) = app.store.beat(app.clock.heartbeat()).await {
            tracing::warn!(error = %error, "last heartbeat not stored");
        }
        drop((app, embedded, events, mapping));
        drop(data_dir);
        cut_off
    }
}

/// Opens the listening socket. Where an agent of this desk has taken its place, that agent is ended first.
async fn listen(config: &Config, handed_over: Option<HandedOver>, data: &DataPaths) -> Result<Listener, ListenError> {
    /// Killed processes give their sockets back within moments.
    const TRIES: u32 = 100;
    const BETWEEN_TRIES: Duration = Duration::from_millis(20);
    if handed_over.is_some() {
        return Listener::open(config, handed_over).await;
    }
    let mut left = TRIES;
    let mut told = BTreeSet::new();
    loop {
        let taken = match Listener::open(config, None).await {
            Err(error @ ListenError::Taken { .. }) if left > 0 => error,
            outcome => return outcome,
        };
        let (data, wanted) = (data.clone(), config.listen.clone());
        let ended = tokio::task::spawn_blocking(move || port_holder::end_holders(&data, &wanted)).await;
        let ended = ended.unwrap_or_default();
        if ended.is_empty() && told.is_empty() {
            return Err(taken);
        }
        for session in ended.into_iter().filter(|session| told.insert(*session)) {
            tracing::warn!(session.id = %session, listen = %config.listen, "an agent listened in the server's place and was ended");
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
        left -= 1;
    }
}

fn registry(config: &Config, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>, tasks: &Tasks, means: Means) -> Registry {
    let limits = AgentLimits {
        requests: config.limits.requests_per_session as usize,
        line_bytes: usize::try_from(config.limits.message).unwrap_or(usize::MAX),
        starting: config.limits.max_starting as usize,
        spool_bytes: config.limits.spool,
        log_bytes: config.limits.log,
        answers_bytes: config.limits.answers,
    };
    let launcher = Launcher::new(Arc::clone(store), Arc::clone(clock), tasks.clone(), limits, means);
    Registry::new(
        Arc::clone(store),
        Arc::clone(clock),
        launcher,
        tasks.clone(),
        &config.personas,
        config.limits.max_running as usize,
        config.shutdown.grace,
    )
}
