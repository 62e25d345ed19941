//! Creations through the remote contract: each asks a credential server, and is on the disk before it is answered.

use crate::calls::{Creations, PERSONA, email};
use crate::client::Client;
use crate::desk::{Desk, persona};
use crate::load::{Load, run};
use crate::program::Program;
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting};

/// The floor makes the same two hops to the same credential server, and keeps nothing.
pub fn measure(setting: &Setting, report: &mut Report) {
    let scale = &setting.scale;
    let desk = Desk::start(setting, &persona(PERSONA, "frontdesk-bench-agent", ""));
    let answer = Client::new(desk.address).expect(
        "POST",
        "/requestSessionCreation",
        "",
        &crate::client::creation(&email(0), PERSONA),
    );
    let floor = Program::bare(&["proxy", &desk.credentials().to_string(), &answer.len().to_string()]);
    let mut next = 1;
    for connections in [32, 256] {
        let load = |address| Load::closed(address, connections, scale.turn);
        let (floors, rates) = turns(
            scale.repeats,
            |_| run(&load(floor.address()), Creations::split(0..u64::MAX, false)).0.rate(),
            |_| {
                let (outcome, scripts) = run(&load(desk.address), Creations::split(next..u64::MAX, false));
                next = Creations::next_of(&scripts);
                outcome.rate()
            },
        );
        report.row(
            Row::new("remote", &format!("creations, {connections} connections"), "calls/s", rates)
                .floor(floors)
                .goal(Goal::RatioAtLeast(0.7)),
        );
    }
}
