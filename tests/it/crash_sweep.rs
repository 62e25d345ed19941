//! The real server dies, or fails, at every named point in every operation that comes by it; then it is started again,
//! and everything that it had answered for is there, the customer goes on, and nothing is left over.
//!
//! A point that its operation does not reach fails the test. What this does not show: two points at once (`kill` does
//! it by chance), and a disk that loses what was synced. The points of launchers and shims are swept in `shim_sweep`.

use std::path::PathBuf;

use frontdesk::agent::leftovers::Marked;

use frontdesk::failpoint::Failpoint;
use frontdesk::session::Phase;
use frontdesk::store::sqlite::inspect::{self, SessionRow};
use frontdesk::verify::{Nature, verify};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{ADA, Answer, Server, Setup, signal, try_send, until};
use crate::kill::stored_data;
use crate::sequence::whole;

const BOB: (&str, &str) = ("bob@example.org", "battery staple");
/// Its agent leaves a process that does not end with its stdin.
const CONFIG: &str = r#"
[personas.CUSTOMERS]
command = ["sh", "-c", "sleep 600 & exec \"$ECHO\" agent echo"]
environment = { ECHO = "BINARY" }
stop_grace = "2s"
[personas.FAILING]
command = ["sh", "-c", "echo why it failed >&2; exit 3"]
protocol = "none"
[personas.HASTY]
command = ["sh", "-c", "sleep 600 & exec \"$ECHO\" agent echo"]
environment = { ECHO = "BINARY" }
pending_timeout = "50ms"
"#;

/// What happens while the server dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    AddCustomer,
    CreateSmall,
    CreateLarge,
    CreateAgain,
    Initialise,
    /// A request is relayed.
    Ask,
    /// The same under a key.
    AskKeyed,
    AgentDies,
    /// The agent fails, and with it the session.
    Fail,
    /// An operator has its agent replaced.
    Restart,
    StopPending,
    StopRunning,
    Expire,
    /// The server is killed, and the next one finds the agent as it was.
    Adopt,
    /// The server is killed and then its agent, and the next one finds what is left.
    RecoverDead,
    /// The server is told to go, as SIGTERM does.
    Drain,
    /// The server is told to go with its agents, as Ctrl-C does.
    DrainEndingAgents,
}

use Operation::*;

impl Operation {
    /// Whether it begins with a running agent.
    fn has_agent(self) -> bool {
        matches!(
            self,
            Ask | AskKeyed | AgentDies | Restart | StopRunning | Adopt | RecoverDead | Drain | DrainEndingAgents
        )
    }

    /// Whether the agent must outlive it.
    fn keeps_agent(self) -> bool {
        matches!(self, Adopt | Drain)
    }

    /// Whether it ends the server by itself.
    fn ends_server(self) -> bool {
        matches!(self, Drain | DrainEndingAgents)
    }
}

