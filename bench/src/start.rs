//! From the start of the process to serving, and what has to be shipped.

use std::time::Instant;

use crate::desk::Desk;
use crate::report::{Goal, Row};
use crate::stored::Stored;
use crate::{Report, Setting};

/// Starts after the server was killed, with every session live.
pub fn with_sessions(setting: &Setting, stored: &mut Stored, report: &mut Report) {
    let mut took = Vec::new();
    for _ in 0..setting.scale.repeats {
        stored.desk.kill();
        let begun = Instant::now();
        stored.desk.start_again();
        took.push(begun.elapsed().as_secs_f64());
    }
    let row = Row::new("start", &format!("with {} live sessions", stored.sessions.len()), "s", took);
    report.row(row.goal(Goal::AtMost(3.0)));
}

/// Starts in an empty directory, and the size of the binary.
pub fn empty(setting: &Setting, report: &mut Report) {
    let took = (0..setting.scale.repeats * 2).map(|_| {
        let begun = Instant::now();
        let desk = Desk::embedded(setting, "");
        let took = begun.elapsed().as_secs_f64() * 1_000.0;
        drop(desk);
        took
    });
    report.row(Row::new("start", "in an empty directory", "ms", took.collect()).goal(Goal::AtMost(100.0)));
    let bytes = std::fs::metadata(&setting.frontdesk).expect("a binary").len();
    let row = Row::new("start", "the release binary", "MiB", vec![bytes as f64 / f64::from(1 << 20)]);
    report.row(row.goal(Goal::AtMost(25.0)));
}
