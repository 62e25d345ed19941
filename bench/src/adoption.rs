//! The server is killed under load and started again: how long until it is ready with all its agents.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, Session, in_parallel};
use crate::desk::{Desk, persona};
use crate::report::{Goal, Row};
use crate::{Report, Setting};

const CLIENTS: usize = 4;

/// Measures; an agent that is not the same process as before after each round fails it.
pub fn measure(setting: &Setting, report: &mut Report) {
    let (agents, rounds) = setting.scale.adopted;
    let configuration = format!(
        "[limits]\nmax_running = {agents}\n\n[throttle]\nenabled = false\n\n{}",
        persona("TINY", "frontdesk-bench-agent", "")
    );
    let mut desk = Desk::start(setting, &configuration);
    let mut client = Client::new(desk.address);
    let sessions: Vec<_> =
        (0..agents).map(|number| client.create(&format!("agent{number}@example.org"), "TINY")).collect();
    in_parallel(desk.address, &sessions, 16, Client::initialise);
    let before = processes(&desk, &sessions);
    let (mut ready, mut first, mut changed, mut answered) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..rounds {
        answered += under_load(&desk, &sessions, Desk::kill_now);
        desk.kill();
        let killed = Instant::now();
        desk.start_again();
        ready.push(killed.elapsed().as_secs_f64() * 1_000.0);
        let is_first = Client::new(desk.address).request(&sessions[0]).is_some();
        first.push(if is_first { killed.elapsed().as_secs_f64() * 1_000.0 } else { f64::INFINITY });
        let after = processes(&desk, &sessions);
        changed += before.iter().zip(&after).filter(|(before, after)| before.is_none() || before != after).count();
    }
    let row = |what, values| Row::new("adoption", &format!("kill -9 to {what}, {agents} agents"), "ms", values);
    report.row(row("ready", ready).goal(Goal::AtMost(2_000.0)));
    report.row(row("the first answer", first));
    let requests = Row::new("adoption", "requests answered meanwhile", "requests", vec![answered as f64]);
    report.row(requests);
    report.row(Row::new("adoption", "agents lost or changed", "agents", vec![changed as f64]).goal(Goal::AtMost(0.0)));
    assert_eq!(changed, 0, "agents were lost or changed");
}

/// Asks the agents in turns until the server was killed; returns how many requests were answered.
fn under_load(desk: &Desk, sessions: &[Session], kill: fn(&Desk)) -> usize {
    let (is_over, next, answered) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::new(desk.address);
                while !is_over.load(Ordering::SeqCst) {
                    let session = &sessions[next.fetch_add(1, Ordering::Relaxed) % sessions.len()];
                    let Some(_) = client.request(session) else { return };
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        kill(desk);
        is_over.store(true, Ordering::SeqCst);
    });
    answered.into_inner()
}

/// What each agent says is its process.
fn processes(desk: &Desk, sessions: &[Session]) -> Vec<Option<u32>> {
    let mut client = Client::new(desk.address);
    sessions.iter().map(|session| client.agent(session)).collect()
}
