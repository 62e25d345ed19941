//! What goes to the agent's stdin: lines of servers, each at most once and each whole, and at the end a last word.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::line::Line;

/// What a speaking agent is told before its stdin closes.
const SHUTDOWN: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"shutdown\",\"params\":{}}\n";
/// Lines that may wait. Each server may have one with the agent; more are of servers that went away meanwhile.
const MOST_WAITING: usize = 4;

/// A connection, so that a line is reported to the server that sent it and to no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender(pub(super) u64);

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It will be written, whatever happens to the server.
    Accepted,
    /// It can be reported as taken at once: its call was seen before, or nobody reads it.
    Taken,
    /// The server breaks the rules: it has another line with the agent, or too many servers before had.
    Refused,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    sender: Sender,
    line: Line,
}

/// The agent's stdin.
#[derive(Debug)]
pub(super) struct Input {
    stdin: Option<File>,
    waiting: VecDeque<Waiting>,
    last_call: u64,
    last_begun: u64,
    is_ending: bool,
}

impl Input {
    /// Takes the writing end of the agent's stdin, which must not block; nothing for an agent that does not listen.
    pub(super) fn new(stdin: Option<OwnedFd>) -> Self {
        Self { stdin: stdin.map(File::from), waiting: VecDeque::new(), last_call: 0, last_begun: 0, is_ending: false }
    }

    /// The highest number of a call that was accepted.
    pub(super) fn last_call(&self) -> u64 {
        self.last_call
    }

    /// The highest number of a call of which the agent's stdin took at least one byte.
    pub(super) fn last_begun(&self) -> u64 {
        self.last_begun
    }

    /// The descriptor to be waited for, if there is something to write.
    pub(super) fn wants(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Whether the agent would get a line of this number: its call was not seen before, and somebody reads it.
    pub(super) fn wants_line(&self, number: u64) -> bool {
        (number == 0 || number > self.last_call) && self.stdin.is_some() && !self.is_ending
    }

    /// Decides about a line that has come completely. Zero is the number of notifications.
    pub(super) fn accept(&mut self, number: u64, sender: Sender, line: Line) -> Verdict {
        if !self.wants_line(number) {
            return Verdict::Taken;
        }
        if self.waiting.len() >= MOST_WAITING || self.waiting.iter().any(|waiting| waiting.sender == sender) {
            return Verdict::Refused;
        }
        self.last_call = self.last_call.max(number);
        self.waiting.push_back(Waiting { number, sender, line });
        Verdict::Accepted
    }

    /// Puts the last word behind what waits; after it stdin closes.
    pub(super) fn end(&mut self) {
        if !self.is_ending {
            self.is_ending = true;
            self.waiting.push_back(Waiting { number: 0, sender: Sender(0), line: Line::of_text(SHUTDOWN) });
        }
    }

    /// Writes as much as the agent takes at the moment; reports each line that it has.
    pub(super) fn write(&mut self, mut taken: impl FnMut(u64, Sender)) {
        let Some(stdin) = &mut self.stdin else { return };
        while let Some(waiting) = self.waiting.front_mut() {
            let written = waiting.line.write_to(stdin);
            if waiting.line.has_begun() {
                self.last_begun = self.last_begun.max(waiting.number);
            }
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // An agent that has closed its stdin gets nothing more; its servers need not wait for it.
                Ok(()) | Err(_) => {}
            }
            taken(waiting.number, waiting.sender);
            self.waiting.pop_front();
        }
        if self.is_ending {
            self.stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const FIRST: Sender = Sender(1);
    const SECOND: Sender = Sender(2);

    fn input() -> (Input, File) {
        let (agent, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        (Input::new(Some(ours)), agent.into())
    }

    fn read(agent: &mut File) -> String {
        let mut buffer = [0; 200];
        let count = agent.read(&mut buffer).unwrap_or(0);
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    fn line(text: &str) -> Line {
        Line::of_text(text)
    }

    fn write(input: &mut Input) -> Vec<u64> {
        let mut numbers = Vec::new();
        input.write(|number, _| numbers.push(number));
        numbers
    }

    #[test]
    fn a_call_is_written_at_most_once_and_a_notification_always() {
        let (mut input, mut agent) = input();
        for (number, verdict) in [
            (2, Verdict::Accepted),
            (2, Verdict::Taken),
            (1, Verdict::Taken),
            (0, Verdict::Accepted),
            (0, Verdict::Accepted),
            (3, Verdict::Accepted),
        ] {
            assert_eq!(input.accept(number, FIRST, line(&format!("{number} "))), verdict);
            write(&mut input);
        }
        assert_eq!((read(&mut agent).as_str(), input.last_call()), ("2 0 0 3 ", 3));
    }

    #[test]
    fn a_server_may_have_one_line_with_the_agent_and_the_next_server_another() {
        let (mut input, mut agent) = input();
        assert_eq!(input.accept(1, FIRST, line("1 ")), Verdict::Accepted);
        assert_eq!(input.accept(2, FIRST, line("2 ")), Verdict::Refused);
        assert_eq!(input.accept(2, SECOND, line("2 ")), Verdict::Accepted);
        assert_eq!(write(&mut input), [1, 2]);
        assert_eq!(read(&mut agent), "1 2 ");
        assert_eq!(input.accept(3, FIRST, line("3 ")), Verdict::Accepted);
    }

    #[test]
    fn lines_of_servers_that_went_away_are_bounded() {
        let (mut input, _agent) = input();
        for number in 1..=4 {
            assert_eq!(input.accept(number, Sender(number), line("x")), Verdict::Accepted);
        }
        assert_eq!(input.accept(5, Sender(5), line("x")), Verdict::Refused);
        assert_eq!(input.last_call(), 4);
    }

    #[test]
    fn the_last_word_stands_behind_what_waits_and_nothing_follows_it() {
        let (mut input, mut agent) = input();
        input.accept(1, FIRST, line("1\n"));
        input.end();
        input.end();
        assert_eq!(input.accept(2, SECOND, line("2\n")), Verdict::Taken);
        assert_eq!(write(&mut input), [1, 0]);
        assert_eq!((read(&mut agent), input.last_call()), (format!("1\n{SHUTDOWN}"), 1));
        assert_eq!(agent.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn an_agent_that_has_closed_its_stdin_keeps_no_server_waiting() {
        let (mut input, agent) = input();
        drop(agent);
        input.accept(1, FIRST, line("1\n"));
        assert_eq!(write(&mut input), [1]);
    }

    #[test]
    fn a_line_has_begun_once_the_pipe_took_a_byte_of_it_and_not_if_the_agent_ended_first() {
        let (mut input, agent) = input();
        input.accept(1, FIRST, line(&"x".repeat(1 << 20)));
        assert_eq!((write(&mut input).len(), input.last_begun()), (0, 1));
        input.accept(2, SECOND, line("2\n"));
        drop(agent);
        assert_eq!((write(&mut input), input.last_begun()), (vec![1, 2], 1));
    }
}
