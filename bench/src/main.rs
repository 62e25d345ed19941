//! `./bench/run [NAME..]`: measures Frontdesk. README.md says how to read what it prints.
//!
//! ```text
//! main (words) ──> run (one child a group of figures, each bounded in time) ──> report (table, JSON, page)
//!                    └── measure (the child): the figures, over desk, program, load
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Row;
use scale::Scale;

mod adoption;
mod calls;
mod client;
mod create;
mod customers;
mod desk;
mod events;
mod growth;
mod load;
mod measure;
mod memory;
mod page;
mod peer;
mod process;
mod program;
mod relay;
mod remote;
mod report;
mod run;
mod scale;
mod signins;
mod start;
mod starts;
mod status;
mod stored;
mod turns;

const USAGE: &str = "usage: ./bench/run [--json] [--write]\n       ./bench/run NAME.. [--quick] [--json]\n       \
                     ./bench/run adoption [--agents N] [--rounds N]\n       \
                     ./bench/run memory status start [--sessions N]\n       \
                     ./bench/run torture [OPTIONS]\n       \
                     ./bench/growth [cores] [connections] [agents] [sessions] [--quick]\n\
                     NAME: starts, adoption, memory, status, start, signins, create, peer, remote, relay, events";

/// Under what figures are measured.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The binary.
    pub frontdesk: PathBuf,
    /// Where all directories are made.
    pub scratch: PathBuf,
    /// How much.
    pub scale: Scale,
    /// The cores that a server has to itself, as `taskset` names them; all of them if that is not said.
    pub cores: Option<&'static str>,
}

/// Where rows go as soon as they are known.
pub trait Sink {
    /// Takes one.
    fn row(&mut self, row: Row);
}

/// Where the figures of a run go.
pub type Report = dyn Sink;

/// What was asked for.
#[derive(Debug)]
struct Words {
    names: Vec<String>,
    frontdesk: PathBuf,
    scratch: Option<PathBuf>,
    scale: Scale,
    is_quick: bool,
    is_json: bool,
    is_written: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(words) = Words::read(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match words.names.first().map(String::as_str) {
        Some(measure::WORD) => measure::figures(&words.setting(), &words.names[1..]),
        Some(growth::WORD) => growth::draw(&words.setting(), &words.names[1..]),
        Some(growth::NAME) => run::growth(&words),
        _ => run::figures(&words),
    }
}

impl Words {
    fn read(words: &[String]) -> Option<Self> {
        let is_quick = words.iter().any(|word| word == "--quick");
        let mut read = Self {
            names: Vec::new(),
            frontdesk: "frontdesk".into(),
            scratch: None,
            scale: if is_quick { Scale::quick() } else { Scale::full() },
            is_quick,
            is_json: false,
            is_written: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                // Servers run in directories of their own.
                "--frontdesk" => read.frontdesk = std::path::absolute(words.next()?).ok()?,
                "--scratch" => read.scratch = Some(words.next()?.into()),
                "--agents" => read.scale.adopted.0 = words.next()?.parse().ok()?,
                "--rounds" => read.scale.adopted.1 = words.next()?.parse().ok()?,
                "--sessions" => read.scale.sessions = words.next()?.parse().ok()?,
                "--quick" => {}
                "--json" => read.is_json = true,
                "--write" => read.is_written = true,
                name if !name.starts_with('-') => read.names.push(name.to_owned()),
                _ => return None,
            }
        }
        // The page shows whole runs only.
        if read.is_written && (is_quick || !read.names.is_empty()) {
            return None;
        }
        let first = read.names.first().map(String::as_str);
        let is_known = match first {
            Some(measure::WORD) => true,
            Some(growth::WORD | growth::NAME) => read.names[1..].iter().all(|name| growth::is_curve(name)),
            _ => read.names.iter().all(|name| measure::is_figure(name)),
        };
        is_known.then_some(read)
    }

    fn setting(&self) -> Setting {
        let scratch = self.scratch.clone().unwrap_or_else(|| target().join("scratch"));
        Setting { frontdesk: self.frontdesk.clone(), scratch, scale: self.scale.clone(), cores: None }
    }
}

/// Where everything is made that is not kept: on the disk of the repository, since a file system in memory syncs nothing.
fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

/// Says what is going on.
fn note(text: &str) {
    eprintln!("  {text}");
}
