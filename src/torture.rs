//! `frontdesk torture`: a server of its own, clients that work, and a hand that kills at random. At the end it is
//! checked that nothing was stuck, doubled, lost or orphaned.
//!
//! ```text
//!   crowd ──create, initialise, ask, stop──> desk (server, launcher, shims, agents) <──kill -9, stop── chaos
//!     └── what was promised ──> ledger <── whom it hurt ──────────────────────────────────────────────┘
//!                                  └──> checks: store, processes, verify
//! ```
//!
//! | what | module |
//! | --- | --- |
//! | the server in a directory of its own, and the end of everything it started | `desk` |
//! | who decides about its customers' credentials: always yes | `credential` |
//! | the clients: who works when; one customer with what it was promised; their connection | `crowd`, `customer`, `connection` |
//! | who is killed or held, and when | `chaos` |
//! | what is known of all sessions, and what was found | `ledger` |
//! | the processes of the run, out of `/proc` | `processes` |
//! | whether all promises were kept | `checks` |
//! | chance, repeatable in what it chooses | `dice` |
//!
//! Some states last so short a time that a run meets them by luck alone. The crash sweep and the tests that hold the
//! server at a failpoint reach those every time: a session that is stopped while its directory is being written, and a
//! request that waits in the server while the loss of its agent is being stored.
//!
//! Memory and processes are bounded by the plan: one small page a customer, sixteen bytes a session that has ended,
//! two processes a running session. Each of the 16 clients sends bursts of four requests at once: the
//! first has 200 kB, and the others carry idempotency keys. Now and then all four are that large and keyed, and their agent is
//! held until they have come, and then killed: it can have got one of them. Some keyed requests take longer than the agent may take to
//! answer. Agents and the server are held for up to three seconds. It needs nothing but the binary.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::boot_time;

mod chaos;
mod checks;
mod connection;
mod credential;
mod crowd;
mod customer;
mod desk;
mod dice;
mod ledger;
mod processes;

use chaos::Chaos;
use crowd::Crowd;
use desk::Desk;
use dice::Dice;
use ledger::Ledger;

pub use ledger::Tally;

/// How much longer than planned chaos goes on at most, until it has struck in every way.
const MOST_OVERTIME: Duration = Duration::from_secs(30);

/// What is to be done to a server.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Customers, each with one live session at most; at least one.
    pub sessions: usize,
    /// Sessions with an agent at once; at least one.
    pub running: usize,
    /// How long the hand of chaos is at work, longer only if it has not struck in every way by then. What follows takes
    /// a minute more at most, and the checks.
    pub duration: Duration,
    /// Where chance begins. The same seed makes the same choices, at moments that are never the same.
    pub seed: u64,
    /// The agents' command.
    pub agents: Vec<String>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// How long the hand of chaos has been at work.
    pub elapsed: Duration,
    /// What has happened so far.
    pub tally: Tally,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What happened.
    pub tally: Tally,
    /// What is wrong, a sentence each; empty if nothing is.
    pub findings: Vec<String>,
    /// Whether the run was cut short, so that nothing was checked at its end.
    pub is_interrupted: bool,
}

/// Runs the plan in `directory`, which must be empty. Returns early, with everything ended, once `interrupted` is set.
/// Tells of its progress about once a second.
///
/// # Errors
/// Why the server could not be started for the first time.
pub fn run(
    plan: &Plan,
    directory: &std::path::Path,
    interrupted: &Arc<AtomicBool>,
    tell: &dyn Fn(Progress),
) -> std::io::Result<Report> {
    let ledger = Ledger::new(plan.running);
    let mut dice = Dice::new(plan.seed);
    let mut desk = Desk::start(plan, directory)?;
    let (address, marks) = (desk.address(), desk.marks().clone());
    let crowd = Crowd::new(plan, &mut dice, &ledger, &address, &marks, interrupted);
    let begun = boot_time();
    let customers = std::thread::scope(|scope| {
        let working = crowd.start(scope);
        let mut chaos = Chaos::new(&ledger, dice);
        let mut told = Duration::ZERO;
        loop {
            let elapsed = boot_time().saturating_since(begun);
            let is_enough = elapsed >= plan.duration && chaos.has_struck_in_every_way();
            if is_enough || elapsed >= plan.duration + MOST_OVERTIME {
                break;
            }
            if interrupted.load(Ordering::SeqCst) || ledger.is_hopeless() {
                break;
            }
            if elapsed >= told {
                tell(Progress { elapsed, tally: ledger.tally() });
                told = elapsed + Duration::from_secs(1);
            }
            chaos.strike(&mut desk);
        }
        chaos.rest(&mut desk);
        crowd.settle();
        working.into_iter().flat_map(|worker| worker.join().expect("a client does not panic")).collect::<Vec<_>>()
    });
    let is_interrupted = interrupted.load(Ordering::SeqCst);
    if !is_interrupted && !ledger.is_hopeless() {
        let findings = checks::check(&desk, &customers);
        findings.into_iter().chain(desk.end_in_order()).for_each(|finding| ledger.find(finding));
    }
    drop(desk);
    Ok(Report { tally: ledger.tally(), findings: ledger.findings(), is_interrupted })
}
