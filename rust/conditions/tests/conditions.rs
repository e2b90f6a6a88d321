//! What conditions mean: one table of named cases for each promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a failed test should panic

mod world;

use chio_conditions::{Condition, ConditionSet, ErrorCode, Kind, Reads, Scratch};
use world::World;

use ErrorCode::{
    DivisionByZero, DuplicateMember, IndexOutOfRange, InvalidArgument, NoSuchField, NoSuchVariable, NotBool, NotJson,
    Overflow, StepLimit, TypeMismatch,
};

#[track_caller]
fn check(world: &World, cases: &[(&str, Result<bool, ErrorCode>)]) {
    for (text, expected) in cases {
        assert_eq!(world.eval(text), *expected, "`{text}`");
    }
}

#[track_caller]
fn hold(world: &World, texts: &[&str]) {
    for text in texts {
        assert_eq!(world.eval(text), Ok(true), "`{text}`");
    }
}

#[test]
fn every_part_of_the_environment_can_be_read() {
    hold(
        &World::default(),
        &[
            "identity.name == 'refund-agent'",
            "identity.attributes.level == 3 && 'ops' in identity.attributes.teams",
            "identity.attributes.limits.refund == 1000 && identity.attributes['region'] == 'eu'",
            "scope == 'events:consume:orders' && kind == 'consume'",
            "now == 1700000060000 && now - event.timestamp == 60000",
            "event.topic == 'orders' && event.partition == 3 && event.offset == 42",
            "event.key == 'user-17' && event.size == size(event.key) - 7 + event.size",
            "event.headers.trace == 'last' && event.headers['X-Tenant'] == 'acme'",
            "event.headers.empty == null && event.headers.raw == b'\\xff\\x00'",
            "size(event.headers) == 4 && 'raw' in event.headers && !('none' in event.headers)",
            "event.value.amount == 1500 && event.value['x-id'] == '7' && event.value.note == 'a \"b\" é'",
            "event.value.customer.address.city == 'Köln' && event.value.big == 18446744073709551615u",
            "event.value.tags[0] == 'new' && event.value.items[1].price == 20 && event.value.items[1u]['sku'] == 'b'",
            "event['value']['customer']['tier'] == 'gold'",
        ],
    );
    let invoke = World { kind: Kind::Invoke, ..World::default() };
    hold(
        &invoke,
        &["tool == 'search' && arguments.query == 'weather' && arguments.limits[2] == 3 && kind == 'invoke'"],
    );
    let produce = World { kind: Kind::Produce, ..World::default() };
    hold(
        &produce,
        &["output.topic == 'refunds' && output.value.amount == event.value.amount && output.size == event.size"],
    );
}

#[test]
fn reading_what_is_absent_is_an_error_and_has_says_whether_it_is_there() {
    check(
        &World::default(),
        &[
            ("tool == 'search'", Err(NoSuchVariable)),
            ("arguments.amount == 1", Err(NoSuchVariable)),
            ("output.topic == 'x'", Err(NoSuchVariable)),
            ("has(output.value)", Err(NoSuchVariable)),
            ("has(arguments.amount)", Err(NoSuchVariable)),
            ("event.value.missing == 1", Err(NoSuchField)),
            ("event.value.missing.more == 1", Err(NoSuchField)),
            ("event.value.amount.more == 1", Err(TypeMismatch)),
            ("event.value.tags.more == 1", Err(TypeMismatch)),
            ("event.value.nothing.more == 1", Err(TypeMismatch)),
            ("event.headers.missing == 'x'", Err(NoSuchField)),
            ("identity.attributes.missing == 'x'", Err(NoSuchField)),
            ("event.value.tags[2] == 'x'", Err(IndexOutOfRange)),
            ("event.value.tags[-1] == 'x'", Err(IndexOutOfRange)),
            ("event.value.tags['a'] == 'x'", Err(TypeMismatch)),
            ("has(event.value.amount)", Ok(true)),
            ("has(event.value.nothing)", Ok(true)),
            ("has(event.value.missing)", Ok(false)),
            ("has(event.value.missing.more)", Err(NoSuchField)),
            ("has(event.value.amount.more)", Err(TypeMismatch)),
            ("has(event.value.customer.tier)", Ok(true)),
            ("has(event.value.customer.missing)", Ok(false)),
            ("has(event.headers.trace)", Ok(true)),
            ("has(event.headers.missing)", Ok(false)),
            ("has(identity.attributes.missing)", Ok(false)),
            ("has(event.value) && has(event.key) && has(event.partition)", Ok(true)),
        ],
    );
    let outside = World { has_event: false, ..World::default() };
    check(
        &outside,
        &[
            ("event.topic == 'orders'", Err(NoSuchVariable)),
            ("has(event.value)", Err(NoSuchVariable)),
            ("kind == 'consume' || event.topic == 'orders'", Ok(true)),
        ],
    );
    let unplaced = World { position: None, ..World::default() };
    check(
        &unplaced,
        &[
            ("event.offset >= 0", Err(NoSuchField)),
            ("event.timestamp > 0", Err(NoSuchField)),
            ("has(event.partition)", Ok(false)),
        ],
    );
}

