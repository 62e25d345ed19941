//! The hand of chaos: kills the server, its launcher, its shims and its agents, or holds them for a while.
//!
//! Blows are dealt like cards: first one of each kind, then from decks in which each kind has its share. So chance
//! decides about order and victims, and never leaves a kind out. No session is touched so often that its end would be
//! the restart policy's right.

use std::time::Duration;

use rustix::process::Signal;

use crate::clock::{Timestamp, boot_time};
use crate::id::SessionId;

use super::checks;
use super::desk::Desk;
use super::dice::Dice;
use super::ledger::Ledger;
use super::processes::{Handle, Process, Role};

/// What may befall a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    RestartServer,
    HoldServer,
    KillLauncher,
    KillShim,
    HoldShim,
    KillAgent,
    HoldAgent,
}

impl Blow {
    /// Each kind, and how many of it are in a deck.
    const SHARES: [(Self, usize); 7] = [
        (Self::RestartServer, 2),
        (Self::HoldServer, 1),
        (Self::KillLauncher, 1),
        (Self::KillShim, 6),
        (Self::HoldShim, 2),
        (Self::KillAgent, 6),
        (Self::HoldAgent, 2),
    ];
}

/// The blows to come.
#[derive(Debug)]
struct Deck {
    /// The next one last.
    blows: Vec<Blow>,
    /// Kinds of which none has fallen yet.
    owed: Vec<Blow>,
}

impl Deck {
    fn new(dice: &mut Dice) -> Self {
        let mut blows: Vec<_> = Blow::SHARES.iter().map(|(blow, _)| *blow).collect();
        dice.shuffle(&mut blows);
        Self { owed: blows.clone(), blows }
    }

    fn deal(&mut self, dice: &mut Dice) -> Blow {
        self.fill(dice);
        self.blows.pop().expect("a filled deck has cards")
    }

    fn has_fallen(&mut self, blow: Blow) {
        self.owed.retain(|owed| *owed != blow);
    }

    /// The blow found nobody: it is dealt again when all others were.
    fn put_back(&mut self, blow: Blow, dice: &mut Dice) {
        self.fill(dice);
        self.blows.insert(0, blow);
    }

    fn fill(&mut self, dice: &mut Dice) {
        if self.blows.is_empty() {
            self.blows = Blow::SHARES.iter().flat_map(|(blow, share)| vec![*blow; *share]).collect();
            dice.shuffle(&mut self.blows);
        }
    }
}

