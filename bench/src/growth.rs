//! `./bench/growth`: creations and looks at a status against what grows: stored sessions, running agents, connections,
//! cores. Takes long, and is run by hand; each picture should show lines that are flat, or linear in the cores.
//!
//! Writes `growth.json` and one picture for each into docs/images/performance/. Every turn is bounded, and what no
//! longer fits on the disk is left out.

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

/// Measures all four and draws them.
pub fn draw(setting: &Setting) -> ExitCode {
    std::thread::spawn(end_with_the_run);
    raise_open_files();
    let is_quick = setting.scale.repeats == 1;
    let upto =
        |sizes: &[u64], most: u64| sizes.iter().copied().filter(|size| !is_quick || *size <= most).collect::<Vec<_>>();
    let pictures = [
        (
            "sessions",
            "live sessions in the store",
            stored(setting, &upto(&[1_000, 10_000, 100_000, 1_000_000, 10_000_000], 10_000)),
        ),
        ("agents", "running agents", agents(setting, &upto(&[1, 10, 100, 500, 1_000, 2_000, 5_000], 10))),
        ("connections", "connections", connections(setting, &upto(&[1, 4, 16, 64, 256, 1_000, 4_000, 10_000], 64))),
        ("cores", "cores of the server", cores(setting)),
    ];
    let directory = if is_quick { target().join("growth") } else { images() };
    std::fs::create_dir_all(&directory).expect("a directory for pictures");
    for (name, axis, points) in &pictures {
        std::fs::write(directory.join(format!("{name}.svg")), picture(name, axis, points))
            .expect("a picture is written");
    }
    let data: Vec<_> = pictures.iter().map(|(name, _, points)| (name, points)).collect();
    let json = serde_json::to_string_pretty(&data).expect("points serialise");
    std::fs::write(directory.join("growth.json"), json).expect("data are written");
    note(&format!("the pictures are in {}", directory.display()));
    ExitCode::SUCCESS
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images/performance")
}

fn configuration(more: &str) -> String {
    format!("{more}\n{}", persona(PERSONA, "frontdesk-bench-agent", "pending_timeout = \"1d\""))
}

fn stored(setting: &Setting, sizes: &[u64]) -> Vec<Point> {
    let desk = Desk::start(setting, &configuration(""));
    let (mut next, mut points) = (0, Vec::new());
    for size in sizes {
        let free = rustix::fs::statvfs(&setting.scratch).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
        if (size - next.min(*size)) * BYTES_A_SESSION > free {
            note(&format!("{size} sessions do not fit on the disk"));
            break;
        }
        note(&format!("{size} sessions"));
        if *size > next {
            create_all(desk.address, 256, next..*size);
            next = *size;
        }
        points.push(point(setting, &desk, *size, CONNECTIONS, &mut next));
    }
    points
}

fn agents(setting: &Setting, sizes: &[u64]) -> Vec<Point> {
    let most = sizes.iter().max().copied().unwrap_or_default();
    let desk = Desk::start(setting, &configuration(&format!("[limits]\nmax_running = {}\n", most + 1)));
    let mut client = Client::new(desk.address);
    let (mut running, mut next, mut points) = (0, 0, Vec::new());
    for size in sizes {
        note(&format!("{size} agents"));
        let more: Vec<_> =
            (running..*size).map(|number| client.create(&format!("running{number}@example.org"), PERSONA)).collect();
        in_parallel(desk.address, &more, 16, Client::initialise);
        running = *size;
        points.push(point(setting, &desk, *size, CONNECTIONS, &mut next));
    }
    points
}

fn connections(setting: &Setting, sizes: &[u64]) -> Vec<Point> {
    let desk = Desk::start(setting, &configuration(""));
    let mut next = 0;
    let mut at = |size: &u64| {
        note(&format!("{size} connections"));
        point(setting, &desk, *size, *size as usize, &mut next)
    };
    sizes.iter().map(&mut at).collect()
}

fn cores(setting: &Setting) -> Vec<Point> {
    let mut at = |(size, cores)| {
        note(&format!("cores {cores}"));
        let setting = Setting { cores: Some(cores), ..setting.clone() };
        let desk = Desk::start(&setting, &configuration(""));
        point(&setting, &desk, size, CONNECTIONS, &mut 0)
    };
    [(1, "0"), (2, "0,1")].into_iter().map(&mut at).collect()
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

fn picture(name: &str, axis: &str, points: &[Point]) -> String {
    let line = |label, color, value: fn(&Point) -> Spread| Line {
        label,
        color,
        points: points.iter().map(|point| (point.size as f64, value(point))).collect(),
    };
    Plot {
        title: format!("calls a second against {axis}"),
        axis,
        scale: if name == "cores" { Scale::Linear } else { Scale::Logarithmic },
        lines: vec![
            line("GET /sessionSTATUS", "#1f6feb", |point| point.statuses),
            line("POST /requestSessionCreation", "#bf3989", |point| point.creations),
        ],
    }
    .svg()
}
