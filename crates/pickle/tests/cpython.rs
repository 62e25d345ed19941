//! Pickles as `CPython` itself writes them, in every protocol, by both of its picklers.
//!
//! A Python process (standard library only) is the judge: it builds a generated value, pickles it,
//! and says which JSON is right, by a small converter of its own. Where a pickle was mutated, it
//! also reads the pickle, with an unpickler that imports nothing but the five plain functions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use frontdesk_pickle::{Limits, to_json};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn what_python_pickles_is_read_as_python_means_it() {
    let python = Python::start();

    run(300, &value(), |value| {
        let (expected, pickles) = python.pickle(&value);
        for pickle in pickles {
            let json = to_json(&pickle, &Limits::default());
            let json = json.map(|json| String::from_utf8(json).unwrap());
            // Of two shortest texts of one float, Python and Rust may choose differently; all else is the same text.
            let same = json.as_deref().is_ok_and(|json| json == expected || parse(json) == parse(&expected));
            prop_assert!(same, "{} {:?} {}", pickle.escape_ascii(), json, expected);
        }
        prop_assert!(is_json(&expected));
        Ok(())
    });
}

#[test]
fn chosen_values_are_read_in_every_protocol() {
    let python = Python::start();
    let bytes: String = (0..=255).map(|byte| format!("{byte:02x}")).collect();
    let values = [
        json!(["b", bytes]),
        json!(["b", bytes.repeat(300)]),
        json!(["B", bytes]),
        json!(["s", "a\\u0041\\\n\r\u{1a}\0\u{7f}\u{e9}\u{2028}\u{1f600}"]),
        json!(["s", "x".repeat(70_000)]),
        json!(["s", "\u{1f600}".repeat(20_000)]),
        json!(["i", format!("-{}", "9".repeat(4300))]),
        json!(["i", "-9223372036854775809"]),
        json!(["l", vec![json!(["i", "7"]); 2500]]),
        json!(["t", vec![json!(["s", "same"]); 1001]]),
        json!(["d", (0..2001).map(|n| json!([["i", n.to_string()], ["n"]])).collect::<Vec<_>>()]),
        json!(["S", (0..1500).map(|n| json!(["i", n.to_string()])).collect::<Vec<_>>()]),
        json!(["F", [["F", []], ["F", [["F", [["i", "1"]]]]], ["t", [["F", []]]]]]),
        json!(["l", [["b", ""], ["B", ""], ["b", ""], ["l", []], ["d", []], ["S", []], ["t", []]]]),
        json!(["l", [["l", []], ["r", 0], ["r", 0]]]),
        json!(["d", [[["s", "$"], ["n"]], [["s", "a"], ["n"]]]]),
        json!(["d", [[["i", "1"], ["n"]], [["b", "61"], ["n"]], [["f", "nan"], ["n"]]]]),
    ];
    for value in values {
        let (expected, pickles) = python.pickle(&value);
        assert_eq!(pickles.len(), 24);
        for pickle in pickles {
            let json = to_json(&pickle, &Limits::default()).unwrap();
            assert!(json == expected.as_bytes(), "{value} {}", pickle.escape_ascii());
        }
    }
}

#[test]
fn a_mutated_pickle_is_refused_or_means_what_it_means_to_python() {
    let python = Python::start();

    run(150, &(value(), mutations()), |(value, mutations)| {
        let (_, pickles) = python.pickle(&value);
        for mut pickle in pickles {
            for mutation in &mutations {
                mutation.apply(&mut pickle);
            }
            let Ok(ours) = to_json(&pickle, &Limits::default()) else {
                continue;
            };
            let ours = String::from_utf8(ours).unwrap();
            prop_assert!(is_json(&ours), "{}", ours);
            // Python itself refuses a few things that we need not, such as leading zeros.
            if let Some(theirs) = python.unpickle(&pickle) {
                let same = sorted(parse(&ours)) == sorted(parse(&theirs));
                prop_assert!(same, "{} {} {}", pickle.escape_ascii(), ours, theirs);
            }
        }
        Ok(())
    });
}