#[test]
fn a_tombstone_is_null_and_its_key_may_be_null_too() {
    let tombstone = World { value: None, key: None, ..World::default() };
    check(
        &tombstone,
        &[
            ("event.value == null", Ok(true)),
            ("event.key == null", Ok(true)),
            ("event.size == 0", Ok(true)),
            ("has(event.value)", Ok(true)),
            ("event.value.amount == 1", Err(TypeMismatch)),
            ("has(event.value.amount)", Err(TypeMismatch)),
        ],
    );
    let binary = World { key: Some(vec![0xfe, 1]), ..World::default() };
    hold(&binary, &["event.key == b'\\xfe\\x01'", "type(event.key) == bytes", "size(event.key) == 2"]);
}

#[test]
fn a_value_that_is_not_strict_json_errs_wherever_it_is_read_and_only_there() {
    for (value, code) in [
        ("{\"amount\":1,\"amount\":2}", DuplicateMember),
        ("{\"other\":{\"a\":1,\"\\u0061\":2},\"amount\":1}", DuplicateMember),
        ("{\"amount\":1} ", NotBool),
        ("{\"amount\":1}x", NotJson),
        ("{\"amount\":NaN}", NotJson),
        ("", NotJson),
    ] {
        let world = World::with_value(value);
        if code == NotBool {
            hold(&world, &["event.value.amount == 1"]);
            continue;
        }
        check(
            &world,
            &[
                ("event.value.amount == 1", Err(code)),
                ("has(event.value.amount)", Err(code)),
                ("event.value == 1", Err(code)),
                ("event.topic == 'x' && event.value.amount == 1", Ok(false)),
                ("event.topic == 'orders' || event.value.amount == 1", Ok(true)),
                ("event.topic == 'orders'", Ok(true)),
            ],
        );
    }
}

#[test]
fn boolean_operators_absorb_errors_on_either_side() {
    check(
        &World::default(),
        &[
            ("event.value.missing == 1 || true", Ok(true)),
            ("true || event.value.missing == 1", Ok(true)),
            ("event.value.missing == 1 && false", Ok(false)),
            ("false && event.value.missing == 1", Ok(false)),
            ("event.value.missing == 1 || false", Err(NoSuchField)),
            ("event.value.missing == 1 && true", Err(NoSuchField)),
            ("true && event.value.missing == 1", Err(NoSuchField)),
            ("1 || true", Ok(true)),
            ("'a' && false", Ok(false)),
            ("1 || false", Err(TypeMismatch)),
            ("event.value.missing || 1 / 0 == 1", Err(NoSuchField)),
            ("true ? true : event.value.missing", Ok(true)),
            ("event.value.missing ? true : true", Err(NoSuchField)),
            ("1 ? true : true", Err(TypeMismatch)),
            ("!event.value.missing", Err(NoSuchField)),
            ("!1", Err(TypeMismatch)),
            ("[1, 0].exists(x, 1 / x == 1)", Ok(true)),
            ("[0, 1].exists(x, 1 / x == 1)", Ok(true)),
            ("[0, 1].all(x, 1 / x == 2)", Ok(false)),
            ("[0, 1].all(x, 1 / x == 1)", Err(DivisionByZero)),
            ("[0, 2].exists(x, 1 / x == 1)", Err(DivisionByZero)),
            ("[0, 1].exists_one(x, 1 / x == 1)", Err(DivisionByZero)),
        ],
    );
}

