//! The built-in example of an agent: answers each request with what it was asked, counted. A new user's first agent,
//! and what the tests start.
//!
//! Special requests show what agents can do: `{"sleep_ms": N}` answers later and reports progress, `{"output": [..]}`
//! sends each element as a part of the answer first, `{"event": {..}}` tells of an event, `{"log": "text"}` writes to
//! the log, `{"fail": "text"}` answers with an error, `{"finish": "text"}` ends the session, `{"exit": N}` dies.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use frontdesk_agent::{Agent, Answer, Desk, Failure, Ready, Request, Session};

/// Serves until the desk says `shutdown` or closes stdin.
pub fn run() -> ExitCode {
    frontdesk_agent::run(Echo::default())
}

#[derive(Default)]
struct Echo {
    session_id: String,
    handled: AtomicU64,
}

/// What a special request asks for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Special {
    sleep_ms: u64,
    output: Vec<Value>,
    event: Option<Value>,
    log: Option<String>,
    fail: Option<String>,
    finish: Option<String>,
    exit: Option<u8>,
}

impl Agent for Echo {
    fn initialize(&mut self, session: Session, _: &Desk) -> Result<Ready, Failure> {
        self.session_id = session.session_id;
        Ok(Ready::named("echo"))
    }

    fn request(&self, request: &Request) -> Result<Answer, Failure> {
        let special: Special = request.read().unwrap_or_default();
        if let Some(code) = special.exit {
            std::process::exit(code.into());
        }
        sleep(request, special.sleep_ms)?;
        for part in &special.output {
            request.output(part);
        }
        if let Some(event) = &special.event {
            request.desk().event(event);
        }
        if let Some(text) = &special.log {
            request.desk().log(text);
        }
        if let Some(message) = special.fail {
            return Err(message.into());
        }
        let answer = self.echo(request)?;
        let Some(reason) = special.finish else { return Ok(answer) };
        request.answer(Ok(answer));
        request.desk().finished(&reason);
        Ok(Answer::sent_apart())
    }
}

impl Echo {
    /// The request as it came, to the byte.
    fn echo(&self, request: &Request) -> Result<Answer, Failure> {
        #[derive(serde::Serialize)]
        struct Echoed<'a> {
            echo: &'a RawValue,
            handled: u64,
            session: &'a str,
        }
        let handled = self.handled.fetch_add(1, Ordering::Relaxed) + 1;
        Answer::of(&Echoed { echo: request.value(), handled, session: &self.session_id })
    }
}

fn sleep(request: &Request, millis: u64) -> Result<(), Failure> {
    const STEPS: u64 = 4;
    if millis == 0 {
        return Ok(());
    }
    for step in 0..STEPS {
        request.desk().progress(&format!("{step} of {STEPS}"));
        if request.cancelled_within(Duration::from_millis(millis / STEPS)) {
            return Err("cancelled".into());
        }
    }
    Ok(())
}
