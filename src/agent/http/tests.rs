//! An agent that is a service, over a raw server that a test writes byte for byte.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::*;
use crate::agent::{AgentEnd, AgentEvent, AgentLimits, Means, News, news};
use crate::clock::{Clock, SystemClock, WallTime};
use crate::config::{Config, InForce, Persona};
use crate::data_dir::DataDir;
use crate::events::EventLog;
use crate::http_client::stub::{Peer, Stub, keep_alive};
use crate::id::{Epoch, SessionId};
use crate::service_mapping::ServiceMapping;
use crate::shim::launch::Launch;
use crate::shutdown::Tasks;
use crate::store::sqlite::SqliteStore;

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_adopted_agent_goes_on_without_initialize_and_with_higher_numbers() {
    let service = Echo::start(|_| None).await;
    let desk = Desk::new(&service.stub.address.to_string());
    let (first, mut news) = desk.begin(Beginning::Start);
    assert!(matches!(news.next().await, Some(AgentEvent::Ready)));
    first.request(b"1", LONG, |_| ()).await.unwrap();

    let (adopted, mut news) = desk.begin(Beginning::Adopt);
    assert_eq!(adopted.request(b"2", LONG, |_| ()).await.unwrap(), "{\"REQUEST\":2}");
    service.until(|seen| seen.len() == 4).await;
    adopted.stop(desk.clock.now() + LONG);

    assert!(matches!(news.next().await, Some(AgentEvent::Ended(AgentEnd::Stopped))));
    let seen = service.seen();
    let mut methods: Vec<_> = seen.iter().map(|message| message["method"].as_str().unwrap()).collect();
    methods[2..4].sort_unstable();
    assert_eq!(methods, ["initialize", "request", "ping", "request", "shutdown"]);
    let numbers: Vec<_> = seen.iter().filter_map(|message| message["id"].as_u64()).collect();
    assert!(numbers[..2].iter().max() < numbers[2..].iter().min(), "{numbers:?}");
}

#[tokio::test]
async fn an_adopted_agent_that_its_service_does_not_know_is_lost_at_once() {
    let service = Echo::start(|message| {
        let error = json!({"code": UNKNOWN_SESSION, "message": "never heard of it"});
        Some(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string())
    })
    .await;
    let (_agent, mut news) = Desk::new(&service.stub.address.to_string()).begin(Beginning::Adopt);
    let why = lost(news.next().await);
    assert!(why.ends_with("does not know the session: never heard of it"), "{why}");
    assert_eq!(service.seen().len(), 1);
}

#[tokio::test]
async fn an_adopted_agent_whose_service_refuses_three_pings_is_lost() {
    let service = Echo::start(|message| {
        let error = json!({"code": -32_603, "message": "not well"});
        Some(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string())
    })
    .await;
    let (_agent, mut news) = Desk::new(&service.stub.address.to_string()).begin(Beginning::Adopt);
    let why = lost(news.next().await);
    assert!(why.ends_with("answered ping with an error: not well"), "{why}");
    let pings = service.seen().iter().filter(|message| message["method"] == "ping").count();
    assert_eq!(pings, 3);
}

#[tokio::test]
async fn a_request_that_a_closing_idle_connection_swallowed_comes_once_more_with_its_number() {
    // The first connection answers `initialize` and closes on whatever comes next.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let stub = Stub::serve(move |mut peer| {
        let noted = Arc::clone(&noted);
        async move {
            while let Some(message) = read_post(&mut peer).await {
                noted.lock().push(message.clone());
                if peer.number == 1 && message["method"] == "request" {
                    return;
                }
                peer.send(keep_alive(200, &echo(&message))).await;
            }
        }
    })
    .await;
    let desk = Desk::new(&stub.address.to_string());
    let (agent, mut news) = desk.begin(Beginning::Start);
    assert!(matches!(news.next().await, Some(AgentEvent::Ready)));
    // The client needs a moment to see that the connection is idle.
    tokio::time::sleep(Duration::from_millis(50)).await;

    assert_eq!(agent.request(b"1", LONG, |_| ()).await.unwrap(), "{\"REQUEST\":1}");

    let seen = seen.lock();
    let requests: Vec<_> = seen.iter().filter(|message| message["method"] == "request").collect();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0], requests[1]);
}

