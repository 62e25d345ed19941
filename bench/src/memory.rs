//! Memory: of a pending session, of a running one, of a connection that idles. Anonymous memory only, which a process has
//! to itself.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::calls::PERSONA;
use crate::client::{Client, in_parallel};
use crate::desk::{Desk, persona};
use crate::process::{anonymous_bytes, parent, raise_open_files};
use crate::report::{Goal, Row};
use crate::stored::Stored;
use crate::{Report, Setting};

const KIB: f64 = 1_024.0;

/// What all sessions took while they were created.
pub fn pending(stored: &Stored, report: &mut Report) {
    let bytes = stored.bytes_a_session - stored.email_bytes();
    let name = format!("a pending session above its email, of {}", stored.sessions.len());
    report.row(Row::new("memory", &name, "bytes", vec![bytes]).goal(Goal::AtMost(250.0)));
}

/// Sessions with an agent each, and connections that have had one answer.
pub fn running_and_idle(setting: &Setting, report: &mut Report) {
    let scale = &setting.scale;
    let desk = Desk::start(setting, &persona(PERSONA, "frontdesk-bench-agent", ""));
    let mut client = Client::new(desk.address);
    let create = |client: &mut Client, number| client.create(&format!("running{number}@example.org"), PERSONA);
    let first = create(&mut client, 0);
    client.initialise(&first);
    let sessions: Vec<_> = (1..=scale.running).map(|number| create(&mut client, number)).collect();
    let before = anonymous_bytes(desk.pid());
    in_parallel(desk.address, &sessions, 16, Client::initialise);
    let grown = anonymous_bytes(desk.pid()) as f64 - before as f64;
    let name = format!("the server's part in a running session, of {}", scale.running);
    let row = Row::new("memory", &name, "KiB", vec![grown / KIB / scale.running as f64]);
    report.row(row.goal(Goal::AtMost(16.0)));

    let shims = sessions.iter().map(|session| {
        let agent = client.agent(session).expect("an agent that says its process");
        anonymous_bytes(parent(agent)) as f64 / KIB
    });
    report.row(Row::new("memory", "the shim of a running session", "KiB", shims.collect()).goal(Goal::AtMost(1_024.0)));

    raise_open_files();
    let open = |count: usize| (0..count).map(|_| Idle::open(&desk)).collect::<Vec<_>>();
    let few = open(scale.idle / 10);
    let before = anonymous_bytes(desk.pid());
    let many = open(scale.idle);
    let grown = anonymous_bytes(desk.pid()) as f64 - before as f64;
    let row = Row::new(
        "memory",
        &format!("an idle connection, of {}", many.len()),
        "KiB",
        vec![grown / KIB / many.len() as f64],
    );
    report.row(row.goal(Goal::AtMost(20.0)));
    drop((few, many));
}

struct Idle {
    _stream: TcpStream,
}

impl Idle {
    fn open(desk: &Desk) -> Self {
        let mut stream = TcpStream::connect(desk.address).expect("a server that listens");
        stream.write_all(b"GET /serverRunning HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("a connection");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("an answer");
        assert!(line.contains(" 200 "), "refused: {line}");
        Self { _stream: stream }
    }
}
