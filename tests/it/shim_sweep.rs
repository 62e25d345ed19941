//! The launcher or a shim dies at every named point in every operation that comes by it: while the server runs, which
//! goes on, and while no server runs, which the next one settles.

use frontdesk::failpoint::Failpoint;
use frontdesk::session::Phase;
use rustix::process::Signal;

use crate::crash_sweep::Operation::{self, *};
use crate::crash_sweep::{Case, phase, template};
use crate::harness::{own_processes, signal, until};

/// Which operations come by a point.
fn visits(point: Failpoint) -> &'static [Operation] {
    match point {
        Failpoint::LauncherBeforeFork
        | Failpoint::ShimBeforeLock
        | Failpoint::ShimBeforeAgent
        | Failpoint::ShimAfterAgent => &[Initialise, AgentDies, RecoverDead],
        Failpoint::ShimBeforeSpool | Failpoint::ShimAfterSpool => &[Initialise, Ask],
        Failpoint::ShimBeforeEnd | Failpoint::ShimAfterEnd => &[AgentDies, StopRunning, DrainEndingAgents],
        // Points of the server, which have a sweep of their own.
        Failpoint::BeforeCommit
        | Failpoint::AfterCommit
        | Failpoint::BeforeAnswer
        | Failpoint::AfterStep
        | Failpoint::BeforeDataFile
        | Failpoint::AfterDataFile
        | Failpoint::BeforePlace
        | Failpoint::AfterPlace
        | Failpoint::BeforeSpawn
        | Failpoint::AfterFence
        | Failpoint::AfterSpawn
        | Failpoint::AfterAgentEnd
        | Failpoint::BeforeKeptLog
        | Failpoint::AfterKeptLog
        | Failpoint::BeforeDataRemoval
        | Failpoint::AfterNote
        | Failpoint::DuringAdoption
        | Failpoint::DuringRecovery
        | Failpoint::BeforeRelease
        | Failpoint::AfterRelease
        | Failpoint::BeforeBallast
        | Failpoint::BackupCopied
        | Failpoint::BackupBeforePlace
        | Failpoint::RestoreBeforePlace => &[],
    }
}

/// Makes the two tests of each point, and knows which it has made.
macro_rules! sweep {
    ($($point:ident: $alone:ident, $with_its_server:ident;)*) => {
        $(
            #[test]
            fn $alone() {
                each(Failpoint::$point, "kill", die_alone);
            }

            #[test]
            fn $with_its_server() {
                each(Failpoint::$point, "pause", die_with_its_server);
            }
        )*

        const SWEPT: &[Failpoint] = &[$(Failpoint::$point),*];
    };
}

sweep! {
    LauncherBeforeFork: a_launcher_that_dies_over_an_order_is_made_good, a_launcher_that_dies_with_its_server_is_settled;
    ShimBeforeLock: a_shim_that_dies_before_it_has_its_lock_is_made_good, one_without_lock_that_dies_with_its_server_is_settled;
    ShimBeforeAgent: a_shim_that_dies_before_it_has_an_agent_is_made_good, one_without_agent_that_dies_with_its_server_is_settled;
    ShimAfterAgent: a_shim_that_dies_with_a_new_agent_is_made_good, one_with_a_new_agent_that_dies_with_its_server_is_settled;
    ShimBeforeSpool: a_shim_that_dies_over_output_is_made_good, one_that_dies_over_output_with_its_server_is_settled;
    ShimAfterSpool: a_shim_that_dies_over_spooled_output_is_made_good, one_that_dies_over_spooled_output_with_its_server_is_settled;
    ShimBeforeEnd: a_shim_that_dies_over_its_agent_s_end_is_made_good, one_that_dies_over_an_end_with_its_server_is_settled;
    ShimAfterEnd: a_shim_that_dies_over_a_noted_end_is_made_good, one_that_dies_over_a_noted_end_with_its_server_is_settled;
}

#[test]
fn every_point_of_shims_is_swept() {
    for point in Failpoint::OF_SHIMS {
        assert!(SWEPT.contains(&point), "{} has no test", point.name());
        assert!(!visits(point).is_empty(), "{} has no operation", point.name());
    }
}

#[expect(clippy::print_stdout, reason = "a test that fails says at which visit")]
fn each(point: Failpoint, action: &str, run: fn(Case)) {
    let template = template();
    for operation in visits(point) {
        println!("{}={action} during {operation:?}", point.name());
        run(Case::prepare(&template, &format!("{}={action}", point.name()), *operation));
    }
}

/// The process dies by itself, and the server has to live with that.
fn die_alone(mut case: Case) {
    case.act();
    until("the point is reached", || !case.when.exists());
    match case.operation {
        DrainEndingAgents => {
            assert!(case.server.wait().success());
            assert!(case.server.agents().is_empty());
            return case.assert_next_server_goes_on();
        }
        Initialise => {
            let phase = phase(&case.server).unwrap();
            let Phase::Pending { last_failure, .. } = &phase else { panic!("{phase:?}") };
            assert!(last_failure.as_ref().unwrap().sentence().contains("shim"), "{phase:?}");
        }
        AddCustomer | CreateSmall | CreateLarge | CreateAgain | Ask | AskKeyed | AgentDies | Fail | Restart
        | StopPending | StopRunning | Expire | Adopt | RecoverDead | Drain => {}
    }
    case.assert_kept_promise();
    if matches!(case.operation, Ask | AgentDies | RecoverDead) {
        assert!(phase(&case.server).unwrap().epoch().0 >= 2);
    }
    case.assert_customer_goes_on();
}

/// The server is killed while the process stands at the point, and then the process.
fn die_with_its_server(mut case: Case) {
    let (when, directory) = (case.when.clone(), case.server.directory().to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the point is reached", || !when.exists());
            // The server is the oldest of them.
            for pid in own_processes(&directory) {
                signal(pid, Signal::KILL);
            }
        });
        case.act();
    });
    case.server.await_end();
    until("nothing of it is left", || case.server.own_processes().is_empty());
    case.assert_only_leftovers();
    case.assert_next_server_goes_on();
}
