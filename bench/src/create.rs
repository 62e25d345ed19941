//! Creations of customers whose sign-in is remembered: on the disk before they are answered.

use crate::calls::{Creations, PERSONA, email};
use crate::client::creation;
use crate::customers::Customers;
use crate::load::{Load, run};
use crate::program::Program;
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting};

/// One turn is one session for each customer; they are stopped outside of the time that counts. The floors read as many
/// of the same bodies; the second has each on the disk before it answers.
pub fn measure(setting: &Setting, customers: &mut Customers, report: &mut Report) {
    customers.sign_in_all();
    let repeats = setting.scale.repeats * 2;
    let bytes = answer_bytes(customers).to_string();
    let file = customers.desk.scratch().join("rows");
    let read = Program::bare(&["post", &bytes]);
    let kept = Program::bare(&["append", file.to_str().expect("a path in UTF-8"), &bytes]);
    for (connections, goal) in [(32, 0.40), (256, 0.65)] {
        let bare = |floor: &Program| {
            let load = Load::all(floor.address(), connections);
            run(&load, Creations::split(customers.remembered(), false)).0.rate()
        };
        let mut appends = Vec::new();
        let (floors, rates) = turns(
            repeats,
            |_| {
                appends.push(bare(&kept));
                bare(&read)
            },
            |_| customers.create(connections, None).rate(),
        );
        let row = |name: &str, rates: &[f64]| {
            Row::new("create", &format!("{name}, {connections} connections"), "calls/s", rates.to_vec())
        };
        let beside = row("creations beside append and sync", &rates).floor(appends);
        let row = row("creations", &rates).floor(floors).goal(Goal::RatioAtLeast(goal));
        let half = row.value.median / 2.0;
        report.row(row);
        report.row(beside);
        half_load(customers, connections, half, repeats, report);
    }
}

/// How long creations take at half of what the server is able to do.
fn half_load(customers: &Customers, connections: usize, rate: f64, repeats: usize, report: &mut Report) {
    let (mut halves, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let outcome = customers.create(connections, Some(rate));
        assert_eq!(outcome.bad, 0, "{} creations were refused", outcome.bad);
        halves.push(outcome.milliseconds(0.5));
        tails.push(outcome.milliseconds(0.99));
    }
    report.row(Row::new("create", &format!("p50 at half load, {connections} connections"), "ms", halves));
    let tail = Row::new("create", &format!("p99 at half load, {connections} connections"), "ms", tails);
    report.row(tail.goal(Goal::AtMost(5.0)));
}

fn answer_bytes(customers: &Customers) -> usize {
    let mut client = crate::client::Client::new(customers.desk.address);
    let answer = client.expect("POST", "/requestSessionCreation", "", &creation(&email(0), PERSONA));
    customers.stop_all();
    answer.len()
}
