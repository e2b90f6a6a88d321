//! Strict JSON: what is refused, with which code, and that the scanner sees what a reference parser sees.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)] // a failed test should panic

mod strict;

use chio_conditions::ErrorCode;
use chio_conditions::json::{extract, validate};
use proptest::prelude::*;
use serde_json::{Value, json};

fn refused(text: impl AsRef<[u8]>) -> ErrorCode {
    let text = text.as_ref();
    assert!(strict::parse(text).is_none(), "the reference accepts {}", String::from_utf8_lossy(text));
    validate(text).expect_err(&String::from_utf8_lossy(text))
}

#[test]
fn what_is_not_json_to_the_last_byte_is_refused() {
    let texts = [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "-",
        "-Infinity",
        "+1",
        "01",
        "-01",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"a\nb\"",
        "\"\u{1}\"",
        "'a'",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{1:2}",
        "{\"a\" 1}",
        "1 2",
        "{} {}",
        "[]]",
        "null,",
        "// x\n1",
        "1 /* x */",
        "\u{feff}1",
        "\u{a0}1",
        "[\u{2028}]",
        "1\0",
        "\"\\",
    ];
    for text in texts {
        assert_eq!(refused(text), ErrorCode::NotJson, "{text:?}");
    }
}

#[test]
fn a_member_name_that_comes_twice_is_refused_at_every_level() {
    let many: Vec<String> = (0..2000).map(|i| format!("\"name-{i}\":{i}")).collect();
    let mut texts = vec![
        r#"{"a":1,"a":1}"#.to_owned(),
        r#"{"a":1,"b":2,"a":3}"#.to_owned(),
        r#"[{"x":[{"a":1,"\u0061":2}]}]"#.to_owned(),
        r#"{"\n":1,"\u000a":2}"#.to_owned(),
        r#"{"😀":1,"\ud83d\ude00":2}"#.to_owned(),
        r#"{"":1,"":2}"#.to_owned(),
        r#"{"a":{"b":{}},"c":{"b":1,"b":2}}"#.to_owned(),
    ];
    for repeated in [0, 15, 16, 17, 18, 1999] {
        texts.push(format!("{{{},\"name-{repeated}\":0}}", many.join(",")));
        texts.push(format!("{{{},\"n\\u0061me-{repeated}\":0}}", many.join(",")));
    }
    for text in texts {
        assert_eq!(refused(&text), ErrorCode::DuplicateMember);
    }
    assert_eq!(validate(format!("{{{}}}", many.join(",")).as_bytes()), Ok(()));
    assert_eq!(validate(br#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#), Ok(()));
}

#[test]
fn numbers_beyond_i64_u64_and_double_are_refused() {
    let digits = "9".repeat(5000);
    for text in
        ["18446744073709551616", "-9223372036854775809", "1e400", "-1e309", "1.8e308", "[1e99999999999]", &digits]
    {
        assert_eq!(refused(text), ErrorCode::NumberOutOfRange, "{text}");
    }
    assert_eq!(extract(b"18446744073709551615", &[]), Ok(Some(json!(u64::MAX))));
    assert_eq!(extract(b"-9223372036854775808", &[]), Ok(Some(json!(i64::MIN))));
    assert_eq!(extract(b"-0", &[]), Ok(Some(json!(0))));
    assert_eq!(extract(b"1.0", &[]), Ok(Some(json!(1.0))));
    assert_eq!(extract(b"1e-400", &[]), Ok(Some(json!(0.0))));
}

#[test]
fn nesting_ends_at_64() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(validate(nested(64).as_bytes()), Ok(()));
    assert_eq!(refused(nested(65)), ErrorCode::JsonTooDeep);
    assert_eq!(refused("[".repeat(1_000_000)), ErrorCode::JsonTooDeep);
    assert_eq!(refused("{\"a\":".repeat(100_000)), ErrorCode::JsonTooDeep);
}

#[test]
fn strings_that_are_no_unicode_are_refused() {
    for text in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"{\"\xf5\":1}", b"\xfe"] {
        assert_eq!(refused(text), ErrorCode::NotUtf8);
    }
    for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800x""#, r#"{"\udfff":1}"#] {
        assert_eq!(refused(text), ErrorCode::NotUtf8, "{text}");
    }
    assert_eq!(extract(br#""\ud83d\ude00\/\b\f\n\r\t\"\\\u00e9""#, &[]), Ok(Some(json!("😀/\u{8}\u{c}\n\r\t\"\\é"))));
}

#[test]
fn a_text_of_100_000_members_takes_linear_time() {
    let members: Vec<String> = (0..100_000).map(|i| format!("\"{i:08}\":0")).collect();
    let text = format!("{{{}}}", members.join(","));
    let start = std::time::Instant::now();
    assert_eq!(validate(text.as_bytes()), Ok(()));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

/// JSON values whose names repeat often between objects and need escapes now and then.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((names(), inner), 0..24)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]".prop_map(String::from), 1 => "\\PC{0,10}", 1 => "long-name-[a-c]{1,3}", 1 => any::<String>()]
}

/// Texts near JSON: a valid one with some bytes changed, repeated or removed.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, edited()), 0..4);
    (values(), any::<bool>(), edits).prop_map(|(value, pretty, edits)| {
        let mut text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        for (place, kind, bytes) in edits {
            let at = place.index(text.len() + 1);
            match kind {
                0 => drop(text.splice(at..at, bytes)),
                1 => text.truncate(at),
                2 if at < text.len() => drop(text.remove(at)),
                _ => {
                    let copy = text[at..].to_vec();
                    text.splice(at..at, copy.into_iter().take(9));
                }
            }
        }
        text
    })
}

fn edited() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            "\"",
            "\\",
            "\\u0061",
            "\\ud800",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "0",
            "1e400",
            "-",
            ".",
            "e5",
            "null",
            " ",
            "\n",
            "\"a\":1,",
            "{\"a\":",
            "99999999999999999999",
            "\u{feff}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn scanner_and_reference_accept_the_same_texts_and_read_the_same_values(
        text in nearly_json(),
        path in prop::collection::vec("[abc]", 0..3),
    ) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (extract(&text, &path), strict::parse(&text)) {
            (Err(_), None) => {}
            (Ok(found), Some(reference)) => {
                let expected = strict::at(&reference, &path);
                prop_assert!(match (&found, expected) {
                    (Some(found), Some(expected)) => strict::same(found, expected),
                    (None, None) => true,
                    _ => false,
                }, "{found:?} is not {expected:?}");
                prop_assert!(strict::same(&extract(&text, &[]).unwrap().unwrap(), &reference));
            }
            (scanned, reference) => prop_assert!(false, "scanner {scanned:?}, reference {reference:?}"),
        }
    }
}