/// Which operations come by a point, and at which of their visits they are tried.
fn visits(point: Failpoint) -> &'static [(Operation, u32)] {
    match point {
        Failpoint::BeforeCommit | Failpoint::AfterCommit | Failpoint::BeforeAnswer => &[
            (AddCustomer, 1),
            (CreateSmall, 1),
            (CreateLarge, 1),
            (CreateAgain, 1),
            (Initialise, 1),
            (Initialise, 2),
            (AgentDies, 1),
            (AgentDies, 2),
            (Fail, 3),
            (Restart, 1),
            (Restart, 2),
            (Restart, 3),
            (StopPending, 1),
            (StopRunning, 1),
            (StopRunning, 2),
            (Expire, 1),
            (Adopt, 1),
            (RecoverDead, 1),
            (RecoverDead, 2),
            (Drain, 1),
            (DrainEndingAgents, 1),
        ],
        Failpoint::AfterStep => &[
            (Initialise, 1),
            (Initialise, 2),
            (AgentDies, 1),
            (AgentDies, 2),
            (Fail, 3),
            (Restart, 1),
            (Restart, 2),
            (Restart, 3),
            (StopPending, 1),
            (StopRunning, 1),
            (StopRunning, 2),
            (Expire, 1),
            (RecoverDead, 1),
            (RecoverDead, 2),
        ],
        Failpoint::BeforeDataFile | Failpoint::AfterDataFile => &[(CreateLarge, 1)],
        Failpoint::BeforePlace
        | Failpoint::AfterPlace
        | Failpoint::BeforeSpawn
        | Failpoint::AfterFence
        | Failpoint::AfterSpawn => &[(Initialise, 1), (AgentDies, 1), (Restart, 1), (RecoverDead, 1)],
        Failpoint::AfterAgentEnd => {
            &[(AgentDies, 1), (Fail, 1), (Restart, 1), (StopRunning, 1), (RecoverDead, 1), (DrainEndingAgents, 1)]
        }
        Failpoint::BeforeKeptLog | Failpoint::AfterKeptLog => &[(Fail, 1)],
        Failpoint::BeforeDataRemoval => &[(StopPending, 1), (StopRunning, 1), (Expire, 1)],
        Failpoint::AfterNote => &[(AskKeyed, 1)],
        Failpoint::DuringAdoption | Failpoint::DuringRecovery => &[(Adopt, 1), (RecoverDead, 1)],
        // Points of other processes, which no operation of the server comes by.
        Failpoint::LauncherBeforeFork
        | Failpoint::ShimBeforeLock
        | Failpoint::ShimBeforeAgent
        | Failpoint::ShimAfterAgent
        | Failpoint::ShimBeforeSpool
        | Failpoint::ShimAfterSpool
        | Failpoint::ShimBeforeEnd
        | Failpoint::ShimAfterEnd
        | Failpoint::BeforeRelease
        | Failpoint::AfterRelease
        | Failpoint::BeforeBallast
        | Failpoint::BackupCopied
        | Failpoint::BackupBeforePlace
        | Failpoint::RestoreBeforePlace => &[],
    }
}

/// Makes a test of each point and action, and knows which it has made.
macro_rules! sweep {
    ($($name:ident: $point:ident $action:ident;)*) => {
        $(#[test]
        fn $name() {
            sweep(Failpoint::$point, stringify!($action));
        })*

        const SWEPT: &[(Failpoint, &str)] = &[$((Failpoint::$point, stringify!($action))),*];
    };
}

sweep! {
    a_crash_with_a_change_not_yet_committed_loses_nothing_that_was_answered: BeforeCommit kill;
    a_crash_right_after_a_commit_loses_nothing: AfterCommit kill;
    a_crash_before_the_answer_loses_nothing: BeforeAnswer kill;
    a_crash_with_a_step_that_no_sequence_knows_is_settled: AfterStep kill;
    a_crash_with_a_data_file_not_yet_in_place_loses_nothing: BeforeDataFile kill;
    a_crash_with_a_data_file_and_no_row_loses_nothing: AfterDataFile kill;
    a_crash_with_a_start_about_to_write_its_directory_is_settled: BeforePlace kill;
    a_crash_with_a_directory_ready_for_a_start_that_may_not_be_stored_is_settled: AfterPlace kill;
    a_crash_before_an_agent_is_spawned_is_settled: BeforeSpawn kill;
    a_crash_with_an_epoch_that_no_shim_knows_is_settled: AfterFence kill;
    a_crash_with_an_agent_that_nobody_knows_of_is_settled: AfterSpawn kill;
    a_crash_with_an_agent_gone_and_not_yet_noted_is_settled: AfterAgentEnd kill;
    a_crash_with_a_log_not_yet_kept_is_settled: BeforeKeptLog kill;
    a_crash_with_a_log_kept_and_its_session_s_end_not_stored_is_settled: AfterKeptLog kill;
    a_crash_with_data_that_outlived_its_session_is_settled: BeforeDataRemoval kill;
    a_crash_with_a_keyed_request_noted_and_not_handed_over_is_settled: AfterNote kill;
    a_crash_in_the_middle_of_an_adoption_is_settled: DuringAdoption kill;
    a_crash_in_the_middle_of_a_recovery_is_settled: DuringRecovery kill;
    a_commit_that_fails_is_answered_as_such_and_the_server_goes_on: BeforeCommit error;
    a_commit_that_fails_after_it_took_place_leaves_nothing_in_doubt: AfterCommit error;
    a_log_that_can_t_be_kept_does_not_keep_its_session_from_its_end: BeforeKeptLog error;
    a_data_file_that_can_t_be_written_is_answered_as_such: BeforeDataFile error;
    a_data_file_that_can_t_be_made_durable_is_answered_as_such: AfterDataFile error;
}

