//! What an author may rely on, over streams in memory.

use std::io::{Cursor, Read};
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use super::*;

/// What the agent under test does with a request, by the request's word.
struct Sample {
    waiting: Mutex<mpsc::Sender<Request>>,
}

impl Agent for Sample {
    fn initialize(&mut self, session: Session, _: &Desk) -> Result<Ready, Failure> {
        match session.read_data::<Value>()?["refuse"].as_str() {
            Some(why) => Err(why.into()),
            None => Ok(Ready::named(&session.email)),
        }
    }

    fn request(&self, request: &Request) -> Result<Answer, Failure> {
        match request.read::<String>()?.as_str() {
            "panic" => panic!("as it was told"),
            "wait" => {
                request.desk().progress("waiting");
                assert!(request.cancelled_within(Duration::from_secs(60)));
                Err("cancelled".into())
            }
            "parts" => {
                request.output(&"hel");
                request.answer(Answer::of(&"hello"));
                request.output(&"too late");
                request.desk().finished("all done");
                Ok(json!("a second answer").into())
            }
            "elsewhere" => {
                self.waiting.lock().unwrap().send(request.clone()).unwrap();
                Ok(Answer::sent_apart())
            }
            "lines" => Ok(serde_json::value::RawValue::from_string("[1,\n2]".to_owned()).unwrap().into()),
            other => Ok(json!(other).into()),
        }
    }
}

/// What is written under a lock, to be read by the test.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    fn lines(&self) -> Vec<Value> {
        self.0.lock().unwrap().lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }
}

/// Serves these lines; requests that are to be answered elsewhere are answered with their number by another thread.
fn serve_lines(input: impl Read + Send + 'static) -> Vec<Value> {
    let (waiting, to_answer) = mpsc::channel::<Request>();
    let elsewhere = std::thread::spawn(move || {
        for request in to_answer {
            request.answer(Answer::of(&request.id()));
        }
    });
    let output = Output::default();
    serve(Sample { waiting: Mutex::new(waiting) }, BufReader::new(input), output.clone()).unwrap();
    elsewhere.join().unwrap();
    output.lines()
}

fn served(lines: &[Value]) -> Vec<Value> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    serve_lines(Cursor::new(text))
}

fn initialize(data: &Value) -> Value {
    let meta = json!({"EMAIL": "ada@example.org", "PERSONA_TYPE": "P", "SESSION_ID": "s", "EPOCH": 1});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"META_DATA": meta, "SESSION_DATA": data}})
}

fn request(id: u64, request: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "request", "params": {"REQUEST": request.into()}})
}

fn answer_to(id: u64, lines: &[Value]) -> Value {
    let mut answers = lines.iter().filter(|line| line["id"] == id);
    let answer = answers.next().unwrap_or_else(|| panic!("no answer to {id} in {lines:?}"));
    assert_eq!(answers.next(), None, "two answers to {id}");
    answer.clone()
}

#[test]
fn requests_are_answered_by_their_numbers_and_before_the_end() {
    let lines = served(&[initialize(&json!({})), request(2, "a"), request(3, "b")]);
    assert_eq!(answer_to(1, &lines)["result"], json!({"name": "ada@example.org"}));
    assert_eq!(answer_to(2, &lines)["result"], "a");
    assert_eq!(answer_to(3, &lines)["result"], "b");
}

#[test]
fn an_agent_that_can_t_start_says_why_and_takes_no_requests() {
    let lines = served(&[initialize(&json!({"refuse": "no fuel"})), request(2, "a")]);
    assert_eq!(answer_to(1, &lines)["error"]["message"], "no fuel");
    assert_eq!(answer_to(2, &lines)["error"]["message"], "a request before initialize");
}

#[test]
fn large_data_is_read_from_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"refuse":"read"}"#).unwrap();
    let mut initialize = initialize(&json!(null));
    initialize["params"].as_object_mut().unwrap().remove("SESSION_DATA");
    initialize["params"]["SESSION_DATA_FILE"] = json!(file.path());
    assert_eq!(answer_to(1, &served(&[initialize]))["error"]["message"], "read");
}

#[test]
fn a_panic_and_a_request_of_another_form_are_answered_with_errors() {
    let lines = served(&[initialize(&json!({})), request(2, "panic"), request(3, 3)]);
    assert_eq!(answer_to(2, &lines)["error"]["code"], Failure::INTERNAL);
    assert_eq!(answer_to(3, &lines)["error"]["code"], Failure::BAD_FORM);
}

#[test]
fn a_cancelled_request_hears_of_it() {
    let cancel = json!({"jsonrpc": "2.0", "method": "cancel", "params": {"ID": 2}});
    let unknown = json!({"jsonrpc": "2.0", "method": "cancel", "params": {"ID": 77}});
    let lines = served(&[initialize(&json!({})), request(2, "wait"), unknown, cancel]);
    assert_eq!(answer_to(2, &lines)["error"]["message"], "cancelled");
}

#[test]
fn the_first_answer_counts_with_its_parts_before_it() {
    let lines = served(&[initialize(&json!({})), request(2, "parts")]);
    let told = [
        json!({"jsonrpc": "2.0", "method": "output", "params": {"ID": 2, "PART": "hel"}}),
        json!({"jsonrpc": "2.0", "id": 2, "result": "hello"}),
        json!({"jsonrpc": "2.0", "method": "finished", "params": {"OUTCOME": "completed", "REASON": "all done"}}),
    ];
    // The loop may end before the thread that says `finished` after its answer.
    assert_eq!(lines[1..3], told[..2]);
    assert!(lines[3..].iter().all(|line| *line == told[2]));
}

#[test]
fn another_thread_may_answer() {
    let lines = served(&[initialize(&json!({})), request(2, "elsewhere")]);
    assert_eq!(answer_to(2, &lines)["result"], 2);
}

#[test]
fn pings_and_what_is_unknown_are_seen_to() {
    let ping = json!({"jsonrpc": "2.0", "id": 5, "method": "ping", "params": {}});
    let call = json!({"jsonrpc": "2.0", "id": 6, "method": "of the future"});
    let notification = json!({"jsonrpc": "2.0", "method": "of the future"});
    let lines = served(&[ping, call, notification, json!([])]);
    assert_eq!(answer_to(5, &lines)["result"], json!({}));
    assert_eq!(answer_to(6, &lines)["error"]["code"], Failure::UNKNOWN_METHOD);
    assert_eq!(lines[2], json!({"jsonrpc": "2.0", "method": "log", "params": {"TEXT": "a line that is no message"}}));
    assert_eq!(lines.len(), 3);
}

#[test]
fn what_comes_after_shutdown_is_not_read() {
    let shutdown = json!({"jsonrpc": "2.0", "method": "shutdown", "params": {}});
    assert_eq!(served(&[initialize(&json!({})), shutdown, request(2, "a")]).len(), 1);
}

#[test]
fn an_answer_of_several_lines_is_sent_as_one() {
    let lines = served(&[initialize(&json!({})), request(2, "lines")]);
    assert_eq!(answer_to(2, &lines)["result"], json!([1, 2]));
}