#[test]
fn random_opcodes_never_panic_and_never_make_invalid_json() {
    let opcode = prop::sample::select(OPCODES.to_vec());
    let pickle = prop::collection::vec(prop_oneof![4 => opcode, 1 => Just(&b"\x00"[..])], 0..60);
    let limits = Limits { depth: 20, values: 200, output_bytes: 2000, ..Limits::default() };

    run(20_000, &pickle, |parts| {
        if let Ok(json) = to_json(&[&parts.concat()[..], b"."].concat(), &limits) {
            prop_assert!(json.len() <= limits.output_bytes);
            let json = String::from_utf8(json).unwrap();
            prop_assert!(is_json(&json), "{}", json);
            prop_assert!(depth(&parse(&json)) <= limits.depth);
        }
        Ok(())
    });
}

#[test]
fn random_bytes_never_panic() {
    run(5_000, &prop::collection::vec(any::<u8>(), 0..200), |bytes| {
        let json = to_json(&bytes, &Limits::default());
        prop_assert!(json.is_err() || is_json(&String::from_utf8(json.unwrap()).unwrap()));
        Ok(())
    });
}

/// Whole opcodes, arguments included, of which random sequences often mean something.
const OPCODES: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"2",
    b"N",
    b"\x88",
    b"]",
    b"}",
    b")",
    b"\x8f",
    b"l",
    b"t",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x90",
    b"\x91",
    b"\x94",
    b"q\x00",
    b"q\x01",
    b"h\x00",
    b"h\x01",
    b"K\x01",
    b"I1\n",
    b"F1.0\n",
    b"F1.5\n",
    b"Fnan\n",
    b"U\x01a",
    b"U\x02$a",
    b"C\x01a",
    b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a",
    b"L99999999999999999999L\n",
    b"cbuiltins\nset\n",
    b"cbuiltins\nfrozenset\n",
    b"c_codecs\nencode\n",
    b"U\x06latin1",
    b"R",
    b"cbuiltins\nbytearray\n",
    b"cbuiltins\nbytes\n",
    b"(lp0\n",
    b"]\x85R",
];

fn run<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config).run(strategy, test).unwrap();
}

/// A value as the oracle builds it: a kind and its content; `["r", n]` is an earlier value again.
fn value() -> impl Strategy<Value = Value> {
    let pairs = |inner: BoxedStrategy<Value>| {
        prop::collection::vec((hashable(), inner), 0..6)
            .prop_map(|pairs| json!(["d", pairs.into_iter().map(|(k, v)| json!([k, v])).collect::<Vec<_>>()]))
    };
    let objects = |inner: BoxedStrategy<Value>| {
        prop::collection::vec((text(), inner), 0..6)
            .prop_map(|pairs| json!(["d", pairs.into_iter().map(|(k, v)| json!([["s", k], v])).collect::<Vec<_>>()]))
    };
    let leaf = prop_oneof![
        4 => scalar(),
        1 => bytes().prop_map(|hex| json!(["B", hex])),
        1 => prop::collection::vec(hashable(), 0..5).prop_map(|members| json!(["S", members])),
        2 => any::<u8>().prop_map(|number| json!(["r", number])),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let many = prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            many.clone().prop_map(|items| json!(["l", items])),
            many.prop_map(|items| json!(["t", items])),
            objects(inner.clone()),
            pairs(inner),
        ]
    })
}

fn hashable() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![6 => scalar(), 1 => any::<u8>().prop_map(|number| json!(["h", number]))];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let many = prop::collection::vec(inner, 0..4);
        prop_oneof![many.clone().prop_map(|items| json!(["t", items])), many.prop_map(|items| json!(["F", items])),]
    })
    .boxed()
}

