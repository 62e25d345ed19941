//! What becomes of a session whose task fails, with a real store and a real process.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::agent::{CallLimits, leftovers};
use crate::clock::{Heartbeat, SystemClock, Timestamp, WallTime};
use crate::config::Protocol;
use crate::data_dir::DataDir;
use crate::id::Revision;
use crate::session::{NewSession, SessionData};
use crate::store::sqlite::SqliteStore;
use crate::token::TokenHash;

#[tokio::test]
async fn a_session_whose_task_failed_at_a_stop_is_stopped_all_the_same() {
    let desk = Desk::with_a_running_session().await;

    desk.clock.fails_once();
    desk.registry.stop(desk.id, true, Reason::new("a test")).await.unwrap();

    desk.until(|phase| matches!(phase, Phase::Ended { .. })).await;
    assert_eq!(desk.processes(), 0);
}

#[tokio::test]
async fn a_session_whose_task_failed_at_the_agent_s_end_runs_again() {
    let desk = Desk::with_a_running_session().await;

    desk.clock.fails_once();
    desk.registry.inner.context.launcher.end_leftovers().await;

    desk.until(|phase| matches!(phase, Phase::Running { epoch, .. } if epoch.0 > 1)).await;
    assert_eq!(desk.processes(), 1);
    desk.registry.stop(desk.id, true, Reason::new("a test")).await.unwrap();
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
        let (tasks, limits) = (Tasks::default(), CallLimits { requests: 1, line_bytes: 1_000 });
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let launcher = Launcher::new(Arc::clone(&store), Arc::clone(&shared), tasks.clone(), limits);
        let command = ["sleep", "600"].map(str::to_owned).to_vec();
        let persona = Persona { command, protocol: Protocol::None, ..Persona::default() };
        let personas = HashMap::from([("SLEEPER".to_owned(), Arc::new(persona))]);
        let registry =
            Registry::new(Arc::clone(&store), Arc::clone(&shared), launcher, tasks, personas, 1, Duration::ZERO);
        let id = SessionId::new(shared.wall(), crate::random::bytes());
        let customer = CustomerKey::new("ada@example.org");
        let record = SessionRecord {
            id,
            customer: customer.clone(),
            email: None,
            persona: "SLEEPER".into(),
            created: shared.wall(),
            revision: Revision::FIRST,
            phase: Phase::admitted(shared.now() + Duration::from_mins(1)),
        };
        let data = SessionData::Inline("{}".into());
        store.admit(NewSession { record, data, token: TokenHash([1; 32]), origin: None }).await.unwrap();
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
