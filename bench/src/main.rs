//! `./bench/run NAME`: measures Frontdesk. README.md says how to read what it prints.

use std::path::PathBuf;
use std::process::ExitCode;

mod adoption;
mod desk;
mod starts;
mod table;

const USAGE: &str =
    "usage: ./bench/run starts [--json] | adoption [--agents N] [--rounds N] [--json] | torture [OPTIONS]";

/// What was asked for.
struct Options {
    frontdesk: PathBuf,
    agents: usize,
    rounds: usize,
    is_json: bool,
}

fn main() -> ExitCode {
    let Some((name, options)) = read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (table, is_right) = match name.as_str() {
        "starts" => (starts::measure(&options), true),
        "adoption" => adoption::measure(&options),
        _ => {
            eprintln!("there is no {name}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("{}", if options.is_json { table.json() } else { table.text() });
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(mut words: impl Iterator<Item = String>) -> Option<(String, Options)> {
    let name = words.next()?;
    let mut options = Options { frontdesk: "frontdesk".into(), agents: 1_000, rounds: 5, is_json: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--frontdesk" => options.frontdesk = words.next()?.into(),
            "--agents" => options.agents = words.next()?.parse().ok()?,
            "--rounds" => options.rounds = words.next()?.parse().ok()?,
            "--json" => options.is_json = true,
            _ => return None,
        }
    }
    Some((name, options))
}
