//! The three runs, step by step.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::clock::Clock;

use super::conversation::{Conversation, Over};
use super::listener::Answer;
use super::peer::Start;
use super::{Finding, Options, Told};

/// The code of JSON-RPC for a call that is not known.
const UNKNOWN_METHOD: i64 = -32_601;
/// How long a second answer, or one to what wants none, may take to show.
const SETTLE: Duration = Duration::from_millis(300);
/// Requests that take less say nothing about whether several run at once.
const SHORTEST_TELLING: Duration = Duration::from_millis(200);
/// Text of a large request: past every usual buffer.
const LARGE_BYTES: usize = 1 << 20;

/// Everything that a check needs.
pub(super) struct Runs<'a> {
    pub(super) options: &'a Options,
    pub(super) starter: &'a mut dyn Start,
    pub(super) clock: &'a dyn Clock,
    pub(super) told: &'a mut dyn FnMut(Told),
}

impl Runs<'_> {
    /// All runs. What can't be started at all, or does not get ready, has one.
    pub(super) fn all(mut self) {
        if self.first().is_ok() {
            self.end_of_input();
            self.sigterm();
        }
    }

    fn first(&mut self) -> Result<(), Over> {
        let (options, clock) = (self.options, self.clock);
        let mut agent = self.start("a session", true)?;
        // An agent that fails here gets its other runs all the same: their outcome does not depend on it.
        if converse(&mut agent, options, clock).is_ok() {
            say_goodbye(&mut agent, options);
        }
        Ok(())
    }

    fn end_of_input(&mut self) {
        let timeout = self.options.timeout;
        let Ok(mut agent) = self.start("the end of stdin", false) else { return };
        agent.close_input();
        let finding = match agent.await_exit() {
            Some(_) => Finding::ok("the end of stdin alone ends it"),
            None => Finding::wrong(
                format!("the end of stdin alone does not end it within {}", humantime::format_duration(timeout)),
                "the end of stdin is to be treated as `shutdown`",
                "exit when a read of stdin finds its end",
            ),
        };
        agent.tell(finding);
    }

    fn sigterm(&mut self) {
        let timeout = self.options.timeout;
        let Ok(mut agent) = self.start("SIGTERM", false) else { return };
        agent.terminate();
        let finding = match agent.await_exit() {
            Some(_) => Finding::ok("SIGTERM ends it"),
            None => Finding::wrong(
                format!("SIGTERM does not end it within {}", humantime::format_duration(timeout)),
                "SIGTERM comes when `shutdown` was not heeded, and SIGKILL after it",
                "leave SIGTERM to its default, or exit when it was handled",
            ),
        };
        agent.tell(finding);
    }

    /// Starts the agent and has it initialised.
    fn start(&mut self, run: &'static str, is_first: bool) -> Result<Conversation<'_>, Over> {
        (self.told)(Told::Run(run));
        let peer = match self.starter.start() {
            Ok(peer) => peer,
            Err(why) => {
                (self.told)(Told::Found(Finding::wrong(
                    format!("it can't be started: {why}"),
                    "a command that runs: a path, or a name in PATH",
                    "check the path, and that the file is executable and its first line names its interpreter",
                )));
                return Err(Over);
            }
        };
        let mut agent = Conversation::new(peer, self.clock, self.options.timeout, self.told);
        if is_first {
            agent.tell(Finding::ok("it starts"));
        }
        let call = agent.call("initialize", &initialize(&self.options.data));
        let answer = agent.expect(call, "`initialize`")?;
        if let Some((_, words)) = answer.error {
            agent.tell(Finding::wrong(
                format!("it answers `initialize` with an error: {words}"),
                "a result once it is ready; an error is a failed start, and its message the reason",
                "see its log; if it needs DATA of some form, give it with --data",
            ));
            return Err(Over);
        }
        if is_first {
            agent.tell(Finding::ok("it answers `initialize`"));
        }
        Ok(agent)
    }
}

