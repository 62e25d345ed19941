//! The typed client against the real server: what is lost on the way is made good, once.

use std::time::Duration;

use frontdesk::client::{
    AuditFilter, Client, ClientError, Code, Creation, EventView, Happened, IdempotencyKey, LogQuery, NewSession, Part,
    Retries, SessionFilter, StopFilter,
};
use frontdesk::id::SessionId;
use frontdesk::principal::Scope;
use frontdesk::session::PhaseName;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::desk::{BOB, persona};
use crate::harness::{ADA, Server, Setup, repository, until};
use crate::operators::Operated;
use crate::relay::Relay;

const PATIENT: Retries =
    Retries { attempts: 1_000, within: Duration::from_mins(2), first_pause: Duration::from_millis(10) };
const A_MINUTE: Duration = Duration::from_mins(1);

/// A server that knows Ada, and a relay to it.
struct Reached {
    server: Server,
    relay: Relay,
    runtime: Runtime,
}

impl Reached {
    fn with(config: &str) -> Self {
        let server = Server::start(Setup::with_config(config));
        server.add_customer(ADA);
        let relay = Relay::to(server.address);
        Self { server, relay, runtime: Runtime::new().unwrap() }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.relay.address)).unwrap().with_retries(PATIENT)
    }

    /// Ada's pending session, and a client with its token.
    fn opened(&self) -> (SessionId, Client) {
        let created = self.runtime.block_on(self.client().create_session(&adas(ADA.1), None)).unwrap();
        let Creation::Created(created) = created else { panic!("she has one already") };
        (created.id, self.client().with_token(created.token))
    }

    fn running(&self) -> (SessionId, Client) {
        let (id, client) = self.opened();
        let session = self.runtime.block_on(client.initialize(id, A_MINUTE)).unwrap();
        assert_eq!(session.phase, PhaseName::Running);
        (id, client)
    }
}

fn adas(password: &str) -> NewSession<'_> {
    NewSession { email: ADA.0.into(), password: password.into(), persona: "CUSTOMERS".into(), data: None }
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn json_of(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap()
}

#[test]
fn a_creation_whose_answers_are_lost_leaves_one_session() {
    let desk = Reached::with("");
    desk.relay.lose(2);
    let (id, client) = desk.opened();
    assert_eq!(desk.relay.still_to_lose(), 0);
    let session = desk.runtime.block_on(client.session(id)).unwrap();
    assert_eq!((session.phase, session.email.as_str()), (PhaseName::Pending, ADA.0));
    let (_, listed, _) = desk.server.run(&["session", "list", "--all", "--json"], "");
    assert_eq!(listed.lines().count(), 1, "{listed}");

    let again = desk.runtime.block_on(desk.client().create_session(&adas(ADA.1), None)).unwrap();
    let Creation::AlreadyRunning { session, token } = again else { panic!("a second session") };
    assert_eq!(session, id);
    assert!(desk.runtime.block_on(desk.client().with_token(token).session(id)).is_ok());
}

#[test]
fn a_request_whose_answers_are_lost_reaches_the_agent_once_and_a_stop_is_stopped() {
    let desk = Reached::with("");
    let (id, client) = desk.running();
    desk.relay.lose(2);
    let answer = desk.runtime.block_on(client.ask(id, &raw(&json!("hello")), None)).unwrap();
    assert_eq!((desk.relay.still_to_lose(), &json_of(&answer)["handled"]), (0, &json!(1)));
    desk.relay.lose(1);
    desk.runtime.block_on(client.stop(id, true)).unwrap();
    let ended = desk.runtime.block_on(client.wait_for(id, PhaseName::Ended, A_MINUTE)).unwrap();
    assert_eq!(
        (ended.phase, ended.outcome.map(|outcome| outcome.to_string())),
        (PhaseName::Ended, Some("stopped".into()))
    );
}

#[test]
fn events_over_cut_connections_and_killed_servers_have_every_number_once() {
    let script = repository().join("tests/it/agents/counting.py");
    let keys = "stop_grace = \"1s\"";
    let mut desk = Reached::with(&persona("CUSTOMERS", &json!(["python3", "-u", script]).to_string(), keys));
    let (id, client) = desk.running();
    let (told, read) = std::sync::mpsc::channel();
    let mut events = client.events(id, 0);
    desk.runtime.spawn(async move {
        while let Some(happened) = events.next().await.unwrap() {
            let Happened::Event(event) = happened else { panic!("{happened:?}") };
            told.send(event).unwrap();
        }
    });
    let mut seen: Vec<EventView> = Vec::new();
    for round in 1..=3 {
        seen.extend(read.iter().take(30));
        desk.relay.cut();
        seen.extend(read.iter().take(30));
        desk.server.kill();
        desk.server.start_again();
        desk.relay.lead_to(desk.server.address);
        assert!(seen.len() >= round * 60);
    }
    desk.runtime.block_on(client.stop(id, false)).unwrap();
    // It ends when the session has ended and everything was told.
    seen.extend(read.iter());

    assert!(seen.iter().map(|event| event.number).eq(1..=seen.len() as u64));
    assert_eq!(json_of(&seen.last().unwrap().body)["phase"], "ENDED");
    let said = seen.iter().filter(|event| event.kind == "event").map(|event| json_of(&event.body)["N"].clone());
    let said: Vec<_> = said.collect();
    assert!(said.iter().eq((1..=said.len()).map(|number| json!(number)).collect::<Vec<_>>().iter()), "{said:?}");
}