#[test]
fn only_a_bool_is_an_answer() {
    for text in
        ["1", "'true'", "null", "event.value.amount", "event.value", "[true]", "true ? 1 : 2", "{'a': true}", "int"]
    {
        assert_eq!(World::default().eval(text), Err(NotBool), "`{text}`");
    }
    hold(&World::default(), &["event.value.vip", "true", "!false"]);
}

#[test]
fn numbers_compare_on_one_line_and_compute_within_one_type() {
    check(
        &World::default(),
        &[
            ("1 == 1.0 && 1 == 1u && 1.0 == 1u", Ok(true)),
            ("1 < 1.5 && 2u > 1.5 && -1 < 0u && 1 <= 1.0", Ok(true)),
            ("9007199254740993 == 9007199254740992.0", Ok(false)),
            ("9007199254740993 > 9007199254740992.0", Ok(true)),
            ("9223372036854775807 < 9223372036854775808.0", Ok(true)),
            ("18446744073709551615u < 18446744073709551616.0", Ok(true)),
            ("-9223372036854775808 == -9223372036854775808.0", Ok(true)),
            ("0.0 / 0.0 == 0.0 / 0.0", Ok(false)),
            ("0.0 / 0.0 != 0.0 / 0.0", Ok(true)),
            ("0.0 / 0.0 < 1.0 || 0.0 / 0.0 >= 1.0", Ok(false)),
            ("1 == '1' || 1 == null || true == 1", Ok(false)),
            ("1 < '1'", Err(TypeMismatch)),
            ("null < null", Err(TypeMismatch)),
            ("[1] < [2]", Err(TypeMismatch)),
            ("false < true && 'a' < 'b' && b'a' < b'b'", Ok(true)),
            ("7 / 2 == 3 && -7 / 2 == -3 && 7 % -2 == 1 && -7 % 2 == -1", Ok(true)),
            ("1 / 0 == 1", Err(DivisionByZero)),
            ("1 % 0 == 1", Err(DivisionByZero)),
            ("1u / 0u == 1u", Err(DivisionByZero)),
            ("1.0 / 0.0 > 1e308", Ok(true)),
            ("9223372036854775807 + 1 > 0", Err(Overflow)),
            ("-9223372036854775808 - 1 > 0", Err(Overflow)),
            ("-(-9223372036854775808) > 0", Err(Overflow)),
            ("-9223372036854775808 / -1 > 0", Err(Overflow)),
            ("0u - 1u == 0u", Err(Overflow)),
            ("1 + 1u == 2", Err(TypeMismatch)),
            ("1 + 1.0 == 2.0", Err(TypeMismatch)),
            ("5.0 % 2.0 == 1.0", Err(TypeMismatch)),
            ("-'a' == 'a'", Err(TypeMismatch)),
        ],
    );
}