/// The hand, and whom it holds.
#[derive(Debug)]
pub(super) struct Chaos<'a> {
    ledger: &'a Ledger,
    dice: Dice,
    deck: Deck,
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
    pub(super) fn new(ledger: &'a Ledger, mut dice: Dice) -> Self {
        let deck = Deck::new(&mut dice);
        Self { ledger, dice, deck, held: Vec::new() }
    }

    /// Whether blows of every kind have fallen.
    pub(super) fn has_struck_in_every_way(&self) -> bool {
        self.deck.owed.is_empty()
    }

    /// Strikes once, after a short while.
    pub(super) fn strike(&mut self, desk: &mut Desk) {
        std::thread::sleep(self.dice.millis(10, 250));
        self.let_go(|held| held.until <= boot_time());
        if desk.has_ended() {
            self.ledger.find("the server ended by itself; its log is server.log".to_owned());
            return self.restart(desk);
        }
        let blow = self.deck.deal(&mut self.dice);
        let has_fallen = match blow {
            Blow::RestartServer => {
                self.restart(desk);
                true
            }
            Blow::HoldServer => self.hold_server(desk),
            Blow::KillLauncher => self.launcher(desk),
            Blow::KillShim => self.of_a_session(desk, Signal::KILL, true),
            Blow::HoldShim => self.of_a_session(desk, Signal::STOP, true),
            Blow::KillAgent => self.of_a_session(desk, Signal::KILL, false),
            Blow::HoldAgent => self.of_a_session(desk, Signal::STOP, false),
        };
        if has_fallen {
            self.deck.has_fallen(blow);
        } else {
            self.deck.put_back(blow, &mut self.dice);
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
        // A start removes what its predecessor left, so the check comes before some of the kills, and not before others.
        if self.dice.percent(50) && !desk.has_ended() {
            self.let_go(|_| true);
            checks::directories_of(&self.ledger.take_ended(), &desk.data())
                .into_iter()
                .for_each(|one| self.ledger.find(one));
        }
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

    /// Whether there was one to kill.
    fn launcher(&mut self, desk: &Desk) -> bool {
        let launchers: Vec<_> =
            desk.marks().look().into_iter().filter(|process| process.role == Role::Launcher).collect();
        let launcher = self.dice.pick(&launchers);
        let is_hit = launcher.is_some_and(|launcher| desk.marks().signal(*launcher, Signal::KILL).is_some());
        if is_hit {
            self.ledger.count(|tally| tally.launchers += 1);
        }
        is_hit
    }

    /// Whether there was one to hold.
    fn hold_server(&mut self, desk: &Desk) -> bool {
        let Some(handle) = desk.handle().filter(|handle| handle.signal(Signal::STOP)) else { return false };
        self.hold(handle, None, 3_000);
        true
    }

    /// Kills or holds the agent of a session, or its shim; whether there was one.
    fn of_a_session(&mut self, desk: &Desk, signal: Signal, shim: bool) -> bool {
        let all = desk.marks().look();
        let Some((session, agent)) = self.victim(&all) else { return false };
        let process = if shim { all.iter().find(|process| process.pid == agent.parent) } else { Some(&agent) };
        let Some(process) = process.filter(|process| !shim || process.role == Role::Shim) else { return false };
        // A customer may have been quicker.
        if self.ledger.touch_untouched(session).is_none() {
            return false;
        }
        match desk.marks().signal(*process, signal) {
            // It counts as touched until it is let go.
            Some(handle) if signal == Signal::STOP => {
                self.hold(handle, Some(session), if shim { 1_500 } else { 3_000 });
                true
            }
            hit => {
                if hit.is_some() {
                    self.ledger.count(|tally| if shim { tally.shims += 1 } else { tally.agents += 1 });
                }
                self.ledger.touch(session);
                hit.is_some()
            }
        }
    }

    fn victim(&mut self, all: &[Process]) -> Option<(SessionId, Process)> {
        let agents: Vec<_> = all
            .iter()
            .filter_map(|process| match process.role {
                Role::Agent(session, _) => Some((session, *process)),
                Role::Server | Role::Launcher | Role::Spare | Role::Shim => None,
            })
            .filter(|(session, _)| self.ledger.is_untouched(*session))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hand_has_each_kind_of_blow_and_every_deck_after_it_its_share_of_each() {
        let mut dice = Dice::new(3);
        let mut deck = Deck::new(&mut dice);
        let mut deal = |many: usize| (0..many).map(|_| deck.deal(&mut dice)).collect::<Vec<_>>();
        let first = deal(Blow::SHARES.len());
        assert!(Blow::SHARES.iter().all(|(blow, _)| first.contains(blow)), "{first:?}");
        let whole = deal(Blow::SHARES.iter().map(|(_, share)| share).sum());
        for (blow, share) in Blow::SHARES {
            assert_eq!(whole.iter().filter(|dealt| **dealt == blow).count(), share, "{blow:?}");
        }
    }

    #[test]
    fn a_blow_that_finds_nobody_is_dealt_again_after_the_others() {
        let mut dice = Dice::new(4);
        let mut deck = Deck::new(&mut dice);
        let missed = deck.deal(&mut dice);
        deck.put_back(missed, &mut dice);
        for _ in 1..Blow::SHARES.len() {
            let other = deck.deal(&mut dice);
            assert_ne!(other, missed);
            deck.has_fallen(other);
        }
        assert_eq!((deck.owed.clone(), deck.deal(&mut dice)), (vec![missed], missed));
        deck.put_back(missed, &mut dice);
        assert!(deck.blows.len() > 1, "it holds up the others");
    }
}
