//! A customer's whole session in Rust, against the server that `frontdesk` starts without any configuration:
//!
//! ```text
//! frontdesk                                        # in another terminal; it says where the password is
//! cargo run --example client -- "$(cat frontdesk-data/demo-password)"
//! ```
//!
//! Every call may be made again by the client itself: kill the server meanwhile and start it again.

#![expect(clippy::print_stdout, reason = "what came is what it shows")]

use std::error::Error;
use std::time::Duration;

use frontdesk::client::{Client, Creation, Happened, NewSession, Part};
use frontdesk::session::PhaseName;
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let password = std::env::args().nth(1).ok_or("name the demo customer's password")?;
    let server = std::env::var("FRONTDESK_SERVER").unwrap_or_else(|_| "http://127.0.0.1:5500".into());
    let desk = Client::new(&server)?;
    let new = NewSession {
        email: "demo@example.com".into(),
        password: password.into(),
        persona: "CUSTOMERS".into(),
        data: None,
    };
    let (id, token) = match desk.create_session(&new, None).await? {
        Creation::Created(created) => (created.id, created.token),
        Creation::AlreadyRunning { session, token } => (session, token),
    };
    let desk = desk.with_token(token);
    let session = desk.initialize(id, Duration::from_secs(30)).await?;
    println!("session {id} is {:?}", session.phase);

    let request: Box<RawValue> = serde_json::from_str(r#"{"say": "hello", "output": ["one", "two"]}"#)?;
    let mut answer = desk.ask_in_parts(id, &request, None);
    while let Some(part) = answer.next().await? {
        match part {
            Part::Output(part) => println!("part {part}"),
            Part::Answer(answer) => println!("answer {answer}"),
        }
    }

    desk.stop(id, false).await?;
    desk.wait_for(id, PhaseName::Ended, Duration::from_secs(30)).await?;
    let mut events = desk.events(id, 0);
    while let Some(happened) = events.next().await? {
        match happened {
            Happened::Event(event) => println!("{} {} {}", event.number, event.kind, event.body),
            Happened::Gap(gap) => println!("events before {} are gone", gap.first),
        }
    }
    Ok(())
}
