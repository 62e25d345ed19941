//! A talkative agent: a request `{"count":N,"pace":P}` is answered at once, and then N events follow, P a second, or as
//! fast as they are taken if P is 0. Each says when it was written, in nanoseconds of the monotonic clock.

use std::io::{BufRead, Write};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

fn main() {
    let (input, mut output) = (std::io::stdin().lock(), std::io::BufWriter::new(std::io::stdout().lock()));
    for line in input.lines().map_while(Result::ok) {
        let call: Value = serde_json::from_str(&line).expect("a message in JSON");
        if call["method"] == "shutdown" {
            return;
        }
        if let Some(id) = call["id"].as_u64() {
            let _ = writeln!(output, "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
            let _ = output.flush();
        }
        let order = &call["params"]["REQUEST"];
        if let (Some(count), Some(pace)) = (order["count"].as_u64(), order["pace"].as_u64()) {
            talk(&mut output, count, pace);
        }
    }
}

fn talk(output: &mut impl Write, count: u64, pace: u64) {
    let begun = nanoseconds();
    for number in 0..count {
        let due = (number * 1_000_000_000).checked_div(pace).map_or(0, |after| begun + after);
        let early = due.saturating_sub(nanoseconds());
        if early > 0 {
            // What is due goes out before the next is waited for.
            let _ = output.flush();
            std::thread::sleep(Duration::from_nanos(early));
        }
        let written = nanoseconds();
        let said = writeln!(
            output,
            "{{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{{\"number\":{number},\"written\":{written}}}}}"
        );
        if said.is_err() {
            return;
        }
    }
    let _ = output.flush();
}

fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
