//! Agents that are services: sessions live there, a lost service is a lost agent, and what goes wrong is told in words.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::desk::{Desk, Opened};
use crate::harness::{ADA, Server, Setup, repository, try_send, until};

const EXAMPLE: &str = "examples/supervisor.py";
const FAULTY: &str = "tests/it/agents/faulty_service.py";

#[test]
fn the_example_serves_sessions_with_data_of_any_size_progress_and_errors() {
    let service = Service::start(EXAMPLE);
    let desk = desk(&service, "");
    for letters in [5, 2 << 20] {
        let data = json!({"note": "x".repeat(letters)});
        let ada = desk.request_as("CUSTOMERS", ADA, data.clone());
        assert_eq!(desk.server.initialise(ADA.0).status, 200);
        assert_eq!(response(&desk, &ada, &json!({"data": true})), data);
        let failed = desk.ask(&ada, &json!({"fail": "no such room"}));
        assert_eq!(failed.pair(), (502, "AGENT_ERROR".into()));
        assert_eq!(failed.json()["DETAIL"], "no such room");
        let counting = desk.ask_aside(&ada, &json!({"count_to": 2}));
        until("it shows its progress", || desk.row(&ada).reason.is_some_and(|text| text.ends_with(" of 2")));
        let said = response(&desk, &ada, &json!({"say": "meanwhile"}));
        assert_eq!(said, json!({"say": "meanwhile", "handled": 1, "email": ADA.0}));
        assert_eq!(counting.join().unwrap().json()["RESPONSE"], json!({"counted_to": 2}));
        assert_eq!(desk.row(&ada).pid, None);
        desk.stop(&ada);
    }
}

#[test]
fn a_service_that_says_finished_before_its_answer_has_both_believed() {
    let service = Service::start(EXAMPLE);
    let desk = desk(&service, "");
    let ada = desk.open(ADA);
    assert_eq!(response(&desk, &ada, &json!({"finish": "all done"}))["handled"], 1);
    assert_eq!(desk.ending(&ada), ("completed".into(), "all done".into()));
}

