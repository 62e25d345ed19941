//! `./bench/growth`: creations and looks at a status against what grows: stored sessions, running agents, connections,
//! cores. Takes long, and is run by hand; each picture should show lines that are flat, or linear in the cores.
//!
//! Writes the data and the picture of each into docs/images/performance/, point by point. Every turn is bounded, and what
//! no longer fits on the disk is left out.

mod plot;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::calls::{Creations, PERSONA, create_all, statuses};
use crate::client::{Client, in_parallel};
use crate::desk::{Desk, persona};
use crate::load::{Load, run};
use crate::measure::end_with_the_run;
use crate::process::raise_open_files;
use crate::report::Spread;
use crate::{Setting, note, target};
use plot::{Line, Plot, Scale};

/// The word by which the script asks for it.
pub const NAME: &str = "growth";
/// The word by which a run starts the child that draws.
pub const WORD: &str = "draw";

/// Connections, unless it is them that grow.
const CONNECTIONS: usize = 64;
/// What a stored session takes of the disk at most, with the write-ahead log and while files are rewritten.
const BYTES_A_SESSION: u64 = 3_000;

/// Both rates at one size.
#[derive(Clone, Copy, Debug, Serialize)]
struct Point {
    size: u64,
    creations: Spread,
    statuses: Spread,
}

/// A curve: how its points are measured, and for which sizes at a quick turn.
struct Kind {
    name: &'static str,
    axis: &'static str,
    sizes: &'static [u64],
    /// The largest size of a quick turn.
    quick: u64,
    measure: fn(&Setting, &[u64], &mut Curve),
}

const KINDS: [Kind; 4] = [
    Kind { name: "cores", axis: "cores of the server", sizes: &[1, 2], quick: 2, measure: cores },
    Kind {
        name: "connections",
        axis: "connections",
        sizes: &[1, 4, 16, 64, 256, 1_000, 4_000, 10_000],
        quick: 64,
        measure: connections,
    },
    Kind {
        name: "agents",
        axis: "running agents",
        sizes: &[1, 10, 100, 500, 1_000, 2_000, 5_000],
        quick: 10,
        measure: agents,
    },
    Kind {
        name: "sessions",
        axis: "live sessions in the store",
        sizes: &[1_000, 10_000, 100_000, 1_000_000, 10_000_000],
        quick: 10_000,
        measure: stored,
    },
];

/// Whether a curve is called this.
pub fn is_curve(name: &str) -> bool {
    KINDS.iter().any(|kind| kind.name == name)
}

/// Measures the curves of these names, all if there are none, and draws them.
pub fn draw(setting: &Setting, names: &[String]) -> ExitCode {
    std::thread::spawn(end_with_the_run);
    raise_open_files();
    let is_quick = setting.scale.repeats == 1;
    let directory = if is_quick { target().join("growth") } else { images() };
    std::fs::create_dir_all(&directory).expect("a directory for pictures");
    for kind in KINDS.iter().filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name)) {
        let sizes: Vec<_> = kind.sizes.iter().copied().filter(|size| !is_quick || *size <= kind.quick).collect();
        let mut curve = Curve { kind, directory: &directory, points: Vec::new() };
        (kind.measure)(setting, &sizes, &mut curve);
    }
    note(&format!("the pictures are in {}", directory.display()));
    ExitCode::SUCCESS
}

/// Points as they become known, and their picture.
struct Curve<'a> {
    kind: &'a Kind,
    directory: &'a Path,
    points: Vec<Point>,
}

