//! The hand of chaos: kills the server, its launcher, its shims and its agents, or holds them for a while.
//!
//! No session is touched so often that its end would be the restart policy's right.

use std::time::Duration;

use rustix::process::Signal;

use crate::clock::{Timestamp, boot_time};
use crate::id::SessionId;

use super::desk::Desk;
use super::dice::Dice;
use super::ledger::Ledger;
use super::processes::{Handle, Process, Role};

/// How often one session's processes may be touched: well below the losses that end a session.
const MOST_TOUCHES: u32 = 4;

/// The hand, and whom it holds.
#[derive(Debug)]
pub(super) struct Chaos<'a> {
    ledger: &'a Ledger,
    dice: Dice,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    handle: Handle,
    session: Option<SessionId>,
    until: Timestamp,
}

impl<'a> Chaos<'a> {
    /// A hand that holds nobody.
    pub(super) fn new(ledger: &'a Ledger, dice: Dice) -> Self {
        Self { ledger, dice, held: Vec::new() }
    }

    /// Strikes once, after a short while.
    pub(super) fn strike(&mut self, desk: &mut Desk) {
        std::thread::sleep(self.dice.millis(10, 250));
        self.let_go(|held| held.until <= boot_time());
        if desk.has_ended() {
            self.ledger.find("the server ended by itself; its log is server.log".to_owned());
            return self.restart(desk);
        }
        match self.dice.below(100) {
            0..10 => self.restart(desk),
            10..15 => self.launcher(desk),
            15..45 => self.of_a_session(desk, Signal::KILL, true),
            45..75 => self.of_a_session(desk, Signal::KILL, false),
            75..85 => self.of_a_session(desk, Signal::STOP, true),
            85..95 => self.of_a_session(desk, Signal::STOP, false),
            _ => self.hold_server(desk),
        }
    }

    /// Lets everybody go who is held, and sees to it that the server runs.
    pub(super) fn rest(&mut self, desk: &mut Desk) {
        self.let_go(|_| true);
        if desk.has_ended() {
            self.ledger.find("the server ended by itself; its log is server.log".to_owned());
            self.restart(desk);
        }
    }

    /// Kills the server and starts it again; sometimes kills it once more on its way.
    fn restart(&mut self, desk: &mut Desk) {
        loop {
            desk.kill();
            self.ledger.count(|tally| tally.servers += 1);
            if let Err(error) = desk.spawn() {
                return self.ledger.give_up(format!("the server could not be started again: {error}"));
            }
            if !self.dice.percent(25) {
                break;
            }
            std::thread::sleep(self.dice.millis(0, 100));
        }
        if let Err(error) = desk.await_ready() {
            self.ledger.give_up(format!("the server did not start again: {error}"));
        }
    }

    fn launcher(&mut self, desk: &Desk) {
        let launchers: Vec<_> =
            desk.marks().look().into_iter().filter(|process| process.role == Role::Launcher).collect();
        if let Some(launcher) = self.dice.pick(&launchers)
            && desk.marks().signal(*launcher, Signal::KILL).is_some()
        {
            self.ledger.count(|tally| tally.launchers += 1);
        }
    }

    fn hold_server(&mut self, desk: &Desk) {
        let Some(handle) = desk.handle() else { return };
        if handle.signal(Signal::STOP) {
            self.hold(handle, None, 500);
        }
    }

    /// Kills or holds the agent of a session, or its shim.
    fn of_a_session(&mut self, desk: &Desk, signal: Signal, shim: bool) {
        let all = desk.marks().look();
        let Some((session, agent)) = self.victim(&all) else { return };
        let process = if shim { all.iter().find(|process| process.pid == agent.parent) } else { Some(&agent) };
        let Some(process) = process.filter(|process| !shim || process.role == Role::Shim) else { return };
        self.ledger.touch(session);
        let hit = desk.marks().signal(*process, signal);
        if let Some(handle) = hit {
            if signal == Signal::STOP {
                return self.hold(handle, Some(session), 1_500);
            }
            self.ledger.count(|tally| if shim { tally.shims += 1 } else { tally.agents += 1 });
        }
        self.ledger.touch(session);
    }

    fn victim(&mut self, all: &[Process]) -> Option<(SessionId, Process)> {
        let agents: Vec<_> = all
            .iter()
            .filter_map(|process| match process.role {
                Role::Agent(session, _) => Some((session, *process)),
                Role::Server | Role::Launcher | Role::Shim => None,
            })
            .filter(|(session, _)| {
                let touches = self.ledger.touches(*session);
                touches.is_multiple_of(2) && touches < 2 * MOST_TOUCHES
            })
            .collect();
        self.dice.pick(&agents).copied()
    }

    fn hold(&mut self, handle: Handle, session: Option<SessionId>, longest: usize) {
        self.ledger.count(|tally| tally.held += 1);
        let until = boot_time() + self.dice.millis(20, longest).max(Duration::from_millis(20));
        self.held.push(Held { handle, session, until });
    }

    fn let_go(&mut self, whom: impl Fn(&Held) -> bool) {
        let ledger = self.ledger;
        self.held.retain(|held| {
            if !whom(held) {
                return true;
            }
            held.handle.signal(Signal::CONT);
            if let Some(session) = held.session {
                ledger.touch(session);
            }
            false
        });
    }
}

/// Nobody stays held, however the run ends.
impl Drop for Chaos<'_> {
    fn drop(&mut self) {
        self.let_go(|_| true);
    }
}