#[test]
fn every_point_is_swept() {
    for point in Failpoint::ALL {
        assert!(SWEPT.contains(&(point, "kill")), "{} has no test", point.name());
        assert!(!visits(point).is_empty(), "{} has no operation", point.name());
    }
}

#[expect(clippy::print_stdout, reason = "a test that fails says at which visit")]
fn sweep(point: Failpoint, action: &str) {
    let template = template();
    for (operation, nth) in visits(point) {
        println!("{}={action}@{nth} during {operation:?}", point.name());
        Case::prepare(&template, &format!("{}={action}@{nth}", point.name()), *operation).run();
    }
}

/// A server that knows Ada and is not running.
pub(crate) fn template() -> Server {
    let mut template = Server::start(Setup::with_config(&CONFIG.replace("BINARY", env!("CARGO_BIN_EXE_frontdesk"))));
    template.add_customer(ADA);
    assert!(template.terminate().success());
    template
}

/// What was answered with success, and therefore must hold.
#[derive(Debug)]
pub(crate) enum Promise {
    /// Nothing, or it is in doubt.
    None,
    /// The session is live with this `DATA`, and it runs if it did.
    Session { id: String, token: String, data: Value, runs: bool },
    /// The session ends.
    End { id: String },
    /// The session fails, and its agent's log stays unless it could not be written.
    Failure { id: String, has_log: bool },
}

/// One operation with one point in its way.
pub(crate) struct Case {
    pub(crate) server: Server,
    pub(crate) operation: Operation,
    pub(crate) when: PathBuf,
    promise: Promise,
    kills: bool,
    /// Whether the point makes the keeping of a log fail.
    loses_log: bool,
    has_bob: bool,
    /// The processes of the agent that is there when the operation begins.
    before: Vec<Marked>,
}

impl Case {
    /// Brings a server to where the operation begins.
    pub(crate) fn prepare(template: &Server, failpoint: &str, operation: Operation) -> Self {
        let mut server = template.copy();
        let when = server.path("when");
        let setup = template.setup.clone().env("FRONTDESK_FAILPOINT", failpoint);
        // Who is to wait at a point waits for good.
        let never = server.path("never");
        server.setup = setup
            .env("FRONTDESK_FAILPOINT_WHEN", when.to_str().unwrap())
            .env("FRONTDESK_FAILPOINT_RESUME", never.to_str().unwrap());
        server.start_again();
        let kills = failpoint.contains("=kill");
        let (promise, before) = (Promise::None, Vec::new());
        let loses_log = failpoint == "before-kept-log=error@1";
        let mut case = Self { server, operation, when, promise, kills, loses_log, has_bob: false, before };
        if operation.has_agent() || matches!(operation, CreateAgain | Initialise | StopPending) {
            case.create(json!({"large": "x".repeat(100 << 10)}), "CUSTOMERS");
        }
        if operation == Fail {
            case.create(json!({}), "FAILING");
        }
        if operation.has_agent() {
            case.initialise();
            assert_eq!(case.ask(&json!("before")).json()["RESPONSE"]["handled"], 1);
            case.before = case.server.marked();
        }
        if matches!(operation, Adopt | RecoverDead) {
            case.server.kill();
        }
        if operation == RecoverDead {
            case.server.kill_agents();
            until("its shim is gone, too", || case.server.own_processes().is_empty());
        }
        std::fs::write(&case.when, "").unwrap();
        case
    }

    fn run(mut self) {
        self.act();
        if self.kills {
            self.await_death();
            self.assert_only_leftovers();
        } else {
            until("the point is reached", || !self.when.exists());
            if self.operation.ends_server() {
                self.server.wait();
            } else {
                self.assert_kept_promise();
                self.server.kill();
            }
        }
        self.assert_next_server_goes_on();
    }

    /// Starts the server without the point in its way.
    pub(crate) fn assert_next_server_goes_on(&mut self) {
        self.server.setup.environment.clear();
        self.server.start_again();
        self.assert_kept_promise();
        self.assert_customer_goes_on();
    }

