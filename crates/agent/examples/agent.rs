//! An agent for Frontdesk in Rust, small enough to copy:
//!
//! ```text
//! cargo build --package frontdesk-agent --example agent
//! frontdesk agent check target/debug/examples/agent
//! ```
//!
//! `{"say": "hello"}` is answered with a greeting; `{"count_to": 5}` takes a second a step, shows its progress, sends
//! each number ahead and stops when it is cancelled.

use std::process::ExitCode;
use std::time::Duration;

use frontdesk_agent::{Agent, Answer, Desk, Failure, Ready, Request, Session};
use serde::Deserialize;
use serde_json::json;

#[derive(Default)]
struct Greeter {
    email: String,
}

#[derive(Deserialize)]
struct Asked {
    say: Option<String>,
    count_to: Option<u32>,
}

impl Agent for Greeter {
    fn initialize(&mut self, session: Session, desk: &Desk) -> Result<Ready, Failure> {
        desk.log(&format!("serving {}, agent number {} of the session", session.email, session.epoch));
        self.email = session.email;
        Ok(Ready::named("greeter"))
    }

    fn request(&self, request: &Request) -> Result<Answer, Failure> {
        let asked: Asked = request.read()?;
        if let Some(most) = asked.count_to {
            return count(request, most);
        }
        Ok(json!({"say": asked.say, "to": self.email}).into())
    }
}

fn count(request: &Request, most: u32) -> Result<Answer, Failure> {
    for number in 1..=most {
        request.desk().progress(&format!("{number} of {most}"));
        request.output(&number);
        if request.cancelled_within(Duration::from_secs(1)) {
            return Err("cancelled".into());
        }
    }
    Ok(json!({"counted_to": most}).into())
}

fn main() -> ExitCode {
    frontdesk_agent::run(Greeter::default())
}
