//! Creations of customers whose sign-in is remembered: on the disk before they are answered.

use crate::calls::{Creations, PERSONA, email};
use crate::client::creation;
use crate::customers::Customers;
use crate::load::{Load, run};
use crate::program::Program;
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting};

/// One turn is one session for each customer; they are stopped outside of the time that counts. The floor reads as many
/// of the same bodies.
pub fn measure(setting: &Setting, customers: &mut Customers, report: &mut Report) {
    customers.sign_in_all();
    let repeats = setting.scale.repeats * 2;
    let floor = Program::bare(&["post", &answer_bytes(customers).to_string()]);
    for (connections, goal) in [(32, 0.40), (256, 0.65)] {
        let load = Load::all(floor.address(), connections);
        let (floors, rates) = turns(
            repeats,
            |_| run(&load, Creations::split(customers.remembered(), false)).0.rate(),
            |_| customers.create(connections, None).rate(),
        );
        let row = Row::new("create", &format!("creations, {connections} connections"), "calls/s", rates);
        let row = row.floor(floors).goal(Goal::RatioAtLeast(goal));
        let half = row.value.median / 2.0;
        report.row(row);
        let (mut halves, mut tails) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            let outcome = customers.create(connections, Some(half));
            assert_eq!(outcome.bad, 0, "{} creations were refused", outcome.bad);
            halves.push(outcome.milliseconds(0.5));
            tails.push(outcome.milliseconds(0.99));
        }
        report.row(Row::new("create", &format!("p50 at half load, {connections} connections"), "ms", halves));
        let tail = Row::new("create", &format!("p99 at half load, {connections} connections"), "ms", tails);
        report.row(tail.goal(Goal::AtMost(5.0)));
    }
}

fn answer_bytes(customers: &Customers) -> usize {
    let mut client = crate::client::Client::new(customers.desk.address);
    let answer = client.expect("POST", "/requestSessionCreation", "", &creation(&email(0), PERSONA));
    customers.stop_all();
    answer.len()
}
