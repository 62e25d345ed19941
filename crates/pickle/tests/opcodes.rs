//! What each opcode of a pickle becomes in JSON, and which malformed pickles are refused.
//!
//! The pickles are written by hand, opcode by opcode, after `CPython`'s `pickletools.py`. That real
//! pickles of every protocol are read is the matter of `cpython.rs`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use frontdesk_pickle::{Limits, PickleError, to_json};

#[test]
fn plain_values_have_an_opcode_each() {
    check(&[
        (b"N.", "null"),
        (b"\x88.", "true"),
        (b"\x89.", "false"),
        (b"I01\n.", "true"),
        (b"I00\n.", "false"),
        (b"I1\n.", "1"),
        (b"I-12\n.", "-12"),
        (b"I123456789012345678901234567890\n.", "123456789012345678901234567890"),
        (b"L5L\n.", "5"),
        (b"L5\n.", "5"),
        (b"L-9223372036854775809L\n.", "-9223372036854775809"),
        (b"J\xff\xff\xff\xff.", "-1"),
        (b"J\x00\x00\x01\x00.", "65536"),
        (b"K\xff.", "255"),
        (b"M\xff\xff.", "65535"),
        (b"\x8a\x00.", "0"),
        (b"\x8a\x01\xff.", "-1"),
        (b"\x8a\x02\xff\x00.", "255"),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", "18446744073709551616"),
        (b"\x8b\x01\x00\x00\x00\x80.", "-128"),
        (b"C\x02\xff\x00.", r#"{"$bytes":"/wA="}"#),
        (b"B\x01\x00\x00\x00a.", r#"{"$bytes":"YQ=="}"#),
        (b"\x8e\x03\x00\x00\x00\x00\x00\x00\x00abc.", r#"{"$bytes":"YWJj"}"#),
        (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", r#"{"$bytes":"YQ=="}"#),
    ]);
}

#[test]
fn a_float_stays_a_float_and_reads_back_as_the_same() {
    check(&[
        (b"F1.5\n.", "1.5"),
        (b"F1\n.", "1.0"),
        (b"F-0.0\n.", "-0.0"),
        (b"F1e+16\n.", "1e16"),
        (b"F1e-07\n.", "1e-7"),
        (b"F5e-324\n.", "5e-324"),
        (b"Finf\n.", r#"{"$float":"inf"}"#),
        (b"F-inf\n.", r#"{"$float":"-inf"}"#),
        (b"Fnan\n.", r#"{"$float":"nan"}"#),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5"),
        (b"G\x3f\xb9\x99\x99\x99\x99\x99\x9a.", "0.1"),
        (b"G\xff\xf0\x00\x00\x00\x00\x00\x00.", r#"{"$float":"-inf"}"#),
        (b"G\xff\xf8\x00\x00\x00\x00\x00\x01.", r#"{"$float":"nan"}"#),
    ]);
}

#[test]
fn every_way_to_write_a_text_is_utf8_or_its_escapes() {
    check(&[
        (b"S'it\\'s \\xc3\\xa9'\n.", r#""it's é""#),
        (b"S\"a\\\\b\\n\"\n.", r#""a\\b\n""#),
        (b"T\x02\x00\x00\x00\xc3\xa9.", r#""é""#),
        (b"U\x02\xc3\xa9.", r#""é""#),
        (b"V\xe9\\u1234\\U0001f600\n.", "\"é\u{1234}\u{1f600}\""),
        (b"X\x04\x00\x00\x00\xf0\x9f\x98\x80.", "\"\u{1f600}\""),
        (b"\x8c\x03\x00\x1f\x7f.", "\"\\u0000\\u001f\x7f\""),
        (b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00\"\\/.", r#""\"\\/""#),
        (b"\x8c\x03\xe2\x80\xa8.", "\"\u{2028}\""),
    ]);
}

#[test]
fn containers_are_built_from_the_stack() {
    check(&[
        (b").", "[]"),
        (b"(t.", "[]"),
        (b"(NNt.", "[null,null]"),
        (b"N\x85.", "[null]"),
        (b"NK\x01\x86.", "[null,1]"),
        (b"NK\x01K\x02\x87.", "[null,1,2]"),
        (b"].", "[]"),
        (b"(K\x01K\x02l.", "[1,2]"),
        (b"]K\x01a(K\x02K\x03e.", "[1,2,3]"),
        (b"](e.", "[]"),
        (b"}.", "{}"),
        (b"(U\x01aK\x01d.", r#"{"a":1}"#),
        (b"}U\x01aK\x01s(U\x01bK\x02U\x01cK\x03u.", r#"{"a":1,"b":2,"c":3}"#),
        (b"\x8f.", r#"{"$set":[]}"#),
        (b"\x8f(K\x02K\x01\x90.", r#"{"$set":[2,1]}"#),
        (b"(K\x01\x91.", r#"{"$set":[1]}"#),
    ]);
}

#[test]
fn the_layout_and_the_memo_leave_no_trace() {
    check(&[
        (b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", "null"),
        (b"(K\x01q\x00h\x00j\x00\x00\x00\x00g0\nt.", "[1,1,1,1]"),
        (b"(K\x01p7\nr\xff\xff\xff\xffg7\nj\xff\xff\xff\xfft.", "[1,1,1]"),
        (b"(K\x01\x94K\x02\x94h\x00h\x01t.", "[1,2,1,2]"),
        (b"K\x01p4000000000\n0g4000000000\n.", "1"),
        (b"NK\x010.", "null"),
        (b"N(KaKb1.", "null"),
        (b"N(0.", "null"),
        (b"(K\x012t.", "[1,1]"),
    ]);
}

#[test]
fn a_container_may_change_after_it_was_shared() {
    check(&[
        (b"(]q\x00h\x00K\x01at.", "[[1],[1]]"),
        (b"(}q\x00h\x00U\x01aK\x01st.", r#"[{"a":1},{"a":1}]"#),
        (b"(\x8fq\x00h\x00(K\x01\x90t.", r#"[{"$set":[1]},{"$set":[1]}]"#),
        // The set has the members that the list had at the time.
        (b"(cbuiltins\nset\n]K\x01aq\x00\x85Rh\x00K\x02at.", r#"[{"$set":[1]},[1,2]]"#),
    ]);
}

#[test]
fn the_calls_that_python_writes_for_plain_data_are_carried_out() {
    check(&[
        (b"c__builtin__\nbytes\n)R.", r#"{"$bytes":""}"#),
        (b"cbuiltins\nbytes\n(tR.", r#"{"$bytes":""}"#),
        (b"c_codecs\nencode\n(Va\xff\nVlatin1\ntR.", r#"{"$bytes":"Yf8="}"#),
        (b"\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01a\x8c\x06latin1\x86R.", r#"{"$bytes":"YQ=="}"#),
        (b"c__builtin__\nbytearray\n)R.", r#"{"$bytes":""}"#),
        (b"cbuiltins\nbytearray\nC\x01a\x85R.", r#"{"$bytes":"YQ=="}"#),
        (b"c__builtin__\nbytearray\n(Va\xff\nS'latin-1'\ntR.", r#"{"$bytes":"Yf8="}"#),
        (b"c__builtin__\nset\n((lI2\naI1\natR.", r#"{"$set":[2,1]}"#),
        (b"cbuiltins\nfrozenset\n]\x85R.", r#"{"$set":[]}"#),
    ]);
}

#[test]
fn pickles_of_python_2_are_read() {
    check(&[
        // cPickle numbers its memo from 1.
        (b"(dp1\nS'a'\np2\n(lp3\nI1\naL2L\naVb\np4\nag2\nas.", r#"{"a":[1,2,"b","a"]}"#),
        (b"\x80\x02}q\x01(U\x01aq\x02K\x01U\x01bq\x03h\x02u.", r#"{"a":1,"b":"a"}"#),
        (
            b"\x80\x02c__builtin__\nbytearray\nq\x01X\x03\x00\x00\x00a\xc3\xbfq\x02U\x07latin-1q\x03\x86q\x04Rq\x05.",
            r#"{"$bytes":"Yf8="}"#,
        ),
    ]);
}

#[test]
fn a_dict_is_an_object_only_if_its_keys_can_be_told_from_ours() {
    check(&[
        (b"}K\x01Ns.", r#"{"$dict":[[1,null]]}"#),
        (b"}(U\x01aNNNu.", r#"{"$dict":[["a",null],[null,null]]}"#),
        (b"}U\x04$setNs.", r#"{"$dict":[["$set",null]]}"#),
        (b"}U\x01$Ns.", r#"{"$dict":[["$",null]]}"#),
        (b"}U\x02a$Ns.", r#"{"a$":null}"#),
        (b"}U\x00Ns.", r#"{"":null}"#),
        (b"}))s.", r#"{"$dict":[[[],[]]]}"#),
    ]);
}

#[test]
fn equal_keys_are_merged_as_python_does() {
    check(&[
        (b"}(U\x01aK\x01U\x01bK\x02V\x61\nK\x03u.", r#"{"a":3,"b":2}"#),
        (b"}(K\x01U\x01a\x88U\x01bF1.0\nU\x01cu.", r#"{"$dict":[[1,"c"]]}"#),
        (b"\x8f(\x88K\x01F1.0\nF1.5\nF1.5\n\x90.", r#"{"$set":[true,1.5]}"#),
        (b"(K\x00F-0.0\n\x89\x91.", r#"{"$set":[0]}"#),
        (b"\x8f(U\x01aC\x01aU\x01a\x90.", r#"{"$set":["a",{"$bytes":"YQ=="}]}"#),
        (b"\x8f(K\x01\x85\x88\x85K\x01K\x01\x86\x90.", r#"{"$set":[[1],[1,1]]}"#),
        (b"\x8f((K\x01K\x02\x91(K\x02K\x01K\x02\x91\x90.", r#"{"$set":[{"$set":[1,2]}]}"#),
        (b"\x8f(F1e+20\nL100000000000000000000L\nF1e+300\n\x90.", r#"{"$set":[1e20,1e300]}"#),
        // Python's NaN equals nothing, but a set finds the very same object again.
        (b"\x8f(Fnan\nFnan\nq\x00h\x00\x90.", r#"{"$set":[{"$float":"nan"},{"$float":"nan"}]}"#),
        // A value that is replaced by a later one is not written, whatever it is.
        (b"}q\x00(U\x01ah\x00U\x01aNu.", r#"{"a":null}"#),
    ]);
}

#[test]
fn a_malformed_pickle_is_refused() {
    let malformed: &[&[u8]] = &[
        b"0.",
        b".",
        b"(.",
        b"NN.",
        b"N(.",
        b"t.",
        b"l.",
        b"d.",
        b"1.",
        b"(Nd.",
        b"}(Nu.",
        b"}(NNNu.",
        b"Ns.",
        b"}(Ns.",
        b"Na.",
        b"](Na.",
        b"NNa.",
        b")Na.",
        b"}Na.",
        b"]NNs.",
        b"](N\x90.",
        b"N\x86.",
        b"N(\x85.",
        b"2.",
        b"q\x00.",
        b"\x94.",
        b"h\x00.",
        b"g1\n.",
        b"Np-1\n.",
        b"Npx\n.",
        b"j\x00\x00\x00\x00.",
        b"I\n.",
        b"I1L\n.",
        b"I007\n.",
        b"I 0\n.",
        b"I0x10\n.",
        b"L1_0L\n.",
        b"LL\n.",
        b"F\n.",
        b"F1e999\n.",
        b"F1_0\n.",
        b"Sa\n.",
        b"S'\\x1'\n.",
        b"V\\u12\n.",
        b"T\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\xff.",
        b"NN\x93.",
    ];
    for pickle in malformed {
        let result = to_json(pickle, &Limits::default());
        assert!(matches!(result, Err(PickleError::Malformed { .. })), "{pickle:?}: {result:?}");
    }
}

#[test]
fn a_pickle_that_is_cut_short_anywhere_is_refused() {
    let whole = b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00](I1\nL2L\nF1.0\nS'a'\nVb\nJ\x01\x00\x00\x00M\x01\x00G\x00\x00\x00\x00\x00\x00\x00\x00X\x01\x00\x00\x00a\x8d\x01\x00\x00\x00\x00\x00\x00\x00aC\x01aB\x01\x00\x00\x00a\x8a\x01ae.";
    assert!(to_json(whole, &Limits::default()).is_ok());

    for len in 0..whole.len() {
        let result = to_json(&whole[..len], &Limits::default());
        assert_eq!(result, Err(PickleError::Truncated), "{len} bytes");
    }
}

#[test]
fn nothing_may_follow_the_end() {
    let result = to_json(b"N.N.", &Limits::default());

    assert_eq!(result, Err(PickleError::TrailingBytes { bytes: 2 }));
}

#[test]
fn an_unknown_opcode_or_protocol_is_named() {
    assert_eq!(message(b"N\xff"), "byte 1 of the pickle (0xff) is no known opcode");
    assert_eq!(message(b"\x80\x06N."), "the pickle has protocol 6; only protocols 0 to 5 are known");
}

#[test]
fn a_text_must_be_utf8_without_half_characters() {
    for pickle in [&b"U\x01\xff."[..], b"S'\\xff'\n.", b"X\x02\x00\x00\x00\xc3(."] {
        assert_eq!(to_json(pickle, &Limits::default()), Err(PickleError::NotUtf8));
    }
    for pickle in [&b"X\x03\x00\x00\x00\xed\xa0\x80."[..], b"V\\ud83d\\ude00\n.", b"V\\U0000dfff\n."] {
        assert_eq!(to_json(pickle, &Limits::default()), Err(PickleError::LoneSurrogate));
    }
}

#[test]
fn what_python_cannot_hash_is_no_key() {
    for (key, kind) in [
        (&b"]"[..], "a list"),
        (b"}", "a dict"),
        (b"\x8f", "a set"),
        (b"\x96\x00\x00\x00\x00\x00\x00\x00\x00", "a bytearray"),
        (b"]\x85", "a list"),
        (b"(}\x85\x91", "a dict"),
    ] {
        let dict = [b"}", key, b"Ns."].concat();
        let set = [b"\x8f(", key, b"\x90."].concat();

        assert_eq!(to_json(&dict, &Limits::default()), Err(PickleError::Unhashable { kind }));
        assert_eq!(to_json(&set, &Limits::default()), Err(PickleError::Unhashable { kind }));
    }
}

#[test]
fn what_contains_itself_is_refused() {
    let cycles: &[&[u8]] = &[
        b"]2a.",
        b"]q\x00h\x00a.",
        b"}q\x00U\x01ah\x00s.",
        b"]q\x00(h\x00ta.",
        b"]q\x00h\x00\x85q\x01a0h\x01.",
        b"]q\x00}U\x01ah\x00sa.",
    ];
    for pickle in cycles {
        assert_eq!(to_json(pickle, &Limits::default()), Err(PickleError::ContainsItself));
    }
}

#[test]
fn a_limit_allows_exactly_what_it_says() {
    let limits = Limits { input_bytes: 8, output_bytes: 7, depth: 2, values: 4 };

    for (pickle, error) in [
        (&b"(K\x01K\x02t."[..], None),
        (b"(KaKbNt.", Some(PickleError::TooMuchOutput { limit: 7 })),
        (b"KaKbKcKd.", Some(PickleError::TooLarge { limit: 8 })),
        (b"]\x85.", None),
        (b"]\x85\x85.", Some(PickleError::TooDeep { limit: 2 })),
        (b"(NNNNNt.", Some(PickleError::TooManyValues { limit: 4 })),
        (b"]]]]].", Some(PickleError::TooManyValues { limit: 4 })),
    ] {
        let result = to_json(pickle, &limits);
        assert_eq!(result.as_ref().err(), error.as_ref(), "{pickle:?} {result:?}");
    }
}

#[test]
fn the_same_texts_in_ten_thousand_dicts_are_no_attack() {
    let mut pickle = b"(X\x10\x00\x00\x00first_name_of_ac\x94X\x10\x00\x00\x00value_of_a_field\x94".to_vec();
    for _ in 0..10_000 {
        pickle.extend_from_slice(b"}h\x00h\x01s");
    }
    pickle.extend_from_slice(b"t.");

    let json = to_json(&pickle, &Limits::default()).unwrap();

    let dict = r#",{"first_name_of_ac":"value_of_a_field"}"#;
    let texts = r#"["first_name_of_ac","value_of_a_field""#;
    let expected = format!("{texts}{}]", dict.repeat(10_000));
    assert!(json == expected.as_bytes());
}

fn check(cases: &[(&[u8], &str)]) {
    for (pickle, expected) in cases {
        let json = to_json(pickle, &Limits::default()).map(|json| String::from_utf8(json).unwrap());
        assert_eq!(json.as_deref(), Ok(*expected), "{}", pickle.escape_ascii());
        serde_json::from_str::<serde_json::Value>(expected).unwrap();
    }
}

fn message(pickle: &[u8]) -> String {
    to_json(pickle, &Limits::default()).unwrap_err().to_string()
}
