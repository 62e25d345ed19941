//! Requests whose partial answers are followed: every part comes as soon as it is durable, and all of them before the
//! answer, from processes and from services, and again for who asks again under the same key.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use frontdesk::agent::http::Services;
use frontdesk::agent::{AgentLimits, Launcher, Means};
use frontdesk::clock::{Clock, SystemClock};
use frontdesk::config::{AgentKind, Config, InForce, Persona};
use frontdesk::data_dir::DataDir;
use frontdesk::events::EventLog;
use frontdesk::http_client::HttpClient;
use frontdesk::id::{CustomerKey, Revision, SessionId};
use frontdesk::service_mapping::ServiceMapping;
use frontdesk::session::{NewSession, Part, Parts, Phase, Reason, Registry, RelayError, SessionData, SessionRecord};
use frontdesk::shim::launch::Launch;
use frontdesk::shutdown::{AtStop, Tasks};
use frontdesk::store::sqlite::SqliteStore;
use frontdesk::store::{RequestKey, Store};
use frontdesk::token::TokenHash;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::repository;

const SCRIPT: &str = "tests/it/agents/parts.py";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_come_while_the_agent_works_and_the_answer_behind_them() {
    for kind in [AgentKind::Process, AgentKind::Http] {
        let desk = Desk::with_a_running_session(kind).await;
        let (one, other) = (desk.request("one", &json!(["a", {"b": [1, 2]}])), desk.request("other", &json!(["x"])));
        let mut one = desk.registry().relay_parts(desk.id, one, None);
        let mut other = desk.registry().relay_parts(desk.id, other, None);
        assert_eq!(output(&mut one).await, json!("a"));
        assert_eq!(output(&mut one).await, json!({"b": [1, 2]}));
        assert_eq!(output(&mut other).await, json!("x"));
        desk.release("other");
        answer(&mut other).await.unwrap();
        desk.release("one");
        answer(&mut one).await.unwrap();
        assert!(one.next().await.is_none());
        desk.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_never_passes_the_parts_before_it() {
    for kind in [AgentKind::Process, AgentKind::Http] {
        let desk = Desk::with_a_running_session(kind).await;
        desk.release("free");
        let parts = Value::from((0..200).collect::<Vec<_>>());
        for key in [None, Some(key("a"))] {
            let mut asked = desk.registry().relay_parts(desk.id, desk.request("free", &parts), key);
            for part in 0..200 {
                assert_eq!(output(&mut asked).await, part);
            }
            answer(&mut asked).await.unwrap();
        }
        desk.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_under_a_key_gets_every_part_again_also_from_the_next_server() {
    for kind in [AgentKind::Process, AgentKind::Http] {
        let mut desk = Desk::with_a_running_session(kind).await;
        let request = desk.request("hold", &json!(["a", "b"]));
        let ask = |desk: &Desk| desk.registry().relay_parts(desk.id, request.clone(), Some(key("a")));
        let mut first = ask(&desk);
        assert_eq!(output(&mut first).await, "a");
        assert_eq!(output(&mut first).await, "b");
        // Who joins in the middle begins at the beginning, and who leaves cancels nothing.
        let mut second = ask(&desk);
        drop(first);
        assert_eq!(output(&mut second).await, "a");
        assert_eq!(output(&mut second).await, "b");
        desk.release("hold");
        assert_eq!(answer(&mut second).await.unwrap(), 1);
        for _ in 0..2 {
            let mut again = ask(&desk);
            assert_eq!(output(&mut again).await, "a");
            assert_eq!(output(&mut again).await, "b");
            assert_eq!(answer(&mut again).await.unwrap(), 1);
            desk.restart().await;
        }
        let mut reused = desk.registry().relay_parts(desk.id, desk.request("hold", &json!([])), Some(key("a")));
        assert!(matches!(answer(&mut reused).await, Err(RelayError::KeyReused)));
        desk.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_away_cancels_a_request_without_a_key() {
    for kind in [AgentKind::Process, AgentKind::Http] {
        let desk = Desk::with_a_running_session(kind).await;
        let mut asked = desk.registry().relay_parts(desk.id, desk.request("hold", &json!(["a"])), None);
        assert_eq!(output(&mut asked).await, "a");
        drop(asked);
        desk.until("it is cancelled", async |desk| desk.file("hold.cancelled").exists()).await;
        desk.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_refused_has_its_refusal_as_its_first_part() {
    let desk = Desk::with_a_running_session(AgentKind::Process).await;
    desk.end().await;
    for key in [None, Some(key("a"))] {
        let mut asked = desk.registry().relay_parts(desk.id, desk.request("hold", &json!([])), key);
        assert!(matches!(answer(&mut asked).await, Err(RelayError::NotRunning)));
        assert!(asked.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_had_to_make_room_are_a_gap_to_who_asks_again() {
    let desk = Desk::with_a_running_session(AgentKind::Process).await;
    desk.release("free");
    let large = Value::from((0..30).map(|n| format!("{n}{}", "x".repeat(90_000))).collect::<Vec<_>>());
    let request = desk.request("free", &large);
    desk.registry().relay_once(desk.id, key("a"), request.clone()).await.unwrap();
    let mut again = desk.registry().relay_parts(desk.id, request, Some(key("a")));
    assert!(matches!(again.next().await, Some(Part::Gap)));
    let mut kept = Vec::new();
    let answer = loop {
        match again.next().await.unwrap() {
            Part::Output(part) => kept.push(serde_json::from_slice::<Value>(&part).unwrap()),
            Part::Gap => panic!("a second gap"),
            Part::Answer(answer) => break answer,
        }
    };
    assert!(answer.is_ok() && (1..30).contains(&kept.len()), "{answer:?}");
    assert_eq!(kept[..], large.as_array().unwrap()[30 - kept.len()..]);
    desk.end().await;
}

/// A server in this process with one session, and its service.
struct Desk {
    server: Option<Server>,
    id: SessionId,
    persona: Persona,
    data_dir: DataDir,
    _service: Service,
    directory: TempDir,
}

struct Server {
    registry: Registry,
    store: Arc<dyn Store>,
    tasks: Tasks,
}

impl Desk {
    async fn with_a_running_session(kind: AgentKind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let service = Service::start(&directory.path().join("mapping.json"));
        let data_dir = DataDir::open(&directory.path().join("data")).unwrap();
        let command = ["python3", "-u", repository().join(SCRIPT).to_str().unwrap()].map(str::to_owned).to_vec();
        let persona = match kind {
            AgentKind::Process => Persona { command, ..Persona::default() },
            AgentKind::Http => Persona { agent: kind, service: Some("PARTS".into()), ..Persona::default() },
        };
        let clock = SystemClock::resume(None);
        let id = SessionId::new(clock.wall(), [1; 10]);
        let mut desk = Self { server: None, id, persona, data_dir, _service: service, directory };
        desk.restart().await;
        let customer = CustomerKey::new("ada@example.org");
        let record = SessionRecord {
            id,
            customer: customer.clone(),
            email: None,
            persona: "PARTS".into(),
            created: clock.wall(),
            revision: Revision::FIRST,
            phase: Phase::admitted(clock.now() + Duration::from_mins(1)),
        };
        let data = SessionData::Inline("{}".into());
        let new = NewSession { record, data, token: TokenHash([1; 32]), origin: None, key: None, account: None };
        desk.registry().admit(new).await.unwrap();
        desk.registry().initialise(&customer).await.unwrap();
        desk
    }

    /// Stops the server, which leaves its agent, and starts the next one.
    async fn restart(&mut self) {
        if let Some(Server { registry, store, tasks }) = self.server.take() {
            tasks.drain(AtStop::LeaveAgents);
            tasks.ended().await;
            drop((registry, store));
        }
        let paths = self.data_dir.paths();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(paths).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(None));
        let limits = AgentLimits {
            requests: 8,
            line_bytes: 100_000,
            starting: 1,
            spool_bytes: 1 << 20,
            log_bytes: 1 << 20,
            answers_bytes: 1 << 20,
        };
        let mapping = ServiceMapping::load(&self.directory.path().join("mapping.json"), true).unwrap();
        let means = Means {
            launch: Launch::of(Path::new(env!("CARGO_BIN_EXE_frontdesk"))),
            agents: paths.agents(),
            services: Services { mapping: Arc::new(mapping), client: HttpClient::new() },
            events: EventLog::open(paths, 1 << 20).unwrap(),
            metrics: Arc::default(),
            settings: InForce::new(Config::default()),
        };
        let tasks = Tasks::default();
        let launcher = Launcher::new(Arc::clone(&store), Arc::clone(&clock), tasks.clone(), limits, means);
        let personas = BTreeMap::from([("PARTS".parse().unwrap(), self.persona.clone())]);
        let registry = Registry::new(Arc::clone(&store), clock, launcher, tasks.clone(), &personas, 1, Duration::ZERO);
        registry.recover().await.unwrap();
        self.server = Some(Server { registry, store, tasks });
    }

    fn registry(&self) -> &Registry {
        &self.server.as_ref().unwrap().registry
    }

    /// A request with these parts, whose answer waits for its release.
    fn request(&self, name: &str, parts: &Value) -> Bytes {
        json!({"parts": parts, "hold": self.file(name)}).to_string().into()
    }

    fn release(&self, name: &str) {
        std::fs::write(self.file(name), "").unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn end(&self) {
        self.registry().stop(self.id, true, Reason::new("a test"), None).await.unwrap();
        self.until("the session has ended", async |desk| {
            let stored = desk.server.as_ref().unwrap().store.session(desk.id).await.unwrap().unwrap();
            !stored.record.phase.is_live()
        })
        .await;
    }

    async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        for _ in 0..6_000 {
            if condition(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited a minute for: {what}");
    }
}

/// The script as a service, and a mapping that names it.
struct Service {
    child: Child,
}

impl Service {
    fn start(mapping: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-u", repository().join(SCRIPT).to_str().unwrap(), "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        std::fs::write(mapping, json!({"PARTS": format!("127.0.0.1:{}", port.trim())}).to_string()).unwrap();
        Self { child }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(text: &str) -> RequestKey {
    RequestKey::of(text.as_bytes())
}

/// The next part, which must be an output.
async fn output(parts: &mut Parts) -> Value {
    match parts.next().await {
        Some(Part::Output(part)) => serde_json::from_slice(&part).unwrap(),
        other @ (Some(Part::Gap | Part::Answer(_)) | None) => panic!("{other:?}"),
    }
}

/// The next part, which must be the answer.
async fn answer(parts: &mut Parts) -> Result<Value, RelayError> {
    match parts.next().await {
        Some(Part::Answer(answer)) => answer.map(|result| serde_json::from_slice(&result).unwrap()),
        other @ (Some(Part::Output(_) | Part::Gap) | None) => panic!("{other:?}"),
    }
}