fn initialize(data: &RawValue) -> String {
    let meta = serde_json::json!({
        "EMAIL": "ada@example.org",
        "EPOCH": 1,
        "PERSONA_TYPE": "CHECK",
        "SESSION_ID": super::process::SESSION,
    });
    format!(r#"{{"META_DATA":{meta},"SESSION_DATA":{}}}"#, one_line(data))
}

/// JSON on one line: a raw line break stands between tokens only.
fn one_line(json: &RawValue) -> String {
    json.get().replace(['\r', '\n'], " ")
}

fn request(json: &str) -> String {
    format!(r#"{{"REQUEST":{json}}}"#)
}

fn converse(agent: &mut Conversation<'_>, options: &Options, clock: &dyn Clock) -> Result<(), Over> {
    ping(agent, "`ping`")?;
    agent.tell(Finding::ok("it answers `ping`"));
    unknown(agent, options.timeout)?;
    let mut slowest = Duration::ZERO;
    for json in &options.requests {
        slowest = slowest.max(one_request(agent, &one_line(json))?);
    }
    let json = options.requests.first().map_or_else(|| "null".to_owned(), |json| one_line(json));
    two_at_once(agent, &json, slowest)?;
    large(agent)?;
    cancel(agent, &json, slowest, clock)?;
    agent.settle(SETTLE);
    summarise(agent);
    if agent.has_ended() {
        agent.tell(Finding::wrong("it ended by itself", "it runs until `shutdown`, or says `finished`", "see its log"));
        return Err(Over);
    }
    Ok(())
}

fn ping(agent: &mut Conversation<'_>, named: &str) -> Result<(), Over> {
    let call = agent.call("ping", "{}");
    agent.expect(call, named).map(drop)
}

fn unknown(agent: &mut Conversation<'_>, timeout: Duration) -> Result<(), Over> {
    const ASKED: &str = "error -32601 to a call that the agent does not know, so that later versions can tell";
    const CHANGE: &str = r#"answer it with "error": {"code": -32601, "message": "unknown method"}"#;
    let call = agent.call("of_a_later_version", "{}");
    let finding = match agent.answer_within(call, timeout) {
        Some(Answer { error: Some((Some(UNKNOWN_METHOD), _)), .. }) => {
            Finding::ok("it answers an unknown call with error -32601")
        }
        Some(Answer { error: Some((code, _)), .. }) => {
            let code = code.map_or_else(|| "without a code".to_owned(), |code| code.to_string());
            Finding::wrong(format!("it answers an unknown call with error {code}"), ASKED, CHANGE)
        }
        Some(Answer { error: None, .. }) => {
            Finding::wrong("it answers an unknown call as if it knew it", ASKED, CHANGE)
        }
        // What has ended can't be asked on, and is explained as such.
        None if agent.has_ended() => return agent.expect(call, "an unknown call").map(drop),
        None => Finding::wrong("it does not answer an unknown call", ASKED, CHANGE),
    };
    agent.tell(finding);
    agent.notify("of_a_later_version", r#"{"ANY":[1]}"#);
    ping(agent, "a `ping` after an unknown notification")?;
    agent.tell(Finding::ok("it ignores an unknown notification"));
    Ok(())
}

/// Returns how long the answer took.
fn one_request(agent: &mut Conversation<'_>, json: &str) -> Result<Duration, Over> {
    let call = agent.call("request", &request(json));
    let shown = super::listener::quoted(json.as_bytes());
    let answer = agent.expect(call, &format!("the request {shown}"))?;
    agent.tell(match &answer.error {
        None => Finding::ok(format!("it answers the request {shown}")),
        Some((_, words)) => Finding::note(format!(
            "it answers the request {shown} with an error: {words}; to check with one that it knows, use --request"
        )),
    });
    Ok(answer.at.saturating_since(call.sent))
}

fn two_at_once(agent: &mut Conversation<'_>, json: &str, alone: Duration) -> Result<(), Over> {
    let calls = [agent.call("request", &request(json)), agent.call("request", &request(json))];
    let mut last = Duration::ZERO;
    for call in calls {
        let answer = agent.expect(call, "one of two requests in flight")?;
        last = last.max(answer.at.saturating_since(calls[0].sent));
    }
    agent.tell(Finding::ok("it answers two requests in flight, each by its `id`"));
    if is_one_after_the_other(alone, last) {
        agent.tell(Finding::note("it serves one request after the other: a long one holds up the rest"));
    }
    Ok(())
}

/// Whether two requests took so much longer than one alone that the second must have waited.
fn is_one_after_the_other(alone: Duration, both: Duration) -> bool {
    alone >= SHORTEST_TELLING && both >= alone.mul_f64(1.7)
}

fn large(agent: &mut Conversation<'_>) -> Result<(), Over> {
    let call = agent.call("request", &request(&large_json()));
    let named = "a request of 1 MiB with characters of all kinds";
    agent.expect(call, named)?;
    agent.tell(Finding::ok(format!("it answers {named}")));
    Ok(())
}

/// What readers trip over: long lines, line separators that are no line's end, escapes, characters of four bytes.
fn large_json() -> String {
    let special = "käse 漢字 \u{1f511} \u{2028}\u{2029}\u{85} \\n \\\\ \\\" \\u2028 \\ud83d\\udd11 \\u0000 \\/";
    format!(r#"{{"text":"{}","special":"{special}"}}"#, "0123456789abcdef".repeat(LARGE_BYTES / 16))
}

fn cancel(agent: &mut Conversation<'_>, json: &str, alone: Duration, clock: &dyn Clock) -> Result<(), Over> {
    let call = agent.call("request", &request(json));
    agent.cancel(call);
    let cancelled = clock.now();
    ping(agent, "a `ping` after `cancel`")?;
    agent.tell(Finding::ok("it goes on after the `cancel` of an open request"));
    if alone >= SHORTEST_TELLING
        && let Some(answer) = agent.answer_within(call, alone + SETTLE)
        && answer.error.is_none()
        && answer.at.saturating_since(cancelled) >= alone.mul_f64(0.7)
    {
        agent.tell(Finding::note("it works on after `cancel`, to the end: an answer that nobody waits for"));
    }
    agent.cancel(call.never_made());
    ping(agent, "a `ping` after `cancel` of an unknown request")?;
    agent.tell(Finding::ok("it ignores the `cancel` of a request that it does not have"));
    Ok(())
}

fn summarise(agent: &mut Conversation<'_>) {
    let (is_clean, is_paired) = (agent.listener().is_clean(), agent.listener().is_paired());
    if let Some(finding) = agent.listener().unquoted() {
        agent.tell(finding);
    }
    if is_clean {
        agent.tell(Finding::ok("it writes nothing but messages to stdout"));
    }
    if is_paired {
        agent.tell(Finding::ok("it answers each call once"));
    }
}

fn say_goodbye(agent: &mut Conversation<'_>, options: &Options) {
    agent.notify("shutdown", "{}");
    agent.close_input();
    let Some(exit) = agent.await_exit() else {
        agent.tell(Finding::wrong(
            format!("`shutdown` does not end it within {}", humantime::format_duration(options.timeout)),
            "it ends on `shutdown` and on the end of stdin; what does not is killed",
            "leave the loop over stdin and exit, also when threads or tasks still run",
        ));
        return;
    };
    agent.tell(Finding::ok("`shutdown` ends it"));
    if !exit.is_success {
        agent.tell(Finding::note(format!("after `shutdown` it {}", exit.words)));
    }
    let left = agent.left_behind();
    agent.tell(match left.as_slice() {
        [] => Finding::ok("it leaves nothing behind"),
        left => Finding::wrong(
            format!("it leaves processes behind: {}", left.join(", ")),
            "nothing of an agent outlives it: what is left is killed",
            "end what it has started, and wait for it, before it exits",
        ),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_requests_that_take_twice_as_long_as_one_are_served_one_after_the_other() {
        let millis = Duration::from_millis;
        assert!(is_one_after_the_other(millis(500), millis(1_000)));
        assert!(!is_one_after_the_other(millis(500), millis(520)));
        assert!(!is_one_after_the_other(millis(2), millis(9)), "too short to tell");
    }

    #[test]
    fn the_large_request_is_one_line_of_json() {
        let json = large_json();
        assert!(json.len() > LARGE_BYTES && !json.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(value["special"].as_str().unwrap().contains('\u{2028}'));
    }
}
