//! How many calls a second that only look at a session, with all sessions live.

use crate::calls::{statuses, views};
use crate::client::Client;
use crate::load::{Load, Script, THREADS, run};
use crate::program::Program;
use crate::report::{Goal, Row};
use crate::stored::Stored;
use crate::turns::turns;
use crate::{Report, Setting};

/// The floor parses the same query, and looks it up in tables as large. It answers as many bytes, but checks no token.
pub fn measure(setting: &Setting, stored: &Stored, report: &mut Report) {
    let session = &stored.sessions[0];
    let view =
        Client::new(stored.desk.address).expect("GET", &format!("/v1/sessions/{}", session.id), &session.token, "");
    let keys = stored.keys();
    let floor = Program::bare(&["lookup", keys.to_str().expect("a path in UTF-8"), &view.len().to_string()]);
    let count = stored.sessions.len() as u64;
    for connections in [32, 256] {
        let both = Both { setting, stored, floor: &floor, connections };
        report.row(both.row("GET /sessionSTATUS", || statuses(count)));
        report.row(both.row("GET /v1/sessions/{id}", || views(&stored.sessions)));
    }
}

struct Both<'a> {
    setting: &'a Setting,
    stored: &'a Stored,
    floor: &'a Program,
    connections: usize,
}

impl Both<'_> {
    fn row<S: Script>(&self, name: &str, scripts: impl Fn() -> [S; THREADS]) -> Row {
        let scale = &self.setting.scale;
        let rate = |address| run(&Load::closed(address, self.connections, scale.turn), scripts()).0.rate();
        let (floors, rates) = turns(scale.repeats, |_| rate(self.floor.address()), |_| rate(self.stored.desk.address));
        Row::new("status", &format!("{name}, {} connections", self.connections), "calls/s", rates)
            .floor(floors)
            .goal(Goal::RatioAtLeast(0.85))
    }
}
