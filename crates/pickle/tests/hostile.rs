//! Pickles made to run code, to exhaust memory or to take forever: each is refused, and shortly so.
//!
//! That none of them overflows the stack or aborts shows by the tests ending at all; how much an
//! attack could gain is asserted on the output, never on the clock.

use std::iter::repeat_n;

use frontdesk_pickle::{Limits, PickleError, decode, to_json};

const MEGABYTE: usize = 1 << 20;
const LEVELS: usize = 200_000;

#[test]
fn every_hostile_pickle_is_refused_with_a_short_printable_message() {
    let corpus = corpus();

    for (name, pickle) in corpus {
        let error = to_json(&pickle, &Limits::default()).expect_err(name).to_string();

        assert!(error.len() < 600, "{name}: {error}");
        assert!(!error.contains(char::is_control), "{name}: {error}");
        assert!(!error.ends_with('.'), "{name}: {error}");
    }
}

#[test]
fn code_is_named_and_not_run() {
    for (pickle, expected) in [
        (&b"cos\nsystem\n(S'id'\ntR."[..], "the pickle imports `os.system`; only plain data is accepted"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "the pickle imports `os.system`; only plain data is accepted"),
        (b"(S'id'\nios\nsystem\n.", "the pickle imports `os.system`; only plain data is accepted"),
        (
            b"c\x1b[2J\xff\n\xe2\x80\xae'x\n.",
            "the pickle imports `\\u{1b}[2J\u{fffd}.\\u{202e}\\'x`; only plain data is accepted",
        ),
        (
            b"cbuiltins\nbytes\nJ\x00\xca\x9a\x3b\x85R.",
            "the pickle calls `builtins.bytes` in a way that no plain data needs; only plain data is accepted",
        ),
        (b"cbuiltins\nset\n.", "the pickle holds `builtins.set` itself as a value; only plain data is accepted"),
        (b"NN\x81.", "the pickle builds an object (opcode NEWOBJ); only plain data is accepted"),
    ] {
        let error = to_json(pickle, &Limits::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn nesting_is_refused_by_its_depth_and_allowed_up_to_it() {
    let limits = Limits::default();
    let too_deep = Err(PickleError::TooDeep { limit: limits.depth });

    for (name, nest) in nests() {
        assert_eq!(to_json(&nest(LEVELS), &limits), too_deep, "{name}");
        assert_eq!(to_json(&nest(limits.depth + 1), &limits), too_deep, "{name}");
        assert!(to_json(&nest(limits.depth / 3), &limits).is_ok(), "{name}");
    }
    assert!(to_json(&lists(limits.depth), &limits).is_ok());
}

#[test]
fn sharing_is_refused_once_it_would_grow_beyond_the_bound() {
    for (name, pickle) in sharing() {
        let result = to_json(&pickle, &Limits::default());

        assert!(
            matches!(result, Err(PickleError::TooMuchOutput { .. } | PickleError::TooManyValues { .. })),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn the_output_is_at_most_32_times_the_input_or_1_mib() {
    let text = vec![b'x'; MEGABYTE];
    let twenty = shared(&binunicode(&text), b"", 20);
    let forty = shared(&binunicode(&text), b"", 40);

    let json = to_json(&twenty, &Limits::default()).unwrap();
    assert!(json.len() > 20 * MEGABYTE);
    let error = to_json(&forty, &Limits::default()).unwrap_err();
    assert_eq!(error, PickleError::TooMuchOutput { limit: 32 * forty.len() });
}

#[test]
fn a_tuple_shared_within_itself_is_compared_as_a_key_in_no_time() {
    // ((((1,1),(..)),..) with 2^400 leaves, twice, as keys of the value that a later key replaces.
    let tower = b"K\x01".iter().copied().chain(b"2\x86".repeat(400)).collect::<Vec<u8>>();
    let pickle = [b"}U\x01a\x8f(", &tower[..], &tower[..], b"\x90sU\x01aNs."].concat();

    assert_eq!(to_json(&pickle, &Limits::default()), Ok(br#"{"a":null}"#.to_vec()));
    let kept = [b"\x8f(", &tower[..], &tower[..], b"\x90."].concat();
    assert!(to_json(&kept, &Limits::default()).is_err());
}

/// Every hostile pickle, by name.
pub(crate) fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let mut corpus = code();
    corpus.extend(nests().into_iter().map(|(name, nest)| (name, nest(LEVELS))));
    corpus.extend(sharing());
    corpus.extend(lengths());
    corpus.extend(floods());
    corpus
}

fn code() -> Vec<(&'static str, Vec<u8>)> {
    let cases: &[(&str, &[u8])] = &[
        ("GLOBAL", b"cos\nsystem\n(S'id'\ntR."),
        ("GLOBAL of a dotted name", b"\x80\x04cbuiltins\nset.__class__\n."),
        ("GLOBAL of an allowed name elsewhere", b"cos\nset\n]\x85R."),
        ("STACK_GLOBAL", b"\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."),
        ("STACK_GLOBAL from the memo", b"\x8c\x06system\x94\x8c\x02os\x940h\x01h\x00\x93\x8c\x02id\x85R."),
        ("INST", b"(S'id'\nios\nsystem\n."),
        ("OBJ", b"(cbuiltins\nset\no."),
        ("NEWOBJ", b"cbuiltins\nset\n)\x81."),
        ("NEWOBJ_EX", b"cbuiltins\nset\n)}\x92."),
        ("BUILD", b"}}b."),
        ("EXT1", b"\x82\x01."),
        ("EXT2", b"\x83\x01\x00."),
        ("EXT4", b"\x84\x01\x00\x00\x00."),
        ("PERSID", b"P1\n."),
        ("BINPERSID", b"NQ."),
        ("NEXT_BUFFER", b"\x97."),
        ("READONLY_BUFFER", b"C\x00\x98."),
        ("_reconstructor", b"ccopyreg\n_reconstructor\n(cos\nPathLike\nc__builtin__\nobject\nNtR."),
        ("getattr", b"cbuiltins\ngetattr\n(cbuiltins\nset\nVadd\ntR."),
        ("eval", b"c__builtin__\neval\n(V1\ntR."),
        ("another codec", b"c_codecs\nencode\n(Va\nVzlib\ntR."),
        ("utf-8 as codec", b"c_codecs\nencode\n(Va\nVutf-8\ntR."),
        ("no codec", b"c_codecs\nencode\n(Va\ntR."),
        ("too many arguments", b"c_codecs\nencode\n(Va\nVlatin1\nVstrict\ntR."),
        ("encode of bytes", b"c_codecs\nencode\n(C\x01aVlatin1\ntR."),
        ("encode of a wide character", b"c_codecs\nencode\n(V\\u0100\nVlatin1\ntR."),
        ("bytes of a length", b"cbuiltins\nbytes\nJ\x00\xca\x9a\x3b\x85R."),
        ("bytearray of a length", b"cbuiltins\nbytearray\nJ\x00\xca\x9a\x3b\x85R."),
        ("bytes of a text", b"cbuiltins\nbytes\nVa\nVlatin1\n\x86R."),
        ("set of nothing", b"cbuiltins\nset\n)R."),
        ("set of a text", b"cbuiltins\nset\nVabc\n\x85R."),
        ("set of itself", b"cbuiltins\nset\nq\x00h\x00\x85R."),
        ("set of functions", b"cbuiltins\nset\nq\x00]h\x00a\x85R."),
        ("a call of a call", b"cbuiltins\nset\n]\x85R)R."),
        ("a call of data", b"N)R."),
        ("arguments in a list", b"cbuiltins\nset\n]R."),
        ("a function as a value", b"cbuiltins\nset\n."),
        ("a function as a key", b"}cbuiltins\nset\nNs."),
    ];
    cases.iter().map(|&(name, pickle)| (name, pickle.to_vec())).collect()
}

type Nest = fn(usize) -> Vec<u8>;

/// Ways to nest to a given number of levels.
fn nests() -> Vec<(&'static str, Nest)> {
    vec![
        ("lists", lists),
        ("lists by mark", |n| wrap(b"(", b"l", n)),
        ("lists by APPENDS", |n| wrap(b"](", b"e", n)),
        ("tuples", |n| wrap(b"(", b"t", n)),
        ("TUPLE1", |n| wrap(b"", b"\x85", n)),
        ("TUPLE2", |n| wrap(b"N", b"\x86", n)),
        ("dicts", |n| wrap(b"}U\x01a", b"s", n)),
        ("dicts by mark", |n| wrap(b"(U\x01a", b"d", n)),
        ("dicts in keys", |n| wrap(b"}K\x01", b"s", n)),
        ("tuples in keys", |n| [b"}", &wrap(b"", b"\x85", n)[..n + 1], b"Ns."].concat()),
        ("tuples in sets", |n| [b"\x8f(", &wrap(b"", b"\x85", n)[..n + 1], b"\x90."].concat()),
        ("frozensets", |n| wrap(b"(", b"\x91", n)),
        ("frozensets by call", |n| wrap(b"cbuiltins\nfrozenset\n(]", b"atR", n)),
        ("frozensets of protocol 0", |n| wrap(b"c__builtin__\nfrozenset\n((l", b"atR", n)),
        ("through the memo", |n| {
            let levels = (0..n).flat_map(|_| b"0]h\x00aq\x00".to_vec());
            b"]q\x00".iter().copied().chain(levels).chain(*b".").collect()
        }),
    ]
}

fn lists(levels: usize) -> Vec<u8> {
    let inner = levels - 1;
    [&b"]".repeat(levels)[..], &b"a".repeat(inner), b"."].concat()
}

fn wrap(open: &[u8], close: &[u8], levels: usize) -> Vec<u8> {
    [&open.repeat(levels)[..], b"N", &close.repeat(levels), b"."].concat()
}

/// Small pickles that refer to the same values over and over.
fn sharing() -> Vec<(&'static str, Vec<u8>)> {
    let text = binunicode(&vec![b'x'; MEGABYTE]);
    let bytes = [&b"B\x00\x00\x10\x00"[..], &vec![0; MEGABYTE]].concat();
    let list = [&b"]("[..], &b"K\x01".repeat(MEGABYTE / 2), b"e"].concat();
    let encode = [&b"(c_codecs\nencode\n"[..], &text, b"\x8c\x06latin1\x86q\x000q\x010"].concat();
    vec![
        ("a text 5,000 times", shared(&text, b"", 5000)),
        ("a text as 5,000 values", shared_in_dict(&text)),
        ("bytes 5,000 times", shared(&bytes, b"", 5000)),
        ("a list 5,000 times", shared(&list, b"", 5000)),
        ("a list in 5,000 tuples", shared(&list, b"\x85", 5000)),
        ("encoded 5,000 times", [&encode[..], &b"h\x01h\x00R".repeat(5000), b"t."].concat()),
        ("laughs in lists", laughs(b"]N\x85a", b"]q\x01(", b"e")),
        ("laughs in tuples", laughs(b"N\x85", b"(", b"tq\x01")),
        ("laughs in dict values", laughs(b"}", b"}q\x01(", b"u")),
        ("laughs in sets", laughs(b"N\x85", b"(N(", b"t\x85\x91\x85q\x01")),
        ("laughs in keys", {
            let tower = [&b"K\x01"[..], &b"2\x86".repeat(400)].concat();
            [b"}", &tower[..], b"Ns."].concat()
        }),
        ("a text in 100 laughs", {
            let tower = [&text[..], &b"2\x86".repeat(100)].concat();
            [&tower[..], b"."].concat()
        }),
    ]
}

/// A list that holds one value many times.
fn shared(value: &[u8], after: &[u8], times: usize) -> Vec<u8> {
    let reference = [b"h\x00", after].concat();
    [b"(", value, b"q\x000", &reference.repeat(times), b"t."].concat()
}

fn shared_in_dict(value: &[u8]) -> Vec<u8> {
    let pairs = (0..5000u16).flat_map(|key| {
        let [low, high] = key.to_le_bytes();
        [b'M', low, high, b'h', 0]
    });
    [value, b"q\x000}(", &pairs.collect::<Vec<u8>>(), b"u."].concat()
}

/// Thirty containers, each of which holds the one before ten times.
fn laughs(first: &[u8], open: &[u8], close: &[u8]) -> Vec<u8> {
    let mut pickle = first.to_vec();
    for _ in 0..30 {
        pickle.extend_from_slice(b"q\x000");
        pickle.extend_from_slice(open);
        for key in 0..10 {
            if close == b"u" {
                pickle.extend_from_slice(&[b'U', 1, b'a' + key]);
            }
            pickle.extend_from_slice(b"h\x00");
        }
        pickle.extend_from_slice(close);
    }
    pickle.push(b'.');
    pickle
}

fn binunicode(text: &[u8]) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [b"X", &len.to_le_bytes()[..], text].concat()
}

/// Lengths that are declared and not there, and numbers without end.
fn lengths() -> Vec<(&'static str, Vec<u8>)> {
    let huge = |opcode: &[u8], len: &[u8]| [opcode, len, b"x."].concat();
    let digits = |open: &[u8], close: &[u8]| [open, &b"9".repeat(10 * MEGABYTE), close].concat();
    let long4 = [&b"\x8b\x00\x00\xa0\x00"[..], &[0x7f; 10 * MEGABYTE], b"."].concat();
    vec![
        ("BINUNICODE", huge(b"X", &[0xff; 4])),
        ("BINUNICODE8", huge(b"\x8d", &[0xff; 8])),
        ("BINBYTES", huge(b"B", &[0xff; 4])),
        ("BINBYTES8", huge(b"\x8e", &[0xff; 8])),
        ("BINBYTES8 of 2^40", huge(b"\x8e", &[0, 0, 0, 0, 0, 1, 0, 0])),
        ("BYTEARRAY8", huge(b"\x96", &[0xff; 8])),
        ("FRAME", huge(b"\x95", &[0xff; 8])),
        ("LONG4", huge(b"\x8b", &[0xff, 0xff, 0xff, 0x7f])),
        ("BINSTRING", huge(b"T", &[0xff, 0xff, 0xff, 0x7f])),
        ("10 MB of INT", digits(b"I", b"\n.")),
        ("10 MB of LONG", digits(b"L", b"L\n.")),
        ("10 MB of LONG4", long4),
        ("10 MB of FLOAT", digits(b"F", b"\n.")),
        ("10 MB of a memo number", digits(b"Np", b"\n.")),
        ("10 MB without a newline", digits(b"V", b"")),
    ]
}

/// A megabyte of one thing.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let flood = |first: &[u8], unit: &[u8], last: &[u8]| -> Vec<u8> {
        let units = repeat_n(unit, MEGABYTE / unit.len()).flatten().copied();
        first.iter().copied().chain(units).chain(last.iter().copied()).collect()
    };
    vec![
        ("marks", flood(b"", b"(", b"N.")),
        ("DUP", flood(b"N", b"2", b".")),
        ("POP", flood(b"N", b"0", b".")),
        ("POP_MARK", flood(b"(", b"1", b".")),
        ("empty lists", flood(b"", b"]", b".")),
        ("empty dicts", flood(b"", b"}", b".")),
        ("MEMOIZE", flood(b"N", b"\x94", b"N.")),
        ("sparse LONG_BINPUT", {
            let puts = (0..200_000u32).flat_map(|n| {
                let [a, b, c, d] = n.wrapping_mul(20_011).to_le_bytes();
                [b'r', a, b, c, d]
            });
            b"N".iter().copied().chain(puts).chain(*b"N.").collect()
        }),
        ("TUPLE1", flood(b"N", b"\x85", b".")),
        ("DUP and TUPLE2", flood(b"N", b"2\x86", b".")),
        ("DUP and TUPLE2 as a key", flood(b"}N", b"2\x86", b"Ns.")),
        ("a list made a set again and again", {
            let list = [&b"]("[..], &b"K\x01".repeat(MEGABYTE / 2), b"e\x85q\x00"].concat();
            let first = [&list[..], b"0cbuiltins\nset\nq\x010("].concat();
            [&first[..], &b"h\x01h\x00R".repeat(5000), b"t."].concat()
        }),
        ("frames", flood(b"", b"\x95\x00\x00\x00\x00\x00\x00\x00\x00", b".")),
        ("bytearrays of one text", {
            let call = b"cbuiltins\nbytearray\nq\x010(";
            let text = [&binunicode(&vec![b'x'; MEGABYTE])[..], b"U\x06latin1\x86q\x000"].concat();
            [&text[..], call, &b"h\x01h\x00R".repeat(5000), b"t."].concat()
        }),
        ("unhashable at the end of many keys", flood(b"\x8f(", b"K\x01\x85", b"]\x90.")),
        ("nothing", Vec::new()),
        ("zeros", vec![0; MEGABYTE]),
    ]
}

#[test]
fn the_memo_and_the_members_of_containers_are_bounded_by_the_number_of_values() {
    let limits = Limits { values: 1_000, ..Limits::default() };
    let too_many = Err(PickleError::TooManyValues { limit: 1_000 });
    let memoized = |times: usize| [&b"]"[..], &b"\x94".repeat(times), b"."].concat();
    let appended = |times: usize| [&b"]"[..], &b"Na".repeat(times), b"0]."].concat();

    assert!(to_json(&memoized(1_000), &limits).is_ok());
    assert_eq!(to_json(&memoized(1_001), &limits), too_many);
    assert!(to_json(&appended(3_000), &limits).is_ok());
    assert_eq!(to_json(&appended(3_001), &limits), too_many);
}

#[test]
fn a_pickle_whose_tables_find_no_memory_is_refused_before_they_have_grown() {
    let lists = [&b"("[..], &b"]".repeat(500_000), b"t."].concat();
    let keys: Vec<u8> = (0..300_000_u32).flat_map(|n| [b"J", &n.to_le_bytes()[..], b"N"].concat()).collect();
    let dict = [&b"("[..], &keys, b"d."].concat();
    for pickle in [lists, dict] {
        let mut most = 0;
        let mut reserve = |bytes| {
            most = bytes;
            true
        };
        assert!(decode(&pickle, &Limits::default(), &mut reserve).is_ok());
        assert!(most > 10 * MEGABYTE, "{most}");
        let refused = decode(&pickle, &Limits::default(), &mut |bytes| bytes < most / 2).err();
        assert_eq!(refused, Some(PickleError::NoMemory));
    }
}
