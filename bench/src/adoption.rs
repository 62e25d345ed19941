//! The server is killed under load and started again: how long until it is ready with all its agents.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Options;
use crate::desk::{Client, Desk, Session};
use crate::starts::{beside, in_parallel};
use crate::table::Table;

const CLIENTS: usize = 4;

/// Measures, and tells whether every agent was the same as before after each round.
pub fn measure(options: &Options) -> (Table, bool) {
    let configuration = format!(
        "[limits]\nmax_running = {}\n\n[throttle]\nenabled = false\n\n[personas.TINY]\ncommand = [\"{}\"]\n",
        options.agents,
        beside("frontdesk-bench-agent").display()
    );
    let mut desk = Desk::start(&options.frontdesk, &configuration);
    let mut client = Client::new(desk.address);
    let sessions: Vec<_> =
        (0..options.agents).map(|number| client.create(&format!("agent{number}@example.org"), "TINY")).collect();
    in_parallel(&desk, &sessions, 16, Client::initialise);
    let before = pids(&desk, &sessions);
    let (mut ready, mut first, mut changed, mut answered) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..options.rounds {
        answered += under_load(&desk, &sessions, |desk| desk.kill_now());
        desk.kill();
        let killed = Instant::now();
        desk.start_again();
        ready.push(killed.elapsed().as_secs_f64() * 1_000.0);
        let is_first = Client::new(desk.address).request(&sessions[0]).is_some();
        first.push(if is_first { killed.elapsed().as_secs_f64() * 1_000.0 } else { f64::INFINITY });
        let after = pids(&desk, &sessions);
        changed += before.iter().zip(&after).filter(|(before, after)| before.is_none() || before != after).count();
    }
    let mut table = Table::new(&format!(
        "adoption: {} agents, {} rounds under load ({answered} requests answered), agents lost or changed: {changed}",
        options.agents, options.rounds
    ));
    table.add("kill -9 to ready", "ms", ready, None);
    table.add("kill -9 to the first answer", "ms", first, None);
    (table, changed == 0)
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
fn pids(desk: &Desk, sessions: &[Session]) -> Vec<Option<String>> {
    let mut client = Client::new(desk.address);
    sessions
        .iter()
        .map(|session| {
            let answer = client.request(session)?;
            Some(answer.split_once("\"pid\":")?.1.split('}').next()?.to_owned())
        })
        .collect()
}
