//! Requests relayed to agents: how much later the answer comes than a bare server's, and how many a second.

use crate::calls::cycle;
use crate::client::{Client, Session, in_parallel, relayed};
use crate::desk::{Desk, persona};
use crate::load::{Load, run, write_request};
use crate::program::Program;
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting};

/// Connections of the throughput, in turns over all agents.
const CONNECTIONS: usize = 100;

/// The floor reads the same body and answers as many bytes.
pub fn measure(setting: &Setting, report: &mut Report) {
    let scale = &setting.scale;
    let desk = Desk::start(setting, &persona("TINY", "frontdesk-bench-agent", ""));
    let mut client = Client::new(desk.address);
    let sessions: Vec<_> =
        (0..scale.agents).map(|number| client.create(&format!("agent{number}@example.org"), "TINY")).collect();
    in_parallel(desk.address, &sessions, 16, Client::initialise);
    let answer = client.request(&sessions[0]).expect("an agent that answers");
    let floor = Program::bare(&["post", &answer.len().to_string()]);
    let requests: Vec<_> = sessions.iter().map(request).collect();

    let median = |address| {
        let (outcome, _) = run(&Load::closed(address, 1, scale.turn), cycle(&requests[..1]));
        assert_eq!(outcome.bad, 0, "{} requests were refused", outcome.bad);
        outcome.milliseconds(0.5) * 1_000.0
    };
    let (floors, medians) = turns(scale.repeats, |_| median(floor.address()), |_| median(desk.address));
    let row = Row::new("relay", "p50 to the answer, one at a time", "us", medians);
    report.row(row.floor(floors).goal(Goal::AboveFloorAtMost(150.0)));

    let rate = |address| run(&Load::closed(address, CONNECTIONS, scale.turn), cycle(&requests)).0.rate();
    let (floors, rates) = turns(scale.repeats, |_| rate(floor.address()), |_| rate(desk.address));
    let row =
        Row::new("relay", &format!("over {} agents, {CONNECTIONS} connections", scale.agents), "requests/s", rates);
    report.row(row.floor(floors).goal(Goal::AtLeast(15_000.0)));
}

fn request(session: &Session) -> Vec<u8> {
    let mut request = Vec::new();
    write_request(&mut request, "PUT", "/handleSessionRequests", &session.token, &relayed(session));
    request
}