#[test]
fn strings_lists_and_maps_have_their_functions() {
    check(
        &World::default(),
        &[
            ("'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('bc')", Ok(true)),
            ("event.value.currency.matches('^[A-Z]{3}$')", Ok(true)),
            ("matches(event.value.currency, 'U')", Ok(true)),
            ("event.value.amount.startsWith('1')", Err(TypeMismatch)),
            ("event.value.currency.startsWith(1)", Err(TypeMismatch)),
            ("event.value.amount.matches('1')", Err(TypeMismatch)),
            ("size('Köln') == 4 && 'Köln'.size() == 4 && size(b'ab') == 2", Ok(true)),
            ("size(event.value.tags) == 2 && size(event.value.customer) == 2 && size([]) == 0", Ok(true)),
            ("size(1) == 1", Err(TypeMismatch)),
            ("event.value.currency in ['EUR', 'USD']", Ok(true)),
            ("event.value.amount in [1500.0]", Ok(true)),
            ("'tier' in event.value.customer && !('amount' in event.value.customer)", Ok(true)),
            ("'eu' in event.value.tags", Ok(true)),
            ("1 in event.value.amount", Err(TypeMismatch)),
            ("event.value.tags == ['new', 'eu'] && event.value.tags != ['new']", Ok(true)),
            ("event.value.items[0] == {'price': 10.0, 'sku': 'a'}", Ok(true)),
            ("event.value.none == {} && event.value.empty == [] && event.value.none != []", Ok(true)),
            ("identity.attributes.teams == ['risk', 'ops']", Ok(true)),
            ("'a' + 'b' == 'ab' && b'a' + b'b' == b'ab' && [1] + [2] == [1, 2]", Ok(true)),
            ("{'EUR': 1000, 'USD': 1100}[event.value.currency] == 1000", Ok(true)),
            ("{'a': 1, 'a': 2}['a'] == 1", Err(InvalidArgument)),
            ("int('42') == 42 && int(3.9) == 3 && uint('7') == 7u && double('1.5') == 1.5", Ok(true)),
            ("int('x') == 1", Err(InvalidArgument)),
            ("int(1e30) == 1", Err(Overflow)),
            ("uint(-1) == 1u", Err(Overflow)),
            ("int(true) == 1", Err(TypeMismatch)),
            ("string(12) == '12' && string(true) == 'true' && string(b'a') == 'a' && bytes('a') == b'a'", Ok(true)),
            ("string(b'\\xff') == 'x'", Err(InvalidArgument)),
            ("bool('true') && !bool('0')", Ok(true)),
            (
                "type(event.value.amount) == int && type(1u) == uint && type(null) == null_type && type([]) == list",
                Ok(true),
            ),
            ("type(event.value) == map && type(int) == type && dyn(1) == 1", Ok(true)),
        ],
    );
}

#[test]
fn comprehensions_walk_lists_and_the_keys_of_maps() {
    hold(
        &World::default(),
        &[
            "event.value.items.all(x, x.price > 5) && !event.value.items.all(x, x.price > 15)",
            "event.value.items.exists(x, x.sku == 'b') && event.value.items.exists_one(x, x.price > 15)",
            "[].all(x, false) && ![].exists(x, true) && event.value.empty.all(x, false)",
            "event.value.customer.exists(name, name == 'tier')",
            "event.value.customer.all(name, name in ['tier', 'address'])",
            "event.headers.exists(name, name == 'X-Tenant')",
            "identity.attributes.teams.exists(t, t == 'ops')",
            "event.value.items.map(x, x.price) == [10, 20]",
            "event.value.items.map(x, x.price > 15, x.sku) == ['b']",
            "event.value.items.filter(x, x.price > 15).size() == 1",
            "event.value.items.all(x, event.value.tags.exists(t, t != x.sku))",
            "[1, 2].all(x, [3, 4].all(y, x < y))",
            "event.value.items.all(x, x.price + 1 > 10)",
        ],
    );
    check(&World::default(), &[("event.value.amount.all(x, true)", Err(TypeMismatch))]);
}

#[test]
fn joining_is_refused_inside_a_comprehension() {
    check(&World::default(), &[("event.value.tags.all(x, x + x == 'z')", Err(TypeMismatch))]);
    assert!(Condition::compile("event.value.tags.all(x, x + 'y' == 'z')").is_err());
}

