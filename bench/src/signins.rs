//! Sign-ins that nobody remembers: how many a second, and what they do to everybody else meanwhile.

use std::net::SocketAddr;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::calls::statuses;
use crate::client::PASSWORD;
use crate::customers::Customers;
use crate::load::{Load, Outcome, run};
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting};

/// Connections of those who sign in.
const CONNECTIONS: usize = 16;
/// What everybody else does meanwhile.
const OTHERS_A_SECOND: f64 = 2_000.0;
const OTHERS_CONNECTIONS: usize = 32;

/// The floor is argon2 alone on as many threads as there are cores, each with its memory kept.
pub fn measure(setting: &Setting, customers: &mut Customers, report: &mut Report) {
    let scale = &setting.scale;
    let (floors, rates) = turns(
        scale.repeats,
        |_| argon2_alone(scale.turn),
        |_| customers.sign_in(scale.sign_ins, CONNECTIONS).expect("customers are left").rate(),
    );
    let row = Row::new("signins", "not remembered", "sign-ins/s", rates).floor(floors).goal(Goal::RatioAtLeast(0.9));
    // So that sign-ins last as long as others are measured beside them.
    let during = Duration::from_secs_f64(0.9 * scale.sign_ins as f64 / row.value.median);
    report.row(row);

    let (mut alone, mut beside) = (Times::default(), Times::default());
    let address = customers.desk.address;
    loop {
        let quiet = others(setting, address, during);
        let meanwhile = std::thread::scope(|scope| {
            let meanwhile = scope.spawn(|| others(setting, address, during));
            customers.sign_in(scale.sign_ins, CONNECTIONS)?;
            Some(meanwhile.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let Some(meanwhile) = meanwhile else { break };
        alone.add(&quiet);
        beside.add(&meanwhile);
    }
    let half = Row::new("signins", "p50 of others' calls meanwhile", "ms", beside.halves);
    report.row(half.floor(alone.halves).goal(Goal::RatioAtMost(1.5)));
    let tail = Row::new("signins", "p99 of others' calls meanwhile", "ms", beside.tails);
    report.row(tail.floor(alone.tails).goal(Goal::RatioAtMost(3.0)));
}

/// p50 and p99 in milliseconds, one a turn.
#[derive(Default)]
struct Times {
    halves: Vec<f64>,
    tails: Vec<f64>,
}

impl Times {
    fn add(&mut self, outcome: &Outcome) {
        self.halves.push(outcome.milliseconds(0.5));
        self.tails.push(outcome.milliseconds(0.99));
    }
}

/// `GET /sessionSTATUS` at a rate that leaves the machine almost idle.
fn others(setting: &Setting, address: SocketAddr, during: Duration) -> Outcome {
    let load = Load::closed(address, OTHERS_CONNECTIONS, during).at(OTHERS_A_SECOND);
    let (outcome, _) = run(&load, statuses(setting.scale.customers));
    assert_eq!(outcome.bad, 0, "{} calls were refused", outcome.bad);
    outcome
}

/// Hashes a second.
fn argon2_alone(during: Duration) -> f64 {
    let threads = available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let hashed: usize = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| hash_until(begun + during))).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread that hashes")).sum()
    });
    hashed as f64 / begun.elapsed().as_secs_f64()
}

fn hash_until(end: Instant) -> usize {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    let (mut memory, mut output) = (vec![Block::default(); Params::DEFAULT.block_count()], [0; 32]);
    let mut hashed = 0;
    while Instant::now() < end {
        let hash =
            argon2.hash_password_into_with_memory(PASSWORD.as_bytes(), b"salt of sixteen!", &mut output, &mut memory);
        hash.expect("a hash");
        hashed += 1;
    }
    hashed
}