fn scalar() -> impl Strategy<Value = Value> {
    let int = prop_oneof![
        any::<i8>().prop_map(|int| int.to_string()),
        any::<i32>().prop_map(|int| int.to_string()),
        any::<i128>().prop_map(|int| int.to_string()),
        "-?[1-9][0-9]{0,700}",
    ];
    let float = prop_oneof![
        any::<f64>().prop_map(|float| format!("{float:?}")),
        any::<i16>().prop_map(|float| format!("{:?}", f64::from(float))),
        prop::sample::select(vec!["inf", "-inf", "nan", "-0.0", "1e16", "0.0001", "1e-5", "1e300"])
            .prop_map(str::to_owned),
    ];
    prop_oneof![
        1 => Just(json!(["n"])),
        1 => any::<bool>().prop_map(|truth| json!(["o", truth])),
        3 => int.prop_map(|digits| json!(["i", digits])),
        2 => float.prop_map(|text| json!(["f", text])),
        3 => text().prop_map(|text| json!(["s", text])),
        2 => bytes().prop_map(|hex| json!(["b", hex])),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,2}",
        "\\$[a-c]{0,2}",
        ".{0,8}",
        prop::collection::vec(any::<char>(), 0..5).prop_map(|chars| chars.into_iter().collect()),
        "[\\x00-\\x1f\\\\\"'u0]{0,8}",
    ]
}

/// As hexadecimal digits.
fn bytes() -> impl Strategy<Value = String> {
    let bytes = prop::collection::vec(any::<u8>(), 0..12);
    bytes.prop_map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, &'static [u8]),
    Swap(prop::sample::Index, prop::sample::Index),
}

impl Mutation {
    fn apply(&self, pickle: &mut Vec<u8>) {
        let len = pickle.len();
        if len == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => pickle[at.index(len)] = *byte,
            Self::Remove(at) => drop(pickle.remove(at.index(len))),
            Self::Insert(at, opcode) => {
                let at = at.index(len);
                drop(pickle.splice(at..at, opcode.iter().copied()));
            }
            Self::Swap(a, b) => pickle.swap(a.index(len), b.index(len)),
        }
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let place = any::<prop::sample::Index>;
    let mutation = prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        place().prop_map(Mutation::Remove),
        (place(), prop::sample::select(OPCODES.to_vec())).prop_map(|(at, op)| Mutation::Insert(at, op)),
        (place(), place()).prop_map(|(a, b)| Mutation::Swap(a, b)),
    ];
    prop::collection::vec(mutation, 1..4)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(&narrow(text)).is_ok()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(&narrow(text)).unwrap()
}

/// The text with long runs of digits cut: JSON allows numbers of any length, but `serde_json` none
/// that is too large for a float.
fn narrow(text: &str) -> String {
    let mut digits = 0;
    let kept = text.chars().filter(|character| {
        digits = if character.is_ascii_digit() { digits + 1 } else { 0 };
        digits <= 300
    });
    kept.collect()
}

/// The same JSON with the members of sets in one order, since Python's sets have none.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| {
                let mut value = sorted(value);
                if let (true, Value::Array(items)) = (key == "$set", &mut value) {
                    items.sort_by_key(Value::to_string);
                }
                (key, value)
            });
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The oracle: one line of JSON in, one line out.
struct Python {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Python {
    fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-I", "-u", "-c", include_str!("oracle.py")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pipes = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, pipes: Mutex::new(pipes) }
    }

    /// The right JSON of a value, and its pickles: six protocols, two picklers, optimised or not.
    fn pickle(&self, value: &Value) -> (String, Vec<Vec<u8>>) {
        let answer = self.ask(&json!({ "pickle": value }));
        let hex = |pickle: &Value| unhex(pickle.as_str().unwrap());
        let pickles = answer["pickles"].as_array().unwrap().iter().map(hex).collect();
        (answer["json"].as_str().unwrap().to_owned(), pickles)
    }

    /// The JSON of what Python reads from a pickle, if it reads it at all.
    fn unpickle(&self, pickle: &[u8]) -> Option<String> {
        let hex: String = pickle.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = self.ask(&json!({ "unpickle": hex }));
        answer["json"].as_str().map(str::to_owned)
    }

    fn ask(&self, question: &Value) -> Value {
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.0, "{question}").unwrap();
        let mut line = String::new();
        pipes.1.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
