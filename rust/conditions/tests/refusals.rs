//! What does not compile, what the message says, and that no text makes the compiler crash or hang.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a failed test should panic

mod world;

use std::time::{Duration, Instant};

use chio_conditions::{CompileError, Condition};
use proptest::prelude::*;
use world::World;

fn refusal(text: &str) -> CompileError {
    Condition::compile(text).expect_err(text)
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_write() {
    for (text, said) in [
        ("", "empty"),
        ("   \n", "empty"),
        ("event.value.amount >", "not a CEL expression"),
        ("event.value.amount > 1 event", "not a CEL expression"),
        ("foo == 1", "unknown variable `foo`; the variables are `identity`"),
        ("event", "`event` is no value by itself"),
        ("event == event", "`event` is no value by itself"),
        ("[event]", "`event` is no value by itself"),
        ("identity == 'a'", "write `identity.name`"),
        ("event.valu.x == 1", "`event` has no field `valu`; its fields are `topic`"),
        ("output.offset == 1", "`output` has no field `offset`; its fields are `topic`, `key`"),
        ("identity.nam == 'a'", "its fields are `name` and `attributes`"),
        ("timestamp('2026-01-01T00:00:00Z') > now", "integers in milliseconds"),
        ("duration('1h') > now", "integers in milliseconds"),
        ("now.getHours() > 3", "integers in milliseconds"),
        ("foo(1)", "there is no function `foo`; the functions are `size`"),
        ("'a'.lowerAscii() == 'a'", "there is no function `lowerAscii`"),
        ("size() == 1", "does not take 0 operands"),
        ("size(1, 2) == 1", "does not take 2 operands"),
        ("has(event)", "not a CEL expression: "),
        ("event.value.all(x)", "`all` takes a variable and an expression"),
        ("event.value.matches(event.key)", "must be a constant string"),
        ("event.key.matches('(')", "is not a pattern that can be matched in linear time"),
        ("event.key.matches('(?=a)')", "without look-around"),
        ("event.key.matches('(a)\\\\1')", "without look-around"),
        ("event.key.matches('((a{100}){100}){100}')", "too large when compiled"),
        ("event.value.a.all(x, x.b.all(y, y.c.all(z, z)))", "comprehensions nest deeper than 2"),
        ("event.value.a.all(x, [x] == [1])", "a list is built inside a comprehension"),
        ("event.value.a.all(x, {'a': x} == {})", "a map is built inside a comprehension"),
        ("event.value.a.all(x, x + 'a' == 'b')", "is built inside a comprehension"),
        ("event.value.a.all(x, x.b.map(y, y) == [])", "a list is built inside a comprehension"),
        ("event.value.a.all(event, true)", "cannot be a comprehension's variable"),
        ("Message{field: 1} == 1", "there is no message type `Message`"),
        ("event.key == 'abc", "a string is not closed"),
        ("event.value.?a == 1", "not a CEL expression"),
        ("@result == 1", "not a CEL expression"),
    ] {
        let error = refusal(text);
        assert!(error.message.contains(said), "`{text}`: {}", error.message);
        assert!(!error.message.ends_with('.'), "{}", error.message);
    }
}

#[test]
fn a_refusal_points_at_its_place() {
    for (text, place) in
        [("kind == 'ü' && foo == 1", "foo"), ("kind == 'a' &&\n  event.valu == 1", "."), ("true && )", ")")]
    {
        let offset = refusal(text).offset.unwrap_or_else(|| panic!("`{text}` has no place"));
        assert!(text.get(offset..).unwrap().starts_with(place), "`{text}` at {offset}");
    }
}

#[test]
fn length_and_nesting_are_limited() {
    let long = format!("kind == '{}'", "x".repeat(4096 - 10));
    assert_eq!(long.len(), 4096);
    assert!(Condition::compile(&long).is_ok());
    assert!(refusal(&format!("{long} ")).message.contains("4097 bytes"));
    let nested = |depth: usize| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Condition::compile(&nested(30)).is_ok());
    assert!(refusal(&nested(33)).message.contains("nests deeper than 32"));
}

