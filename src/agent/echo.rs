//! The built-in example of an agent: answers each request with what it was asked, counted. A new user's first agent,
//! and what the tests start.
//!
//! It is written as an agent's author would write one: blocking, a loop over stdin, no runtime. Special requests show
//! what agents can do: `{"sleep_ms": N}` answers later and reports progress, `{"fail": "text"}` answers with an error,
//! `{"finish": "text"}` ends the session, `{"exit": N}` dies.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A message from the desk.
#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(rename = "META_DATA")]
    meta: Option<Value>,
    #[serde(rename = "REQUEST", borrow)]
    request: Option<&'a RawValue>,
}

/// What a special request asks for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Special {
    sleep_ms: u64,
    fail: Option<String>,
    finish: Option<String>,
    exit: Option<u8>,
}

/// Serves until the desk says `shutdown` or closes stdin.
///
/// # Errors
/// What the system said when stdin or stdout failed.
pub fn run() -> io::Result<ExitCode> {
    let mut agent = Echo { out: io::stdout().lock(), session: Value::Null, handled: 0 };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let Ok(message) = serde_json::from_str::<Message<'_>>(&line) else {
            agent.tell("log", &json!({"TEXT": "a line that is no message"}))?;
            continue;
        };
        let params = message.params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
        match (message.method.as_str(), message.id) {
            ("initialize", Some(id)) => agent.initialize(id, params)?,
            ("request", Some(id)) => {
                if let Some(code) = agent.request(id, &params)? {
                    return Ok(code);
                }
            }
            ("ping", Some(id)) => agent.answer(id, "{}")?,
            ("shutdown", _) => break,
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Echo<W> {
    out: W,
    session: Value,
    handled: u64,
}

impl<W: Write> Echo<W> {
    fn initialize(&mut self, id: u64, params: Params<'_>) -> io::Result<()> {
        self.session = params.meta.map(|meta| meta["SESSION_ID"].clone()).unwrap_or_default();
        self.answer(id, r#"{"agent":"echo"}"#)
    }

    /// Answers one request; returns the exit code if it ends the agent.
    fn request(&mut self, id: u64, params: &Params<'_>) -> io::Result<Option<ExitCode>> {
        let request = params.request.map_or("null", RawValue::get);
        let special: Special = serde_json::from_str(request).unwrap_or_default();
        if let Some(code) = special.exit {
            return Ok(Some(ExitCode::from(code)));
        }
        self.sleep(special.sleep_ms)?;
        if let Some(message) = special.fail {
            let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32_000, "message": message}});
            self.line(&error.to_string())?;
            return Ok(None);
        }
        self.handled += 1;
        self.answer(id, &format!(r#"{{"echo":{request},"handled":{},"session":{}}}"#, self.handled, self.session))?;
        if let Some(reason) = special.finish {
            self.tell("finished", &json!({"OUTCOME": "completed", "REASON": reason}))?;
            return Ok(Some(ExitCode::SUCCESS));
        }
        Ok(None)
    }

    fn sleep(&mut self, millis: u64) -> io::Result<()> {
        const STEPS: u64 = 4;
        if millis == 0 {
            return Ok(());
        }
        for step in 0..STEPS {
            self.tell("progress", &json!({"DONE": step, "TOTAL": STEPS, "TEXT": format!("{step} of {STEPS}")}))?;
            std::thread::sleep(Duration::from_millis(millis / STEPS));
        }
        Ok(())
    }

    fn answer(&mut self, id: u64, result: &str) -> io::Result<()> {
        self.line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
    }

    fn tell(&mut self, method: &str, params: &Value) -> io::Result<()> {
        self.line(&json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string())
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }
}
