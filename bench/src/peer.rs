//! Beside the seed's contract as a small Python service (`bench/peer/server.py`), which keeps everything in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::calls::{Creations, PERSONA, statuses};
use crate::customers::Customers;
use crate::desk::{Desk, persona};
use crate::load::{Load, run};
use crate::program::Program;
use crate::report::{Goal, Row};
use crate::turns::turns;
use crate::{Report, Setting, note};

const CONNECTIONS: usize = 32;

/// In these rows the floor is the peer. Both ask the same credential server.
pub fn measure(setting: &Setting, customers: &mut Customers, report: &mut Report) {
    let scale = &setting.scale;
    let desk = Desk::start(setting, &persona(PERSONA, "frontdesk-bench-agent", ""));
    let mut command = Command::new(directory().join("bin/python"));
    command.arg(source().join("server.py")).arg(desk.credentials().to_string());
    let peer = Program::start(command);
    let load = |address| Load::closed(address, CONNECTIONS, scale.turn);
    let create = |address, next: &mut u64| {
        let (outcome, scripts) = run(&load(address), Creations::split(*next..u64::MAX, false));
        *next = Creations::next_of(&scripts);
        outcome.rate()
    };
    let (mut ours, mut theirs) = (0, 0);
    let (peers, rates) =
        turns(scale.repeats, |_| create(peer.address(), &mut theirs), |_| create(desk.address, &mut ours));
    let row = |name: &str, values| Row::new("peer", &format!("{name}, {CONNECTIONS} connections"), "calls/s", values);
    report.row(row("creations, the same credential server", rates).floor(peers).goal(Goal::RatioAtLeast(15.0)));

    customers.sign_in_all();
    let (peers, rates) =
        turns(scale.repeats, |_| create(peer.address(), &mut theirs), |_| customers.create(CONNECTIONS, None).rate());
    report.row(row("creations, embedded and remembered", rates).floor(peers).goal(Goal::RatioAtLeast(50.0)));

    let status = |address| run(&load(address), statuses(ours.min(theirs))).0.rate();
    let (peers, rates) = turns(scale.repeats, |_| status(peer.address()), |_| status(desk.address));
    report.row(row("GET /sessionSTATUS", rates).floor(peers).goal(Goal::RatioAtLeast(12.0)));
}

/// Installs what the peer needs, unless that was done.
pub fn install() -> Result<(), String> {
    let (wanted, there) = (source().join("requirements.txt"), directory().join("requirements.txt"));
    let read = |path: &Path| std::fs::read(path).ok();
    if read(&wanted) == read(&there) {
        return Ok(());
    }
    note("installing the peer from PyPI");
    let _ = std::fs::remove_dir_all(directory());
    let pip = directory().join("bin/pip");
    let options = ["install", "--quiet", "--disable-pip-version-check", "--timeout", "15", "--retries", "2", "-r"];
    done(Command::new("python3").args(["-m", "venv"]).arg(directory()))?;
    done(Command::new(pip).args(options).arg(&wanted))?;
    std::fs::copy(&wanted, &there).map(|_| ()).map_err(|error| format!("{} was not written: {error}", there.display()))
}

fn done(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} ended with {status}")),
        Err(error) => Err(format!("{command:?} was not started: {error}")),
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peer")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peer")
}