/// Texts made to explode; `true` where one is acceptable.
fn hostile() -> Vec<(String, bool)> {
    let fill = |unit: &str| unit.repeat(4096 / unit.len());
    let chain = |term: &str, operator: &str| {
        let count = 4096 / (term.len() + operator.len());
        vec![term; count].join(operator)
    };
    let mut texts: Vec<(String, bool)> = [
        "(",
        "[",
        "{",
        "!",
        "-",
        "a.",
        "a?b:",
        "a?",
        "a(",
        "a[",
        "{a:",
        "[[",
        "()",
        ")",
        "\"",
        "'''",
        "\\",
        "?",
        ":",
        "a?b:(",
        "!-",
        "\u{0}",
        "é",
        "//",
        "a&&",
        "1+",
        "x.all(x,",
        "`",
        "\u{1F600}",
        "has(",
        "b'",
        "0x",
        "1e",
        "9",
        "..",
        "r\"\"\"",
        "a{",
        "in ",
        "! ",
        "- -",
    ]
    .iter()
    .map(|unit| (fill(unit), false))
    .collect();
    texts.push((fill("//"), false));
    texts.push((chain("true", "&&"), true));
    texts.push((chain("true", "||"), true));
    texts.push((chain("kind==scope", "||"), true));
    texts.push((chain("event.value.a.b==1", "&&"), true));
    texts.push((format!("kind in [{}]", vec!["'a'"; 1000].join(",")), true));
    texts.push((format!("[{}] == [1]", vec!["event.value.x"; 280].join(",")), true));
    texts.push((format!("{{{}}} == {{}}", (0..350).map(|i| format!("{i}:{i}")).collect::<Vec<_>>().join(",")), true));
    texts.push((chain("1", "+"), false));
    texts.push((chain("kind", "=="), false));
    texts.push((chain("1", " in "), false));
    texts.push((vec!["true"; 30].join("?true:"), true));
    texts.push((vec!["true"; 40].join("?true:"), false));
    texts.push((format!("{}true", "false?true:".repeat(30)), true));
    texts.push((format!("{}true{}", "true?".repeat(15), ":true".repeat(15)), false));
    texts.push((format!("event.value{} == 1", ".a".repeat(30)), true));
    texts.push((format!("event.value{} == 1", "[0]".repeat(30)), true));
    texts.push((format!("event.value{} == 1", ".a".repeat(1500)), false));
    texts.push((format!("{}true", "!".repeat(30)), true));
    texts.push((format!("event.key.matches('{}')", "(a*)*".repeat(700)), true));
    texts.push((format!("event.key.matches('{}')", "a{1000}".repeat(500)), false));
    texts.push((format!("event.key.matches('{}b')", "a*".repeat(1000)), true));
    texts.push((format!("{}true{}", "[1].all(x,".repeat(400), ")".repeat(400)), false));
    texts
}

#[test]
fn no_hostile_text_crashes_hangs_or_overflows_a_small_stack() {
    // Half of what a thread has by default; frames of a debug build are larger than those of a release.
    let run = || {
        for (text, acceptable) in hostile() {
            let start = Instant::now();
            let compiled = Condition::compile(&text);
            let spent = start.elapsed();
            let head: String = text.chars().take(40).collect();
            assert!(spent < Duration::from_secs(2), "{head}: {spent:?}");
            match compiled {
                Ok(condition) => {
                    assert!(acceptable, "{head} compiles");
                    let _ = World::default().env(|env| condition.eval(env, &mut chio_conditions::Scratch::new()));
                }
                Err(error) => assert!(!acceptable, "{head}: {error}"),
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
#[ignore = "prints figures; run it in release"]
fn how_long_the_worst_texts_take_to_compile() {
    let mut times: Vec<(Duration, String)> = hostile()
        .into_iter()
        .map(|(text, _)| {
            let start = Instant::now();
            let _ = Condition::compile(&text);
            (start.elapsed(), text.chars().take(30).collect())
        })
        .collect();
    times.sort();
    for (time, text) in times.iter().rev().take(12) {
        println!("{time:>12.1?}  {text}");
    }
}

/// Texts from the vocabulary of conditions, mostly not well formed.
fn soup() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "event",
        ".",
        "value",
        "a",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        "?",
        ":",
        ",",
        "1",
        "1u",
        "1.5",
        "'s'",
        "b'b'",
        "true",
        "null",
        "has",
        "all",
        "exists",
        "map",
        "x",
        "size",
        "matches",
        "kind",
        "now",
        " ",
        "\n",
        "0",
        "identity.name",
        "event.value.a",
        "r'\\'",
        "\"",
        "'",
        "é",
        "@",
    ]);
    prop_oneof![
        3 => prop::collection::vec(word, 0..40).prop_map(|words| words.concat()),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_text_compiles_or_is_refused_and_what_compiles_evaluates(text in soup()) {
        if let Ok(condition) = Condition::compile(&text) {
            let _ = World::default().eval(&text);
            let _ = condition.reads();
        }
    }
}
