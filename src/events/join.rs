//! Parts of one request's answer as one record. Pure.
//!
//! Nothing but the moment of the later parts is lost: a record's body is an array of what the agent wrote, and only
//! parts that follow one another are joined, so that the order of everything stays.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::clock::WallTime;
use crate::id::Epoch;

use super::{Kind, NewEvent};

/// Bytes beyond which nothing is joined to a record.
const MOST_BYTES: usize = 256 << 10;

/// What becomes one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: Epoch,
    pub(super) kind: Kind,
    pub(super) at: WallTime,
    pub(super) body: Bytes,
}

/// Makes records of one session's events, in their order.
pub(super) fn join<'a>(events: impl Iterator<Item = (Epoch, &'a NewEvent)>) -> Vec<Record> {
    let mut records = Vec::new();
    let mut answer: Option<Answer<'_>> = None;
    for (epoch, event) in events {
        if event.kind == Kind::Output {
            let request = request(&event.body);
            match &mut answer {
                Some(answer) if answer.takes(epoch, request, event) => answer.push(event),
                _ => records.extend(answer.replace(Answer::begin(epoch, request, event)).map(Answer::end)),
            }
        } else {
            records.extend(answer.take().map(Answer::end));
            records.push(Record { epoch, kind: event.kind, at: event.at, body: event.body.clone() });
        }
    }
    records.extend(answer.map(Answer::end));
    records
}

/// Parts of the answer to one request.
struct Answer<'a> {
    epoch: Epoch,
    request: Option<&'a str>,
    at: WallTime,
    body: Vec<u8>,
}

impl<'a> Answer<'a> {
    fn begin(epoch: Epoch, request: Option<&'a str>, first: &NewEvent) -> Self {
        let mut body = Vec::with_capacity(first.body.len() + 2);
        body.push(b'[');
        body.extend_from_slice(&first.body);
        Self { epoch, request, at: first.at, body }
    }

    /// Whether the event is a further part; one that names no request is nobody's.
    fn takes(&self, epoch: Epoch, request: Option<&str>, event: &NewEvent) -> bool {
        let fits = self.body.len() + event.body.len() < MOST_BYTES;
        fits && self.epoch == epoch && request.is_some() && self.request == request
    }

    fn push(&mut self, event: &NewEvent) {
        self.body.push(b',');
        self.body.extend_from_slice(&event.body);
    }

    fn end(mut self) -> Record {
        self.body.push(b']');
        Record { epoch: self.epoch, kind: Kind::Output, at: self.at, body: self.body.into() }
    }
}

/// The request that a part answers, as the agent wrote its id.
fn request(body: &[u8]) -> Option<&str> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(rename = "ID", borrow)]
        id: Option<&'a RawValue>,
    }
    Some(serde_json::from_slice::<Params<'_>>(body).ok()?.id?.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_answer_that_follow_one_another_are_one_record() {
        let parts = [output(r#"{"ID":2,"PART":"hel"}"#), output(r#"{"ID": 2, "PART": "lo"}"#)];
        assert_eq!(bodies(&parts), [r#"[{"ID":2,"PART":"hel"},{"ID": 2, "PART": "lo"}]"#]);
    }

    #[test]
    fn a_single_part_is_an_array_too() {
        assert_eq!(bodies(&[output(r#"{"ID":2}"#)]), [r#"[{"ID":2}]"#]);
    }

    #[test]
    fn parts_of_other_answers_or_of_none_are_records_of_their_own() {
        let parts = [r#"{"ID":1}"#, r#"{"ID":2}"#, r#"{"ID":"2"}"#, r#"{"ID":1}"#, "{}", "{}", "7", "7"];
        let expected = parts.map(|part| format!("[{part}]"));
        assert_eq!(bodies(&parts.map(output)), expected);
    }

    #[test]
    fn another_event_stays_between_the_parts_around_it() {
        let log = NewEvent { kind: Kind::Log, ..output("{}") };
        let events = [output(r#"{"ID":1}"#), log, output(r#"{"ID":1}"#)];
        assert_eq!(bodies(&events), [r#"[{"ID":1}]"#, "{}", r#"[{"ID":1}]"#]);
    }

    #[test]
    fn parts_of_two_epochs_are_two_records_and_so_is_what_is_too_large_for_one() {
        let part = output(r#"{"ID":1}"#);
        assert_eq!(join([(Epoch(1), &part), (Epoch(2), &part)].into_iter()).len(), 2);
        let large = output(&format!(r#"{{"ID":1,"PART":"{}"}}"#, "x".repeat(MOST_BYTES / 2)));
        assert_eq!(bodies(&[large.clone(), large]).len(), 2);
    }

    fn bodies(events: &[NewEvent]) -> Vec<String> {
        let records = join(events.iter().map(|event| (Epoch(1), event)));
        records.into_iter().map(|record| String::from_utf8(record.body.to_vec()).unwrap()).collect()
    }

    fn output(body: &str) -> NewEvent {
        NewEvent { kind: Kind::Output, at: WallTime::from_unix_millis(1), body: body.to_owned().into() }
    }
}
