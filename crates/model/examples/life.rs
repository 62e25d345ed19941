//! The life of a session, step by step: it is initialised, runs, and is stopped.

use std::io::Write;
use std::time::Duration;

use frontdesk_model::id::Epoch;
use frontdesk_model::machine::{Event, Limits, step};
use frontdesk_model::phase::Phase;
use frontdesk_model::reason::Reason;
use frontdesk_model::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> std::io::Result<()> {
    let limits = Limits {
        pending_timeout: 10 * MINUTE,
        start_timeout: MINUTE,
        start_attempts: 3,
        idle_timeout: None,
        max_lifetime: None,
        stop_grace: MINUTE,
    };
    let (mut now, epoch) = (Timestamp::from_micros(0), Epoch(1));
    let deadline = now + limits.pending_timeout;
    let mut phase = Phase::Pending { deadline, epoch: Epoch(0), failed_starts: 0, last_failure: None };
    let events = [
        Event::Initialise,
        Event::AgentReady { epoch },
        Event::Stop { force: false, reason: Reason::new("stopped by its customer") },
        Event::AgentGone { epoch },
    ];
    let mut out = std::io::stdout();
    for event in events {
        now = now + MINUTE / 2;
        let next = step(&phase, &event, &limits, now).map_err(std::io::Error::other)?;
        writeln!(out, "{} -> {}, then {:?}", phase.name(), next.phase.name(), next.effects)?;
        phase = next.phase;
    }
    Ok(())
}
