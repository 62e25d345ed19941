//! From initialise to RUNNING: one at a time, and how many a second at sixteen at once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use crate::client::{Client, in_parallel};
use crate::desk::{Desk, persona};
use crate::program::beside;
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting};

const AT_ONCE: usize = 16;

/// Measures floor and server in turns.
pub fn measure(setting: &Setting, report: &mut Report) {
    let (one_by_one, at_once) = setting.scale.starts;
    let configuration = format!(
        "[throttle]\nenabled = false\n\n{}[personas.ECHO]\ncommand = [\"frontdesk\", \"agent\", \"echo\"]\norphan_timeout = \"20s\"\n",
        persona("TINY", "frontdesk-bench-agent", "")
    );
    let desk = Desk::start(setting, &configuration);
    let scratch = desk.scratch();
    let tiny = beside("frontdesk-bench-agent");
    let echo = [setting.frontdesk.as_path(), Path::new("agent"), Path::new("echo")];
    let mut client = Client::new(desk.address);

    for (name, persona, command) in [("smallest", "TINY", &[tiny.as_path()][..]), ("echo", "ECHO", &echo)] {
        let mut floor = Floor::start(&scratch, command);
        let (floors, values) =
            turns(one_by_one, |_| floor.round(1, 1) / 1_000.0, |number| one(&mut client, number, persona));
        let row = Row::new("starts", &format!("{name} agent, one by one"), "ms", values);
        report.row(row.floor(floors).goal(Goal::RatioAtMost(1.5)));
    }
    let mut floor = Floor::start(&scratch, &[&tiny]);
    let (floors, rates) = turns(
        setting.scale.repeats,
        |_| at_once as f64 * 1e6 / floor.round(at_once, AT_ONCE),
        |round| many(&desk, round, at_once),
    );
    let row = Row::new("starts", &format!("smallest agent, {AT_ONCE} at once"), "starts/s", rates);
    report.row(row.floor(floors).goal(Goal::AtLeast(1_000.0)));
}

fn one(client: &mut Client, number: usize, persona: &str) -> f64 {
    let session = client.create(&format!("one{number}@example.org"), persona);
    let begun = Instant::now();
    client.initialise(&session);
    let took = begun.elapsed().as_secs_f64() * 1_000.0;
    client.stop(&session);
    took
}

fn many(desk: &Desk, round: usize, count: usize) -> f64 {
    let mut client = Client::new(desk.address);
    let sessions: Vec<_> =
        (0..count).map(|number| client.create(&format!("many{round}-{number}@example.org"), "TINY")).collect();
    let took = in_parallel(desk.address, &sessions, AT_ONCE, Client::initialise);
    in_parallel(desk.address, &sessions, AT_ONCE, Client::stop);
    count as f64 / took
}

struct Floor {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Floor {
    fn start(directory: &Path, command: &[&Path]) -> Self {
        let files = crate::desk::scratch(directory, "starts");
        let mut process = Command::new(beside("frontdesk-bench-floor"))
            .arg(files)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a floor that starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, input, output }
    }

    /// Microseconds for so many starts.
    fn round(&mut self, starts: usize, at_once: usize) -> f64 {
        let input = self.input.as_mut().expect("a floor that runs");
        input.write_all(format!("{starts} {at_once}\n").as_bytes()).expect("a floor that reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a floor that answers");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