    pub(crate) fn act(&mut self) {
        match self.operation {
            AddCustomer => {
                let (status, ..) = self.server.run(&["customer", "add", BOB.0, "--password-stdin"], BOB.1);
                self.has_bob = status.success();
            }
            CreateSmall => self.create(json!({"theme": "dark"}), "CUSTOMERS"),
            CreateLarge => self.create(json!({"large": "y".repeat(100 << 10)}), "CUSTOMERS"),
            CreateAgain => {
                let answer = self.try_create(json!({}), "CUSTOMERS");
                if let (Some(answer), Promise::Session { token, .. }) = (answer, &mut self.promise)
                    && answer.status == 400
                {
                    *token = answer.token();
                }
            }
            Initialise => self.initialise(),
            AgentDies => {
                let Promise::Session { token, .. } = &self.promise else { panic!("{:?}", self.promise) };
                let body = json!({"EMAIL": ADA.0, "REQUEST": {"exit": 3}, "TOKEN": token});
                let _ = self.send("PUT", "/handleSessionRequests", &[], &body.to_string());
            }
            Ask => {
                let Promise::Session { token, .. } = &self.promise else { panic!("{:?}", self.promise) };
                let body = json!({"EMAIL": ADA.0, "REQUEST": "now", "TOKEN": token});
                let _ = self.send("PUT", "/handleSessionRequests", &[], &body.to_string());
            }
            AskKeyed => drop(self.ask_keyed()),
            Fail => {
                self.initialise();
                let Promise::Session { id, .. } = std::mem::replace(&mut self.promise, Promise::None) else {
                    panic!("there is no session to fail")
                };
                self.promise = Promise::Failure { id, has_log: !self.loses_log };
            }
            Restart => {
                let _ = self.server.run(&["session", "restart", ADA.0], "");
            }
            StopPending | StopRunning => self.stop(),
            Expire => {
                self.create(json!({"large": "z".repeat(100 << 10)}), "HASTY");
                self.promise = match std::mem::replace(&mut self.promise, Promise::None) {
                    Promise::Session { id, .. } => Promise::End { id },
                    other @ (Promise::None | Promise::End { .. } | Promise::Failure { .. }) => other,
                };
            }
            Adopt | RecoverDead => {
                let _ = self.server.try_start();
            }
            Drain => signal(self.server.pid(), Signal::TERM),
            DrainEndingAgents => signal(self.server.pid(), Signal::INT),
        }
    }

    fn try_create(&self, data: Value, persona: &str) -> Option<Answer> {
        let body = json!({"EMAIL": ADA.0, "PASSWORD": ADA.1, "PERSONA_TYPE": persona, "DATA": data});
        self.send("POST", "/requestSessionCreation", &[("Content-Type", "application/json")], &body.to_string())
    }

    fn create(&mut self, data: Value, persona: &str) {
        let answer = self.try_create(data.clone(), persona).filter(|answer| answer.status == 200);
        self.promise = answer.map_or(Promise::None, |answer| Promise::Session {
            id: answer.session_id(),
            token: answer.token(),
            data,
            runs: false,
        });
    }

    fn initialise(&mut self) {
        let body = json!({"EMAIL": ADA.0}).to_string();
        let answer = self.send("POST", "/initializeSession", &[], &body);
        if let (Some(answer), Promise::Session { runs, .. }) = (answer, &mut self.promise) {
            *runs = answer.status == 200;
        }
    }

    fn stop(&mut self) {
        let Promise::Session { id, token, .. } = std::mem::replace(&mut self.promise, Promise::None) else {
            panic!("there is no session to stop")
        };
        let authorization = [("Authorization", format!("Bearer {token}"))];
        let headers = authorization.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = self.send("DELETE", &format!("/v1/sessions/{id}"), &headers, "");
        if answer.is_some_and(|answer| answer.status < 300) {
            self.promise = Promise::End { id };
        }
    }

