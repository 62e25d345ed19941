//! Events of a talkative agent: each is stored, and then goes to every reader.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::client::{Client, Session};
use crate::desk::{Desk, persona};
use crate::load::Histogram;
use crate::report::{Goal, Row};
use crate::{Report, Setting};

/// A little faster than the goal, so that the last event's way does not count.
const EVENTS_A_SECOND: u64 = 2_200;
/// The goal.
const GOAL: f64 = 2_000.0;

/// The goal's readers.
const READERS: f64 = 100.0;

/// There is no floor: the goal is a number. At its own pace the agent says as much as it is let.
pub fn measure(setting: &Setting, report: &mut Report) {
    let scale = &setting.scale;
    let desk = Desk::start(setting, &persona("TALKER", "frontdesk-bench-talker", ""));
    let mut client = Client::new(desk.address);
    let count = (EVENTS_A_SECOND as f64 * scale.talk.as_secs_f64()) as u64;
    for (name, pace) in [("at 2,200/s", EVENTS_A_SECOND), ("as fast as they go", 0)] {
        let session = client.create(&format!("talker{pace}@example.org"), "TALKER");
        client.initialise(&session);
        let readers: Vec<_> = (0..scale.readers).map_while(|_| Reader::open(desk.address, &session)).collect();
        let taken = readers.len();
        let heard = follow(&desk, &session, readers, count, pace);
        client.stop(&session);
        let row = |what: &str, unit, value| {
            Row::new("events", &format!("{what}, {name}, {taken} readers"), unit, vec![value])
        };
        let rate = row("stored and read by all", "events/s", count as f64 / heard.seconds);
        if pace > 0 {
            let most = Row::new("events", "readers that one session takes", "readers", vec![taken as f64]);
            report.row(most.goal(Goal::AtLeast(READERS)));
            report.row(rate.goal(Goal::AtLeast(GOAL)));
            report.row(row("p50 from agent to reader", "ms", heard.delays.at(0.5) / 1e6));
            report.row(row("p99 from agent to reader", "ms", heard.delays.at(0.99) / 1e6));
        } else {
            report.row(rate);
        }
        report.row(row("lost or out of order", "events", heard.missed as f64).goal(Goal::AtMost(0.0)));
    }
}

/// What readers have heard.
#[derive(Default)]
struct Heard {
    /// Numbers that did not follow the one before, over all readers, and events that never came.
    missed: u64,
    /// From the first event's writing to the last one's arrival at the slowest reader.
    seconds: f64,
    delays: Histogram,
}

fn follow(desk: &Desk, session: &Session, readers: Vec<Reader>, count: u64, pace: u64) -> Heard {
    let each = std::thread::scope(|scope| {
        let reading: Vec<_> = readers.into_iter().map(|reader| scope.spawn(move || reader.read(count))).collect();
        let path = format!("/v1/sessions/{}/requests", session.id);
        let order = format!("{{\"count\":{count},\"pace\":{pace}}}");
        Client::new(desk.address).expect("POST", &path, &session.token, &format!("{{\"request\":{order}}}"));
        let heard = reading.into_iter().map(|reader| reader.join().expect("a reader that ends"));
        heard.collect::<Vec<_>>()
    });
    each.into_iter().fold(Heard::default(), |mut all, heard| {
        all.missed += heard.missed;
        all.seconds = all.seconds.max(heard.seconds);
        all.delays.merge(&heard.delays);
        all
    })
}

struct Reader {
    stream: BufReader<TcpStream>,
}

impl Reader {
    /// Follows the session; the stream has begun once this returns. Nothing if there are as many readers as may be.
    /// HTTP/1.0, which has no chunks to take apart.
    fn open(address: SocketAddr, session: &Session) -> Option<Self> {
        let stream = TcpStream::connect(address).expect("a server that listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let mut stream = BufReader::with_capacity(1 << 16, stream);
        let (id, token) = (&session.id, &session.token);
        let request = format!(
            "GET /v1/sessions/{id}/events HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.get_mut().write_all(request.as_bytes()).expect("a connection");
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        assert!(line.contains(" 200 ") || line.contains(" 503 "), "the stream was refused: {line}");
        line.contains(" 200 ").then_some(Self { stream })
    }

    fn read(mut self, count: u64) -> Heard {
        let (mut heard, mut line) = (Heard::default(), Vec::new());
        let (mut last, mut said, mut first) = (0, 0, None);
        while said < count {
            line.clear();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(read) if read > 0 => {}
                // It ended, or nothing came for half a minute.
                _ => break,
            }
            if let Some(number) = line.strip_prefix(b"id: ").or(line.strip_prefix(b"id:")) {
                let number = digits(number);
                heard.missed += u64::from(number != last + 1);
                last = number;
            } else if let Some(written) = after(&line, b"\"written\":") {
                let delay = nanoseconds().saturating_sub(digits(written));
                heard.delays.add(delay);
                first.get_or_insert_with(|| digits(written));
                said += 1;
            }
        }
        heard.missed += count - said;
        heard.seconds = first.map_or(f64::NAN, |first| nanoseconds().saturating_sub(first) as f64 / 1e9);
        heard
    }
}

fn after<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let place = line.windows(wanted.len()).position(|window| window == wanted)?;
    Some(&line[place + wanted.len()..])
}

fn digits(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |value, byte| value * 10 + u64::from(byte - b'0'))
}

/// The clock that the agent reads, too.
fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