#[tokio::test]
async fn a_request_that_got_a_byte_of_an_answer_or_went_out_on_a_fresh_connection_is_not_repeated() {
    for answer in ["", "H"] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let stub = Stub::serve(move |mut peer| {
            let counted = Arc::clone(&counted);
            async move {
                while let Some(message) = read_post(&mut peer).await {
                    if message["method"] == "request" {
                        counted.fetch_add(1, Ordering::SeqCst);
                        peer.send(answer).await;
                        return;
                    }
                    let connection = if answer.is_empty() { "connection: close\r\n" } else { "" };
                    let body = echo(&message);
                    let length = body.len();
                    peer.send(format!("HTTP/1.1 200 OK\r\n{connection}content-length: {length}\r\n\r\n{body}")).await;
                    if answer.is_empty() {
                        return;
                    }
                }
            }
        })
        .await;
        let desk = Desk::new(&stub.address.to_string());
        let (agent, mut news) = desk.begin(Beginning::Start);
        assert!(matches!(news.next().await, Some(AgentEvent::Ready)));
        tokio::time::sleep(Duration::from_millis(50)).await;

        let error = agent.request(b"1", LONG, |_| ()).await.unwrap_err();

        assert!(matches!(error, CallError::NoAnswer(_)), "{error}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_request_once() {
    let service = Echo::start(|message| (message["params"]["REQUEST"] == "hang").then(String::new)).await;
    let desk = Desk::new(&service.stub.address.to_string());
    let (agent, mut news) = desk.begin(Beginning::Start);
    assert!(matches!(news.next().await, Some(AgentEvent::Ready)));
    tokio::select! {
        _ = agent.request(b"\"hang\"", LONG, |_| ()) => panic!("answered"),
        () = service.until(|seen| seen.len() == 2) => {}
    }

    service.until(|seen| seen.len() == 3).await;

    let seen = service.seen();
    assert_eq!((&seen[2]["method"], &seen[2]["params"]["ID"]), (&json!("cancel"), &seen[1]["id"]));
    assert_eq!(agent.request(b"2", LONG, |_| ()).await.unwrap(), "{\"REQUEST\":2}");
}

#[tokio::test]
async fn as_many_requests_as_may_be_in_flight_do_not_keep_the_pings_back() {
    let service = Echo::start(|message| (message["params"]["REQUEST"] == "hang").then(String::new)).await;
    let desk = Desk::new(&service.stub.address.to_string());
    let (agent, _news) = desk.begin(Beginning::Adopt);
    let (one, two) = (agent.request(b"\"hang\"", LONG, |_| ()), agent.request(b"\"hang\"", LONG, |_| ()));
    let third = async {
        service.until(|seen| seen.len() == 3).await;
        agent.request(b"1", LONG, |_| ()).await
    };
    tokio::select! {
        _ = one => panic!("answered"),
        _ = two => panic!("answered"),
        refused = third => assert_eq!(refused, Err(CallError::TooMany)),
    }
    assert!(service.seen().iter().any(|message| message["method"] == "ping"));
}

/// A service that answers each call with its `params`, or as the test says. An empty answer is none.
struct Echo {
    stub: Stub,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Echo {
    async fn start(answer: fn(&Value) -> Option<String>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let stub = Stub::serve(move |mut peer| {
            let noted = Arc::clone(&noted);
            async move {
                while let Some(message) = read_post(&mut peer).await {
                    noted.lock().push(message.clone());
                    let body = answer(&message).unwrap_or_else(|| echo(&message));
                    if body.is_empty() {
                        // Until the other side gives up.
                        let _ = peer.stream.read_u8().await;
                        return;
                    }
                    peer.send(keep_alive(200, &body)).await;
                }
            }
        })
        .await;
        Self { stub, seen }
    }

    fn seen(&self) -> Vec<Value> {
        self.seen.lock().clone()
    }

    async fn until(&self, condition: impl Fn(&[Value]) -> bool) {
        for _ in 0..2_000 {
            if condition(&self.seen()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited 20 seconds: {:?}", self.seen());
    }
}

struct Desk {
    launcher: Launcher,
    clock: Arc<dyn Clock>,
    _directory: tempfile::TempDir,
}

impl Desk {
    fn new(address: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mapping.json");
        std::fs::write(&path, json!({"ROBOTS": address}).to_string()).unwrap();
        let mapping = Arc::new(ServiceMapping::load(&path, true).unwrap());
        let data_dir = DataDir::open(&directory.path().join("data")).unwrap();
        let store = Arc::new(SqliteStore::open(data_dir.paths()).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::resume(None));
        let limits =
            AgentLimits { requests: 2, line_bytes: 1_000, starting: 1, spool_bytes: 1, log_bytes: 1, answers_bytes: 1 };
        let means = Means {
            launch: Launch::default(),
            agents: data_dir.paths().agents(),
            services: Services { mapping, ..Services::default() },
            events: EventLog::open(data_dir.paths(), 1 << 20).unwrap(),
            metrics: Arc::default(),
            settings: InForce::new(Config::default()),
        };
        let launcher = Launcher::new(store, Arc::clone(&clock), Tasks::default(), limits, means);
        Self { launcher, clock, _directory: directory }
    }

    fn begin(&self, beginning: Beginning) -> (HttpAgent, News) {
        let persona = Persona { service: Some("ROBOTS".into()), ..Persona::default() };
        let now = self.clock.now();
        let spec = AgentSpec {
            session: SessionId::new(WallTime::from_unix_millis(1), [1; 10]),
            epoch: Epoch(1),
            email: "ada@example.org".into(),
            persona_name: "CUSTOMERS".into(),
            persona: Arc::new(persona),
            not_before: now,
            deadline: now + LONG,
        };
        let (events, news) = news();
        let agent = match beginning {
            Beginning::Start => start(self.launcher.clone(), spec, events),
            Beginning::Adopt => adopt(self.launcher.clone(), spec, events),
        };
        (agent, news)
    }
}

fn lost(news: Option<AgentEvent>) -> String {
    match news {
        Some(AgentEvent::Ended(AgentEnd::Lost(reason))) => reason.in_full(),
        news => panic!("not lost: {news:?}"),
    }
}

fn echo(message: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": message["id"].as_u64().unwrap_or(0), "result": message["params"]}).to_string()
}

/// Reads one request with its body; none if the client closed first.
async fn read_post(peer: &mut Peer) -> Option<Value> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    peer.stream.read_exact(&mut body).await.ok()?;
    Some(serde_json::from_slice(&body).unwrap())
}