    /// Sends a request; `None` if the server died over it.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
        try_send(self.server.address, method, path, headers, body.as_bytes()).ok()
    }

    /// Asks the agent of the session that must be there.
    fn ask(&self, request: &Value) -> Answer {
        let Promise::Session { token, .. } = &self.promise else { panic!("{:?}", self.promise) };
        self.server.relay(ADA.0, token, request)
    }

    /// Asks the agent under a key; `None` if the server died over it.
    fn ask_keyed(&self) -> Option<Answer> {
        let Promise::Session { token, .. } = &self.promise else { panic!("{:?}", self.promise) };
        let body = json!({"EMAIL": ADA.0, "REQUEST": "once", "TOKEN": token}).to_string();
        self.send("PUT", "/handleSessionRequests", &[("Idempotency-Key", "a")], &body)
    }

    fn await_death(&mut self) {
        self.server.await_end();
        assert!(!self.when.exists(), "the server ended, and not at the point");
    }

    /// Right after a crash nothing is wrong but what the next start settles.
    pub(crate) fn assert_only_leftovers(&self) {
        let report = verify(&self.server.data_dir()).unwrap();
        let damage: Vec<_> = report.findings.iter().filter(|finding| finding.nature != Nature::Leftover).collect();
        assert!(damage.is_empty(), "{damage:?}");
    }

    pub(crate) fn assert_kept_promise(&self) {
        if self.has_bob {
            assert_eq!(self.server.create(BOB, json!({})).status, 200);
            self.end_whatever_there_is(BOB);
        }
        match &self.promise {
            Promise::None => {}
            Promise::End { id } => {
                until("the session has ended", || ended(&self.server, id).is_some());
                assert!(live(&self.server, id).is_none());
            }
            Promise::Failure { id, has_log } => {
                until("the session has ended", || ended(&self.server, id).is_some());
                let log = std::fs::read_to_string(self.server.data_dir().join(format!("logs/{id}.log")));
                assert_eq!(log.ok().as_deref(), has_log.then_some("--- agent 1 ---\nwhy it failed\n"));
            }
            Promise::Session { id, token, data, runs } => {
                assert!(live(&self.server, id).is_some(), "the session is lost");
                assert_eq!(&stored_data(&self.server, id), data);
                let answer = || self.server.relay(ADA.0, token, &json!("still there?"));
                if self.operation == AskKeyed {
                    // It is withdrawn first, since the agent was never given it.
                    until("the keyed request is answered", || {
                        self.ask_keyed().is_some_and(|answer| answer.status == 200)
                    });
                }
                if self.operation.keeps_agent() {
                    assert_eq!(self.server.marked(), self.before, "another agent");
                    assert!(answer().json()["RESPONSE"]["handled"].as_u64().unwrap() >= 2);
                } else if *runs {
                    until("the agent answers", || answer().status == 200);
                } else {
                    assert_ne!(answer().status, 401, "the token is lost");
                }
            }
        }
    }

    /// Whatever became of the operation: the customer gets a session, its agent answers, and it ends.
    pub(crate) fn assert_customer_goes_on(&self) {
        until("a session runs", || {
            // A session that is ending or about to expire is in the way until it has.
            let created = self.server.create(ADA, json!({}));
            assert!(matches!(created.status, 200 | 400), "{created:?}");
            let initialised = self.server.initialise(ADA.0).status;
            assert!(matches!(initialised, 200 | 404), "{initialised}");
            self.server.relay(ADA.0, &created.token(), &json!(1)).status == 200
        });
        assert_eq!(findings(&self.server), [""; 0]);
        self.end_whatever_there_is(ADA);
        until("no agent is left", || self.server.agents().is_empty());
        // The server itself, and its launcher.
        until("no shim is left", || self.server.own_processes_at_work().len() <= 2);
        assert_eq!(findings(&self.server), [""; 0]);
        for row in inspect::read(&self.server.data_dir().join("frontdesk.db")).unwrap().history {
            let steps = whole(&self.server, &row.id.to_string());
            assert_eq!((steps.len() as i64, steps.last().unwrap().as_str()), (row.revision, "ENDED"));
        }
    }

    fn end_whatever_there_is(&self, customer: (&str, &str)) {
        let answer = self.server.create(customer, json!({}));
        assert!(self.server.stop(&answer.session_id(), &answer.token()).status < 300);
        until("the customer has no session", || self.server.status(customer.0) == "IDLE");
    }
}

/// The phase of the customer's live session, if there is one.
pub(crate) fn phase(server: &Server) -> Option<Phase> {
    let tables = inspect::read(&server.data_dir().join("frontdesk.db")).unwrap();
    tables.live.into_iter().next().map(|row| row.phase.unwrap())
}

fn findings(server: &Server) -> Vec<String> {
    verify(&server.data_dir()).unwrap().findings.into_iter().map(|finding| finding.sentence).collect()
}

fn live(server: &Server, id: &str) -> Option<SessionRow> {
    let tables = inspect::read(&server.data_dir().join("frontdesk.db")).unwrap();
    tables.live.into_iter().find(|row| row.id.to_string() == id)
}

fn ended(server: &Server, id: &str) -> Option<SessionRow> {
    let tables = inspect::read(&server.data_dir().join("frontdesk.db")).unwrap();
    tables.history.into_iter().find(|row| row.id.to_string() == id)
}
