//! What becomes of a session whose task fails, with a real store and a real process.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use frontdesk::agent::http::Services;
use frontdesk::agent::{AgentLimits, Launcher, Means, leftovers};
use frontdesk::clock::{Clock, Heartbeat, SystemClock, Timestamp, WallTime};
use frontdesk::config::{Config, InForce, Persona};
use frontdesk::data_dir::DataDir;
use frontdesk::events::EventLog;
use frontdesk::id::{CustomerKey, Revision, SessionId};
use frontdesk::session::{NewSession, Phase, Reason, Registry, SessionData, SessionRecord};
use frontdesk::shim::launch::Launch;
use frontdesk::shutdown::Tasks;
use frontdesk::store::Store;
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::token::TokenHash;

#[tokio::test]
async fn a_session_whose_task_failed_at_a_stop_is_stopped_all_the_same() {
    let desk = Desk::with_a_running_session().await;

    desk.clock.fails_once();
    desk.registry.stop(desk.id, true, Reason::new("a test"), None).await.unwrap();

    desk.until(|phase| matches!(phase, Phase::Ended { .. })).await;
    assert_eq!(desk.processes(), 0);
}

#[tokio::test]
async fn a_session_whose_task_failed_at_the_agent_s_end_runs_again() {
    let desk = Desk::with_a_running_session().await;

    desk.clock.fails_once();
    desk.kill_agents();

    desk.until(|phase| matches!(phase, Phase::Running { epoch, .. } if epoch.0 > 1)).await;
    assert_eq!(desk.processes(), 1);
    desk.registry.stop(desk.id, true, Reason::new("a test"), None).await.unwrap();
    desk.until(|phase| matches!(phase, Phase::Ended { .. })).await;
}

struct Desk {
    registry: Registry,
    store: Arc<dyn Store>,
    clock: FailingClock,
    id: SessionId,
    _directory: tempfile::TempDir,
}

impl Desk {
    async fn with_a_running_session() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(directory.path()).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(data_dir.paths()).unwrap());
        let clock = FailingClock { inner: Arc::new(SystemClock::resume(None)), fails: Arc::default() };
        let limits = AgentLimits {
            requests: 1,
            line_bytes: 1_000,
            starting: 1,
            spool_bytes: 1 << 20,
            log_bytes: 1 << 20,
            answers_bytes: 1 << 20,
        };
        let (tasks, launch) = (Tasks::default(), Launch::of(Path::new(env!("CARGO_BIN_EXE_frontdesk"))));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let events = EventLog::open(data_dir.paths(), 1 << 20).unwrap();
        let (agents, services, metrics) = (data_dir.paths().agents(), Services::default(), Arc::default());
        let settings = InForce::new(Config::default());
        let means = Means { launch, agents, services, events, metrics, settings };
        let launcher = Launcher::new(Arc::clone(&store), Arc::clone(&shared), tasks.clone(), limits, means);
        let command = [env!("CARGO_BIN_EXE_frontdesk"), "agent", "echo"].map(str::to_owned).to_vec();
        let personas = BTreeMap::from([("ECHO".parse().unwrap(), Persona { command, ..Persona::default() })]);
        let registry =
            Registry::new(Arc::clone(&store), Arc::clone(&shared), launcher, tasks, &personas, 1, Duration::ZERO);
        let id = SessionId::new(shared.wall(), [1; 10]);
        let customer = CustomerKey::new("ada@example.org");
        let record = SessionRecord {
            id,
            customer: customer.clone(),
            email: None,
            persona: "ECHO".into(),
            created: shared.wall(),
            revision: Revision::FIRST,
            phase: Phase::admitted(shared.now() + Duration::from_mins(1)),
        };
        let data = SessionData::Inline("{}".into());
        store
            .admit(NewSession { record, data, token: TokenHash([1; 32]), origin: None, key: None, account: None })
            .await
            .unwrap();
        registry.initialise(&customer).await.unwrap();
        Self { registry, store, clock, id, _directory: directory }
    }

    async fn until(&self, wanted: impl Fn(&Phase) -> bool) {
        for _ in 0..6_000 {
            if wanted(&self.store.session(self.id).await.unwrap().unwrap().record.phase) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited a minute for another phase");
    }

    fn kill_agents(&self) {
        for marked in leftovers::marked(&self.store.desk().id) {
            crate::harness::signal(marked.pid, rustix::process::Signal::KILL);
        }
    }

    fn processes(&self) -> usize {
        leftovers::marked(&self.store.desk().id).len()
    }
}

/// A clock that makes the task fail that asks it for the wall time, once.
#[derive(Clone, Debug)]
struct FailingClock {
    inner: Arc<SystemClock>,
    fails: Arc<AtomicBool>,
}

impl FailingClock {
    fn fails_once(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }
}

impl Clock for FailingClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn wall(&self) -> WallTime {
        assert!(!self.fails.swap(false, Ordering::SeqCst), "a test says so");
        self.inner.wall()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.inner.sleep_until(deadline)
    }

    fn heartbeat(&self) -> Heartbeat {
        self.inner.heartbeat()
    }
}
