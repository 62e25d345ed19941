//! From initialise to RUNNING: one at a time, and how many a second at sixteen at once.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::Options;
use crate::desk::{Client, Desk, Session};
use crate::table::Table;

const ONE_BY_ONE: usize = 300;
const ROUNDS: usize = 7;
const A_ROUND: usize = 200;
const AT_ONCE: usize = 16;

/// Measures floor and server in turns.
pub fn measure(options: &Options) -> Table {
    let tiny = beside("frontdesk-bench-agent");
    let configuration = format!(
        "[throttle]\nenabled = false\n\n\
         [personas.TINY]\ncommand = [\"{}\"]\n\n[personas.ECHO]\ncommand = [\"frontdesk\", \"agent\", \"echo\"]\n",
        tiny.display()
    );
    let desk = Desk::start(&options.frontdesk, &configuration);
    let scratch = desk.scratch();
    let mut floor = Floor::start(&scratch, &[&tiny]);
    let echo = [options.frontdesk.as_path(), Path::new("agent"), Path::new("echo")];
    let mut echo_floor = Floor::start(&scratch, &echo);
    let mut client = Client::new(desk.address);

    let (mut floors, mut echo_floors, mut tinies, mut echoes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..ONE_BY_ONE {
        floors.push(floor.round(1, 1) / 1_000.0);
        tinies.push(one(&mut client, number, "TINY"));
        echo_floors.push(echo_floor.round(1, 1) / 1_000.0);
        echoes.push(one(&mut client, number, "ECHO"));
    }
    let (mut floor_rates, mut rates) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor_rates.push(A_ROUND as f64 * 1e6 / floor.round(A_ROUND, AT_ONCE));
        rates.push(many(&desk, round));
    }

    let mut table = Table::new("starts: initialise to RUNNING");
    let floor = table.add("floor, smallest agent", "ms", floors, None);
    table.add("frontdesk, smallest agent", "ms", tinies, Some(floor));
    let floor = table.add("floor, echo agent", "ms", echo_floors, None);
    table.add("frontdesk, echo agent", "ms", echoes, Some(floor));
    let floor = table.add("floor, 16 at once", "starts/s", floor_rates, None);
    table.add("frontdesk, 16 at once", "starts/s", rates, Some(floor));
    table
}

fn one(client: &mut Client, number: usize, persona: &str) -> f64 {
    let session = client.create(&format!("one{number}@example.org"), persona);
    let begun = Instant::now();
    client.initialise(&session);
    let took = begun.elapsed().as_secs_f64() * 1_000.0;
    client.stop(&session);
    took
}

fn many(desk: &Desk, round: usize) -> f64 {
    let mut client = Client::new(desk.address);
    let sessions: Vec<_> =
        (0..A_ROUND).map(|number| client.create(&format!("many{round}-{number}@example.org"), "TINY")).collect();
    let took = in_parallel(desk, &sessions, AT_ONCE, Client::initialise);
    in_parallel(desk, &sessions, AT_ONCE, Client::stop);
    A_ROUND as f64 / took
}

/// Does something with each session, so many at once; returns the seconds that it took, without the connecting.
pub fn in_parallel(desk: &Desk, sessions: &[Session], at_once: usize, act: fn(&mut Client, &Session)) -> f64 {
    let mut clients: Vec<_> = (0..at_once).map(|_| Client::new(desk.address)).collect();
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                while let Some(session) = sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(client, session);
                }
            });
        }
    });
    begun.elapsed().as_secs_f64()
}

/// The path of another program of this package.
pub fn beside(name: &str) -> std::path::PathBuf {
    std::env::current_exe().expect("a path of its own").with_file_name(name)
}

struct Floor {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Floor {
    fn start(directory: &Path, command: &[&Path]) -> Self {
        let files = directory.join(format!("starts-{}", command.len()));
        std::fs::create_dir(&files).expect("a directory");
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
