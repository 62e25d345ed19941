//! A flood: several large keyed requests at once to an agent that is held and then killed.
//!
//! The pipe of a held agent takes a part of one such request at most. So the agent can have got one of them, and of all
//! others the server knows that it has not: those are answered by the next agent, and never with "unknown".

use std::time::Duration;

use rustix::process::Signal;

use crate::id::SessionId;

use super::super::connection::Connection;
use super::super::ledger::Ledger;
use super::super::processes::{self, Marks, Process, Role};
use super::{BURST, Customer, Keyed, Known, Session, ask_at_once, ask_keyed, large};

/// How long the requests have to reach the server while the agent is held.
const TO_ARRIVE: Duration = Duration::from_millis(150);

/// What a flood came to.
#[derive(Debug)]
pub(super) struct Flood {
    session: SessionId,
    /// The number of its first request.
    first: u64,
    /// How often the session had been touched once the flood was over.
    touches: u32,
    /// How many servers had been killed before it. One that is killed between storing an agent's loss and withdrawing its
    /// requests leaves it unknown what the agent got.
    servers: usize,
    /// How many of its requests were answered with "unknown".
    unknown: u32,
}

impl Customer {
    /// Floods the session's agent, unless chaos is at it.
    pub(super) fn flood(&mut self, connection: &Connection, ledger: &Ledger, marks: &Marks, session: Session) -> Known {
        let id = session.id;
        let agent = marks.look().into_iter().find(|process| matches!(process.role, Role::Agent(of, _) if of == id));
        let Some((agent, touches)) = agent.and_then(|agent| Some((agent, ledger.touch_untouched(id)?))) else {
            return Known::Running(session);
        };
        let first = self.next + 1;
        self.next += BURST;
        let (mut was_held, servers) = (false, ledger.tally().servers);
        let answers = ask_at_once(
            connection,
            first,
            |connection, number| ask_keyed(connection, &self.email, &session, number, &large(number)),
            |ask| was_held = hold_and_kill(ledger, marks, agent, ask),
        );
        ledger.touch(id);
        (self.last, self.unknown) = (None, 0);
        self.flood = was_held.then_some(Flood { session: id, first, touches: touches + 2, servers, unknown: 0 });
        for (number, answer) in (first..).zip(answers) {
            let mut keyed = Keyed::new(id, number, large(number));
            match answer {
                Some(answer) => self.hear(&mut keyed, ledger, &answer),
                None => ledger.count(|tally| tally.lost += 1),
            }
            self.keyed.push(keyed);
        }
        Known::Running(session)
    }

    /// Finds a second request of a flood whose outcome the server calls unknown.
    pub(super) fn judge_flood(&mut self, ledger: &Ledger, keyed: &Keyed, status: u16) {
        let Some(flood) = &mut self.flood else { return };
        let is_of_it = flood.session == keyed.session && (flood.first..flood.first + BURST).contains(&keyed.number);
        // Chaos may have had the next agent since, or the shim.
        let is_undisturbed = ledger.touches(flood.session) == flood.touches && ledger.tally().servers == flood.servers;
        if status != 502 || !is_of_it || !is_undisturbed {
            return;
        }
        flood.unknown += 1;
        if flood.unknown == 2 {
            ledger.find(format!(
                "{}: two requests of session {} are said to be with an agent that can have got one: {} to {}",
                self.email,
                flood.session,
                flood.first,
                flood.first + BURST - 1
            ));
        }
    }
}

/// Asks while the agent is held, and kills it once the requests should be there. Returns whether it was held when the
/// first was sent.
fn hold_and_kill(ledger: &Ledger, marks: &Marks, agent: Process, ask: impl FnOnce()) -> bool {
    let handle = marks.signal(agent, Signal::STOP);
    let is_held = handle.is_some() && is_held_soon(agent.pid);
    ask();
    if let Some(held) = handle {
        std::thread::sleep(TO_ARRIVE);
        held.signal(Signal::KILL);
        ledger.count(|tally| {
            tally.held += 1;
            tally.agents += 1;
        });
    }
    is_held
}

/// Waits until a process that was told to stop has stopped; false if it does not in a second.
fn is_held_soon(pid: u32) -> bool {
    for _ in 0..100 {
        if processes::is_held(pid) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