#[test]
fn each_message_is_a_post_that_says_for_which_session_and_epoch_it_is() {
    let service = Service::start(FAULTY);
    let desk = desk(&service, "");
    let ada = desk.open(ADA);
    assert_eq!(response(&desk, &ada, &json!([1, 2])), json!([1, 2]));
    desk.stop(&ada);

    let seen = service.seen();
    let methods: Vec<_> = seen.iter().map(|message| message["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["initialize", "request", "shutdown"]);
    for message in &seen {
        let head = ["session", "epoch", "path", "type"].map(|name| message[name].as_str().unwrap());
        assert_eq!(head, [&*ada.id, "1", "/", "application/json"]);
    }
    let meta = json!({"EMAIL": ADA.0, "PERSONA_TYPE": "CUSTOMERS", "SESSION_ID": ada.id, "EPOCH": 1});
    assert_eq!(seen[0]["params"], json!({"META_DATA": meta, "SESSION_DATA": {}}));
    assert!(seen[1]["id"].as_u64() > seen[0]["id"].as_u64(), "{seen:?}");
}

#[test]
fn a_request_that_takes_too_long_is_cancelled_at_the_service() {
    let service = Service::start(FAULTY);
    let desk = desk(&service, "request_timeout = \"2s\"");
    let ada = desk.open(ADA);

    assert_eq!(desk.ask(&ada, &json!({"do": "hang"})).pair(), (504, "AGENT_TIMEOUT".into()));

    until("the cancel has come", || service.seen().iter().any(|message| message["method"] == "cancel"));
    let seen = service.seen();
    let id = |method: &str| seen.iter().find(|message| message["method"] == method).unwrap();
    assert_eq!(id("cancel")["params"]["ID"], id("request")["id"]);
    assert_eq!(response(&desk, &ada, &json!("next")), "next");
}

#[test]
fn a_request_that_goes_wrong_fails_alone_and_is_sent_once() {
    let service = Service::start(FAULTY);
    let desk = desk_with(&service, "", "[limits]\nmessage = \"64 KiB\"");
    let ada = desk.open(ADA);
    let faults = ["500", "garbage", "wrong-id", "cut", "redirect", "nothing", "huge"];
    for fault in faults {
        let answer = desk.ask(&ada, &json!({"do": fault}));
        assert_eq!(answer.pair(), (502, "AGENT_ERROR".into()), "{fault}");
        assert!(answer.json()["DETAIL"].as_str().unwrap().contains("gave no answer"), "{answer:?}");
    }
    assert_eq!(response(&desk, &ada, &json!("still there?")), "still there?");
    assert_eq!(desk.row(&ada).epoch, 1);
    let seen = service.seen();
    for fault in faults {
        let times = seen.iter().filter(|message| message["params"]["REQUEST"]["do"] == fault).count();
        assert_eq!(times, 1, "{fault}");
    }
}

#[test]
fn an_error_of_the_service_is_its_answer() {
    let service = Service::start(FAULTY);
    let desk = desk(&service, "");
    let ada = desk.open(ADA);
    assert_eq!(desk.ask(&ada, &json!({"do": "error"})).json()["DETAIL"], "no fuel");
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[test]
fn a_service_that_is_gone_is_a_lost_agent_and_serves_the_next_epoch_when_it_is_back() {
    let mut service = Service::start(EXAMPLE);
    let desk = desk(&service, "");
    let ada = desk.open(ADA);

    service.end();
    let failed = desk.ask(&ada, &json!({"say": "anyone?"}));

    assert_eq!(failed.pair(), (502, "AGENT_ERROR".into()));
    let address = service.address;
    let reason = format!("the service ROBOTS at {address} does not answer: connection refused");
    assert_eq!(desk.why_lost(), format!("the agent's service does not answer; {reason}"));
    let _back = Service::start_at(EXAMPLE, address.port());
    assert_eq!(desk.epoch_when_answering(&ada), 2);
}

#[test]
fn a_service_that_answers_its_pings_with_500_is_a_lost_agent() {
    let service = Service::start(FAULTY);
    let desk = desk(&service, "");
    let ada = desk.open(ADA);

    assert_eq!(desk.ask(&ada, &json!({"do": "sick"})).status, 502);

    let address = service.address;
    let reason = format!(
        "the agent's service did not answer as it should; the service ROBOTS at {address} answered with 500 Internal \
         Server Error instead of 200"
    );
    assert_eq!(desk.why_lost(), reason);
    assert_eq!(desk.epoch_when_answering(&ada), 2);
}

#[test]
fn a_service_that_does_not_know_the_session_is_a_lost_agent_at_once() {
    let service = Service::start(FAULTY);
    let desk = desk(&service, "");
    let ada = desk.open(ADA);

    desk.fails_with_its_agent(&ada, "unknown");

    let reason = format!(
        "the agent's service does not know the session; the service ROBOTS at {} does not know the session: who is that?",
        service.address
    );
    assert_eq!(desk.why_lost(), reason);
    assert_eq!(desk.epoch_when_answering(&ada), 2);
}

#[test]
fn an_edited_mapping_takes_the_session_to_the_new_address_under_the_next_epoch() {
    let (service, other) = (Service::start(EXAMPLE), Service::start(EXAMPLE));
    let desk = desk(&service, "");
    let ada = desk.open(ADA);
    response(&desk, &ada, &json!("one"));

    std::fs::write(desk.server.path("ServiceURLMapping.json"), mapping(&other)).unwrap();
    desk.server.await_log("service mapping in force");

    let answer = desk.ask(&ada, &json!("two"));
    assert_eq!(answer.pair(), (502, "AGENT_ERROR".into()));
    assert!(desk.why_lost().contains(&format!("; the service ROBOTS at {} does not know", other.address)));
    assert_eq!(desk.epoch_when_answering(&ada), 2);
}

#[test]
fn a_start_is_tried_until_the_service_is_up() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let desk = desk_at(&format!(r#"{{"ROBOTS": "127.0.0.1:{port}"}}"#), "", "");
    let ada = desk.request(ADA);
    let initialising = desk.initialise_aside(ADA.0);
    until("the start has begun", || desk.row(&ada).phase == "STARTING");

    let _service = Service::start_at(EXAMPLE, port);

    assert_eq!(initialising.join().unwrap().pair(), (200, "SESSION_INITIALIZED".into()));
    assert_eq!(desk.row(&ada).epoch, 1);
}

#[test]
fn a_start_that_fails_says_why() {
    let service = Service::start(FAULTY);
    let desk = desk(&service, "start_timeout = \"2s\"\nstart_attempts = 100");
    let ada = desk.request(ADA);
    let why = |fault: &str| {
        service.get(&format!("/behave/{fault}"));
        assert_eq!(desk.server.initialise(ADA.0).pair(), (500, "SESSION_CREATION_FAILED".into()), "{fault}");
        let row = desk.row(&ada);
        assert_eq!(row.phase, "PENDING");
        row.reason.unwrap()
    };
    for (fault, expected) in [
        ("hang", "does not answer: no answer to initialize in 2s"),
        ("close", "does not answer: "),
        ("cut", "broke off its answer"),
        ("500", "answered with 500 Internal Server Error instead of 200"),
        ("redirect", "answered with 302 Found, a redirect, which is not followed"),
        ("garbage", "its answer is not a JSON-RPC message (not a JSON object): <html>hello</html>"),
        ("wrong-id", "answered the call 4711, which it was not asked here"),
        ("nothing", "ended its answer without an answer to the call"),
        ("error", "answered initialize with an error: no fuel"),
        ("unknown", "does not know the session: who is that?"),
    ] {
        let why = why(fault);
        assert!(why.contains(&format!("; the service ROBOTS at {} ", service.address)), "{fault}: {why}");
        assert!(why.contains(expected), "{fault}: {why}");
    }
}

#[test]
fn a_service_that_is_not_in_the_mapping_fails_the_start_and_config_check_warns_of_it() {
    let desk = desk_at(r#"{"OTHERS": "127.0.0.1:1"}"#, "", "");
    let ada = desk.request(ADA);
    assert_eq!(desk.server.initialise(ADA.0).status, 500);
    assert_eq!(
        desk.row(&ada).reason.unwrap(),
        "the agent's service is not configured; the service ROBOTS is not in the service mapping; add it there"
    );

    let (status, _, warnings) = desk.server.run(&["config", "check"], "");

    assert!(status.success());
    assert!(warnings.contains("`personas.CUSTOMERS.service` is \"ROBOTS\", which ./ServiceURLMapping.json does not"));
}

#[test]
fn data_that_no_service_is_given_fails_the_start_and_says_so() {
    let service = Service::start(EXAMPLE);
    let desk = desk(&service, "");
    let ada = desk.request_as("CUSTOMERS", ADA, json!({"note": "x".repeat(17 << 20)}));
    assert_eq!(desk.server.initialise(ADA.0).status, 500);
    let why = desk.row(&ada).reason.unwrap();
    assert!(why.ends_with("a service is given 16777216 at most; pass what is larger by reference"), "{why}");
}

#[test]
fn a_stop_is_over_when_the_service_has_confirmed_it_and_when_it_never_does() {
    let mut service = Service::start(FAULTY);
    let desk = desk(&service, "stop_grace = \"500ms\"");
    let ada = desk.open(ADA);
    desk.stop(&ada);
    assert_eq!(service.seen().last().unwrap()["method"], "shutdown");

    let ada = desk.open(ADA);
    service.end();
    desk.stop(&ada);

    assert_eq!(desk.ending(&ada).0, "stopped");
    desk.server
        .await_log("an agent that is a service can't be killed from here, and its service has not confirmed the end");
}

#[test]
fn after_a_crash_of_the_server_the_service_goes_on_under_the_same_epoch() {
    let service = Service::start(EXAMPLE);
    let mut desk = desk(&service, "");
    let ada = desk.open(ADA);
    assert_eq!(response(&desk, &ada, &json!({"say": "one"}))["handled"], 1);

    desk.server.kill();
    desk.server.start_again();

    assert_eq!(response(&desk, &ada, &json!({"say": "two"}))["handled"], 2);
    assert_eq!(desk.row(&ada).epoch, 1);
}

/// A running service in a process of its own, ended with the test.
struct Service {
    address: SocketAddr,
    child: Child,
}

impl Service {
    fn start(script: &str) -> Self {
        Self::start_at(script, 0)
    }

    fn start_at(script: &str, port: u16) -> Self {
        let mut child = Command::new("python3")
            .arg(repository().join(script))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("serving at ").unwrap().parse().unwrap();
        Self { address, child }
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn get(&self, path: &str) -> Value {
        try_send(self.address, "GET", path, &[], b"").unwrap().json()
    }

    /// Every message that the misbehaving service has got.
    fn seen(&self) -> Vec<Value> {
        let Value::Array(seen) = self.get("/seen") else { panic!("no list") };
        seen
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mapping(service: &Service) -> String {
    json!({"ROBOTS": service.address.to_string()}).to_string()
}

fn desk(service: &Service, keys: &str) -> Desk {
    desk_with(service, keys, "")
}

fn desk_with(service: &Service, keys: &str, config: &str) -> Desk {
    desk_at(&mapping(service), keys, config)
}

fn desk_at(mapping: &str, keys: &str, config: &str) -> Desk {
    let config = format!("{config}\n[personas.CUSTOMERS]\nagent = \"http\"\nservice = \"ROBOTS\"\n{keys}\n");
    let server = Server::start(Setup { mapping: Some(mapping.to_owned()), ..Setup::with_config(&config) });
    server.add_customer(ADA);
    Desk { server }
}

fn response(desk: &Desk, session: &Opened, request: &Value) -> Value {
    let answer = desk.ask(session, request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["RESPONSE"].clone()
}