#[test]
fn steps_are_bounded_before_the_condition_runs() {
    let numbers = |count: usize| {
        let items: Vec<String> = (0..count).map(|i| i.to_string()).collect();
        World::with_value(format!("{{\"items\":[{}]}}", items.join(",")))
    };
    let nested = "event.value.items.all(x, event.value.items.exists(y, y == x))";
    assert_eq!(numbers(500).eval(nested), Ok(true));
    assert_eq!(numbers(2000).eval(nested), Err(StepLimit));
    assert_eq!(numbers(100_000).eval("event.value.items.all(x, x >= 0)"), Ok(true));
    assert_eq!(numbers(1_100_000).eval("event.value.items.all(x, x >= 0)"), Err(StepLimit));
    assert_eq!(numbers(20_000).eval("event.value.items.all(x, x in event.value.items)"), Err(StepLimit));
    // A part that belongs to the element is walked once in all, however deep.
    let lists = World::with_value(format!("{{\"items\":[{}]}}", vec!["[1,2,3]"; 50_000].join(",")));
    assert_eq!(lists.eval("event.value.items.all(x, x.all(y, y < 4))"), Ok(true));
}

#[test]
fn one_pass_serves_all_conditions_of_a_set() {
    let texts = [
        "event.value.amount > 1000",
        "event.value.currency == 'EUR'",
        "has(event.value.customer.tier)",
        "event.value.x == 1",
    ];
    let set = ConditionSet::compile(&texts).unwrap();
    let mut scratch = Scratch::new();
    World::default().env(|env| {
        let results: Vec<_> = (0..texts.len()).map(|index| set.eval(index, env, &mut scratch)).collect();
        assert_eq!(results, [Ok(true), Ok(true), Ok(true), Err(NoSuchField)]);
        assert_eq!(set.eval(9, env, &mut scratch), Err(ErrorCode::Internal));
    });
    scratch.reset();
    World::with_value("{\"x\":1}").env(|env| assert_eq!(set.eval(3, env, &mut scratch), Ok(true)));
    // Another set in the same scratch space scans anew.
    let other = Condition::compile("event.value.amount == 7").unwrap();
    World::with_value("{\"amount\":7}").env(|env| assert_eq!(other.eval(env, &mut scratch), Ok(true)));
}

#[test]
fn a_set_names_the_text_that_does_not_compile() {
    let (index, error) = ConditionSet::compile(&["true", "event.valu.x == 1"]).unwrap_err();
    assert_eq!(index, 1);
    assert!(error.message.contains("`event` has no field `valu`"), "{error}");
}

#[test]
fn reads_names_what_must_be_prepared() {
    let reads = |text| Condition::compile(text).unwrap().reads();
    assert_eq!(reads("identity.name == 'a' && scope == 'b' && kind == 'c'"), Reads::NONE);
    assert_eq!(reads("event.topic == 'a'"), Reads::EVENT);
    assert_eq!(reads("event.value.a == 1"), Reads::EVENT | Reads::VALUE);
    assert_eq!(reads("output.value.a == 1"), Reads::OUTPUT | Reads::VALUE);
    assert_eq!(reads("has(event.headers.a)"), Reads::EVENT | Reads::HEADERS);
    assert_eq!(reads("event.key == 'a'"), Reads::EVENT | Reads::KEY);
    assert_eq!(reads("event.offset == 1"), Reads::EVENT | Reads::POSITION);
    assert_eq!(reads("now > 1"), Reads::NOW);
    assert_eq!(reads("tool == 'a' || arguments.b == 1"), Reads::TOOL | Reads::ARGUMENTS);
    assert_eq!(reads("[1].all(x, identity.attributes.level > x)"), Reads::ATTRIBUTES);
}

#[test]
fn error_codes_are_distinct_words() {
    let words: std::collections::BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words.len(), ErrorCode::ALL.len());
    assert!(words.iter().all(|word| word.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))));
}