#[test]
fn an_answer_in_parts_goes_on_behind_those_that_were_given() {
    let desk = Reached::with("");
    let (id, client) = desk.running();
    let request = raw(&json!({"output": ["a", {"b": 2}, "c"]}));
    let mut answer = client.ask_in_parts(id, &request, None);
    let mut parts = Vec::new();
    let handled = loop {
        match desk.runtime.block_on(answer.next()).unwrap().unwrap() {
            Part::Output(part) => parts.push(json_of(&part)),
            Part::Answer(answer) => break json_of(&answer)["handled"].clone(),
        }
        desk.relay.cut();
    };
    assert_eq!((parts, handled), (vec![json!("a"), json!({"b": 2}), json!("c")], json!(1)));
    assert!(desk.runtime.block_on(answer.next()).unwrap().is_none());
}

#[test]
fn refusals_have_their_codes_and_tell_no_secret() {
    let desk = Reached::with("");
    let (id, client) = desk.opened();
    let request = raw(&json!({"fail": "no such room"}));
    let key = IdempotencyKey::random();
    let told = |error: ClientError| {
        let text = format!("{error} {error:?}");
        assert!(!text.contains("a wrong password") && !text.contains("fds_"), "{text}");
        error.code().unwrap()
    };
    desk.runtime.block_on(async {
        let wrong = desk.client().create_session(&adas("a wrong password"), None).await;
        assert_eq!(told(wrong.err().unwrap()), Code::InvalidEmailOrPassword);
        assert_eq!(told(desk.client().session(id).await.unwrap_err()), Code::TokenRequired);
        let stranger = desk.client().with_token("fds_forged");
        assert_eq!(told(stranger.session(id).await.unwrap_err()), Code::TokenRequired);
        let other = "01234567-89ab-7def-8123-456789abcdef".parse().unwrap();
        assert_eq!(told(client.session(other).await.unwrap_err()), Code::SessionNotFound);
        assert_eq!(told(client.ask(id, &request, None).await.unwrap_err()), Code::WrongPhase);
        assert_eq!(told(client.nodes().await.unwrap_err()), Code::ScopeRequired);

        client.put_data(id, r#"{"theme": "dark"}"#.into()).await.unwrap();
        client.initialize(id, A_MINUTE).await.unwrap();
        assert_eq!(told(client.put_data(id, "{}".into()).await.unwrap_err()), Code::WrongPhase);
        let failed = client.ask(id, &request, Some(key.clone())).await.unwrap_err();
        assert_eq!(failed.to_string(), "no such room (agent_error)");
        let reused = client.ask(id, &raw(&json!(1)), Some(key)).await.unwrap_err();
        assert_eq!(told(reused), Code::IdempotencyKeyReused);
        let in_parts = client.ask_in_parts(id, &request, None).next().await.unwrap_err();
        assert_eq!(told(in_parts), Code::AgentError);
    });
}

#[test]
fn operators_see_and_stop_what_they_may() {
    let desk = Operated::new(Setup::default());
    let client = Client::new(&format!("http://{}", desk.server.address)).unwrap();
    let client = client.with_token(desk.token(Scope::Admin).to_owned()).with_retries(PATIENT);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        for (email, password) in [ADA, BOB] {
            let added = client.add_customer(email, password.to_owned().into()).await.unwrap();
            assert_eq!(added.email, email);
        }
        assert_eq!(client.customer("ADA@example.org").await.unwrap().email, ADA.0);
        let mut ids = Vec::new();
        for (email, password) in [ADA, BOB] {
            let new = NewSession { email: email.into(), ..adas(password) };
            let Creation::Created(created) = client.create_session(&new, None).await.unwrap() else { panic!("two") };
            ids.push(created.id);
        }
        let first: SessionFilter = SessionFilter { ended: true, ..SessionFilter::default() };
        let mut pages = client.sessions(&first);
        let page = pages.next().await.unwrap().unwrap();
        assert_eq!(page.iter().map(|session| session.session.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
        assert!(pages.next().await.unwrap().is_none());
        assert_eq!(client.personas().await.unwrap()[0].name, "CUSTOMERS");
        assert_eq!(client.nodes().await.unwrap()[0].sessions_live, 2);
        assert_eq!(client.tokens().await.unwrap().len(), Scope::ALL.len());
        client.initialize(ids[0], A_MINUTE).await.unwrap();
        let mut log = client.logs(ids[0], &LogQuery { follow: false, tail: 10 }).await.unwrap();
        while log.next().await.unwrap().is_some() {}
        let stopped = client.stop_sessions(&StopFilter { all: true, force: true, ..StopFilter::default() }).await;
        assert_eq!(stopped.unwrap().matched, 2);
        let audit = client.audit(&AuditFilter { session: Some(ids[1]), ..AuditFilter::default() }).next().await;
        assert!(!audit.unwrap().unwrap().is_empty());
        client.remove_customer(BOB.0).await.unwrap();
        assert_eq!(client.customer(BOB.0).await.unwrap_err().code(), Some(Code::CustomerNotFound));
    });
    until("their agents are gone", || desk.server.agents().is_empty());
}