impl Curve<'_> {
    /// Adds a point. Data and picture are written anew each time: a run of half an hour may be interrupted.
    fn add(&mut self, point: Point) {
        let rates = [point.creations, point.statuses].map(|spread| spread.median.round());
        note(&format!("{} {}: {} creations, {} looks a second", point.size, self.kind.axis, rates[0], rates[1]));
        self.points.push(point);
        let file = |extension: &str| self.directory.join(self.kind.name).with_extension(extension);
        let data = serde_json::to_string_pretty(&self.points).expect("points serialise");
        std::fs::write(file("json"), data + "\n").expect("data are written");
        std::fs::write(file("svg"), self.picture()).expect("a picture is written");
    }

    fn picture(&self) -> String {
        let line = |label, color, value: fn(&Point) -> Spread| Line {
            label,
            color,
            points: self.points.iter().map(|point| (point.size as f64, value(point))).collect(),
        };
        Plot {
            title: format!("calls a second against {}", self.kind.axis),
            axis: self.kind.axis,
            scale: if self.kind.name == "cores" { Scale::Linear } else { Scale::Logarithmic },
            lines: vec![
                line("GET /sessionSTATUS", "#1f6feb", |point| point.statuses),
                line("POST /requestSessionCreation", "#bf3989", |point| point.creations),
            ],
        }
        .svg()
    }
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images/performance")
}

fn configuration(more: &str) -> String {
    format!("{more}\n{}", persona(PERSONA, "frontdesk-bench-agent", "pending_timeout = \"1d\""))
}

fn stored(setting: &Setting, sizes: &[u64], curve: &mut Curve<'_>) {
    let desk = Desk::start(setting, &configuration(""));
    let mut next = 0;
    for size in sizes {
        let free = rustix::fs::statvfs(&setting.scratch).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        if (size - next.min(*size)) * BYTES_A_SESSION > free {
            note(&format!("{size} sessions do not fit on the disk"));
            break;
        }
        if *size > next {
            create_all(desk.address, 256, next..*size);
            next = *size;
        }
        curve.add(point(setting, &desk, *size, CONNECTIONS, &mut next));
    }
}

fn agents(setting: &Setting, sizes: &[u64], curve: &mut Curve<'_>) {
    let most = sizes.iter().max().copied().unwrap_or_default();
    let desk = Desk::start(setting, &configuration(&format!("[limits]\nmax_running = {}\n", most + 1)));
    let mut client = Client::new(desk.address);
    let (mut running, mut next) = (0, 0);
    for size in sizes {
        let more: Vec<_> =
            (running..*size).map(|number| client.create(&format!("running{number}@example.org"), PERSONA)).collect();
        in_parallel(desk.address, &more, 16, Client::initialise);
        running = *size;
        curve.add(point(setting, &desk, *size, CONNECTIONS, &mut next));
    }
}

fn connections(setting: &Setting, sizes: &[u64], curve: &mut Curve<'_>) {
    let desk = Desk::start(setting, &configuration(""));
    let mut next = 0;
    for size in sizes {
        curve.add(point(setting, &desk, *size, *size as usize, &mut next));
    }
}

fn cores(setting: &Setting, sizes: &[u64], curve: &mut Curve<'_>) {
    for (size, cores) in sizes.iter().zip(["0", "0,1"]) {
        let setting = Setting { cores: Some(cores), ..setting.clone() };
        let desk = Desk::start(&setting, &configuration(""));
        curve.add(point(&setting, &desk, *size, CONNECTIONS, &mut 0));
    }
}

/// Both rates as they are; creations go on with customer `next`.
fn point(setting: &Setting, desk: &Desk, size: u64, connections: usize, next: &mut u64) -> Point {
    let load = Load::closed(desk.address, connections, setting.scale.turn);
    let mut create = || {
        let (outcome, scripts) = run(&load, Creations::split(*next..u64::MAX, false));
        *next = Creations::next_of(&scripts);
        outcome.rate()
    };
    let creations = (0..setting.scale.repeats).map(|_| create()).collect();
    let known = *next;
    let statuses = (0..setting.scale.repeats).map(|_| run(&load, statuses(known)).0.rate()).collect();
    Point { size, creations: Spread::of(creations), statuses: Spread::of(statuses) }
}
