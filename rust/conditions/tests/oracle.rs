//! The engine against the interpreter of the `cel` crate, on generated conditions and events.
//!
//! The interpreter departs from the CEL specification where large integers meet doubles and where NaN is compared, so
//! the generator keeps to numbers on which both agree; `conditions.rs` pins those cases by name. Everything else must
//! give the same bool, or an error on both sides, of the same class where only one error is possible.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a failed test should panic

mod strict;
mod world;

use std::collections::HashMap;

use cel::{Context, ExecutionError, Program, Value as Cel};
use chio_conditions::{Condition, ErrorCode, Kind, Scratch};
use proptest::prelude::*;
use serde_json::{Value, json};
use world::World;

/// What an evaluation gave; errors by class.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Bool(bool),
    Missing,
    Type,
    Arithmetic,
    Conversion,
}

fn ours(result: Result<bool, ErrorCode>) -> Answer {
    match result {
        Ok(value) => Answer::Bool(value),
        Err(ErrorCode::NoSuchField | ErrorCode::NoSuchVariable | ErrorCode::IndexOutOfRange) => Answer::Missing,
        Err(ErrorCode::TypeMismatch | ErrorCode::NotBool) => Answer::Type,
        Err(ErrorCode::Overflow | ErrorCode::DivisionByZero) => Answer::Arithmetic,
        Err(ErrorCode::InvalidArgument) => Answer::Conversion,
        Err(code) => panic!("{code}"),
    }
}

fn theirs(result: Result<Cel, ExecutionError>) -> Answer {
    match result {
        Ok(Cel::Bool(value)) => Answer::Bool(value),
        Ok(_) => Answer::Type,
        Err(
            ExecutionError::NoSuchKey(_) | ExecutionError::UndeclaredReference(_) | ExecutionError::IndexOutOfBounds(_),
        ) => Answer::Missing,
        Err(ExecutionError::Overflow(..) | ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_)) => {
            Answer::Arithmetic
        }
        Err(ExecutionError::FunctionError { message, .. }) if message.contains("overflow") => Answer::Arithmetic,
        Err(ExecutionError::FunctionError { .. }) => Answer::Conversion,
        Err(_) => Answer::Type,
    }
}

fn cel_value(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Cel::Int(value),
            (_, Some(value)) => Cel::UInt(value),
            _ => Cel::Float(number.as_f64().unwrap()),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(items) => items.iter().map(cel_value).collect::<Vec<_>>().into(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), cel_value(value))).collect::<HashMap<_, _>>().into()
        }
    }
}

fn cel_text(bytes: Option<&[u8]>) -> Cel {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Cel::Null,
        Some((_, Ok(text))) => text.to_owned().into(),
        Some((bytes, Err(_))) => bytes.to_vec().into(),
    }
}

fn map(entries: Vec<(&str, Cel)>) -> Cel {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>().into()
}

/// The world as variables of the interpreter.
fn context(world: &World) -> Context<'static, 'static> {
    world.env(|env| {
        let mut context = Context::default();
        let attributes = cel_value(&world.attributes);
        context.add_variable_from_value(
            "identity",
            map(vec![("name", env.identity.to_owned().into()), ("attributes", attributes)]),
        );
        context.add_variable_from_value("scope", env.scope.to_owned());
        context.add_variable_from_value("kind", env.kind.as_str().to_owned());
        context.add_variable_from_value("now", env.now);
        for (name, record) in [("event", env.event), ("output", env.output)] {
            let Some(record) = record else { continue };
            let headers = record.headers.iter().map(|(name, value)| (*name, cel_text(*value))).collect();
            let value = record.value.map_or(Some(Value::Null), strict::parse).expect("the generator makes json");
            let mut fields = vec![
                ("topic", record.topic.to_owned().into()),
                ("key", cel_text(record.key)),
                ("headers", map(headers)),
                ("size", Cel::Int(record.value.map_or(0, |value| i64::try_from(value.len()).unwrap()))),
                ("value", cel_value(&value)),
            ];
            fields.extend(record.partition.map(|value| ("partition", Cel::Int(value.into()))));
            fields.extend(record.offset.map(|value| ("offset", Cel::Int(value))));
            fields.extend(record.timestamp.map(|value| ("timestamp", Cel::Int(value))));
            context.add_variable_from_value(name, map(fields));
        }
        if let (Some(tool), Some(arguments)) = (env.tool, env.arguments) {
            context.add_variable_from_value("tool", tool.to_owned());
            context.add_variable_from_value("arguments", cel_value(&strict::parse(arguments).unwrap()));
        }
        context
    })
}

fn select(choices: &[&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(choices.to_vec()).prop_map(str::to_owned).boxed()
}

fn literal() -> BoxedStrategy<String> {
    select(&[
        "0",
        "1",
        "-1",
        "2",
        "1000",
        "1500",
        "9223372036854775807",
        "-9223372036854775808",
        "0u",
        "1u",
        "1500u",
        "18446744073709551615u",
        "0.0",
        "1.0",
        "-0.5",
        "12.5",
        "1500.0",
        "'EUR'",
        "''",
        "'gold'",
        "'a'",
        "'Köln'",
        "'1500'",
        "b'a'",
        "true",
        "false",
        "null",
    ])
}

fn field() -> BoxedStrategy<String> {
    prop_oneof![
        8 => (select(&["event.value", "arguments", "output.value"]), select(&[
            ".amount", ".price", ".currency", ".note", ".vip", ".nothing", ".tags", ".items", ".customer", ".missing",
            ".customer.tier", ".customer.missing", ".amount.more", ".tags[0]", ".tags[5]", ".items[0]", ".items[0].price",
            "['currency']", ".items[1]['sku']", ".missing.more", "",
        ])).prop_map(|(document, path)| document + &path),
        2 => select(&[
            "identity.name", "scope", "kind", "event.topic", "event.key", "event.partition", "event.offset", "event.timestamp",
            "event.size", "event.headers", "event.headers.trace", "event.headers.missing", "event.headers['raw']", "now", "tool",
            "identity.attributes.level", "identity.attributes.teams", "identity.attributes.missing", "identity.attributes",
            "output.topic", "output.key",
        ]),
    ]
    .boxed()
}

fn operand(variable: Option<&'static str>) -> BoxedStrategy<String> {
    let simple = match variable {
        None => prop_oneof![2 => literal(), 5 => field()].boxed(),
        Some(name) => prop_oneof![
            2 => literal(), 2 => field(), 3 => Just(name.to_owned()), 2 => Just(format!("{name}.price")), 1 => Just(format!("{name}.sku"))
        ]
        .boxed(),
    };
    let inner = simple.clone();
    let list = prop::collection::vec(literal(), 0..4).prop_map(|items| format!("[{}]", items.join(", ")));
    prop_oneof![
        10 => simple,
        1 => list,
        1 => (inner.clone(), select(&["-", "*", "/", "%"]), inner.clone()).prop_map(|(l, op, r)| format!("({l} {op} {r})")),
        1 => inner.clone().prop_map(|of| format!("size({of})")),
        1 => (select(&["int", "uint", "double", "dyn", "type", "bool"]), inner.clone()).prop_map(|(f, of)| format!("{f}({of})")),
        1 => inner.prop_map(|of| format!("-({of})")),
    ]
    .boxed()
}

fn atom(variable: Option<&'static str>) -> BoxedStrategy<String> {
    let operand = || operand(variable);
    prop_oneof![
        4 => (operand(), select(&["==", "!="]), operand()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
        4 => (operand(), select(&["<", "<=", ">", ">="]), operand()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
        2 => (operand(), operand()).prop_map(|(l, r)| format!("{l} in {r}")),
        2 => (operand(), select(&["contains", "startsWith", "endsWith"]), operand()).prop_map(|(s, f, a)| format!("{s}.{f}({a})")),
        1 => (operand(), select(&["^[A-Z]+$", "o.d", "", "^.{4}$"])).prop_map(|(s, p)| format!("{s}.matches('{p}')")),
        2 => field().prop_filter("has takes a field", |f| f.contains('.') && !f.ends_with(']')).prop_map(|f| format!("has({f})")),
        1 => operand(),
    ]
    .boxed()
}

fn condition(variable: Option<&'static str>, depth: u32) -> BoxedStrategy<String> {
    if depth == 0 {
        return atom(variable);
    }
    let inner = || condition(variable, depth - 1);
    let over =
        prop_oneof![3 => field(), 1 => Just("[1, 2, 0]".to_owned()), 1 => Just("[{'price': 10}, {}]".to_owned())];
    let mut choices = vec![
        (4, atom(variable)),
        (3, (inner(), select(&["&&", "||"]), inner()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})")).boxed()),
        (1, inner().prop_map(|of| format!("!({of})")).boxed()),
        (1, (inner(), inner(), inner()).prop_map(|(t, a, b)| format!("({t}) ? ({a}) : ({b})")).boxed()),
    ];
    let next = match variable {
        None => Some("x"),
        Some("x") => Some("y"),
        Some(_) => None,
    };
    if let Some(name) = next {
        let quantified = (over, select(&["all", "exists", "exists_one"]), condition(Some(name), depth - 1));
        let quantified =
            quantified.prop_map(move |(over, macro_name, test)| format!("{over}.{macro_name}({name}, {test})"));
        choices.push((2, quantified.boxed()));
    }
    if variable.is_none() {
        let built = (field(), literal(), literal())
            .prop_map(|(list, a, b)| format!("{list}.filter(x, x != {a}).map(x, x) == [{b}]"));
        let joined = (field(), literal(), field()).prop_map(|(a, b, c)| format!("{a} + {b} == {c}"));
        let mapped = (field(), literal()).prop_map(|(key, value)| format!("{{'EUR': 1, 'gold': {value}}}[{key}] == 1"));
        let text = (field(), literal()).prop_map(|(of, text)| format!("string({of}) == {text}"));
        choices.extend([(1, built.boxed()), (1, joined.boxed()), (1, mapped.boxed()), (1, text.boxed())]);
    }
    prop::strategy::Union::new_weighted(choices).boxed()
}

fn worlds() -> impl Strategy<Value = World> {
    let scalar = || {
        prop_oneof![prop::sample::select(vec![
            json!(0),
            json!(1),
            json!(2),
            json!(1500),
            json!(-1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1.0),
            json!(12.5),
            json!(1500.0),
            json!("EUR"),
            json!("gold"),
            json!(""),
            json!("a"),
            json!("1500"),
            json!("Köln"),
            json!(true),
            json!(false),
            json!(null),
        ]),]
    };
    let list = || prop::collection::vec(scalar(), 0..4).prop_map(Value::from);
    let item = (scalar(), scalar()).prop_map(|(price, sku)| json!({"price": price, "sku": sku}));
    let items =
        prop::collection::vec(prop_oneof![3 => item.boxed(), 1 => scalar().boxed()], 0..4).prop_map(Value::from);
    let document = (
        (scalar(), scalar(), scalar(), scalar(), scalar()),
        (
            prop_oneof![4 => list().boxed(), 1 => scalar().boxed()],
            prop_oneof![4 => items.boxed(), 1 => scalar().boxed()],
        ),
        prop_oneof![4 => scalar().prop_map(|tier| json!({"tier": tier})).boxed(), 1 => scalar().boxed()],
        any::<[bool; 8]>(),
    )
        .prop_map(|((amount, price, currency, note, vip), (tags, items), customer, there)| {
            let members = [
                ("amount", amount),
                ("price", price),
                ("currency", currency),
                ("note", note),
                ("vip", vip),
                ("tags", tags),
                ("items", items),
                ("customer", customer),
            ];
            // A member is left out now and then.
            let kept = members.into_iter().zip(there).filter(|((name, _), there)| *there || name.len() % 2 == 0);
            let mut object: serde_json::Map<_, _> = kept.map(|((name, value), _)| (name.to_owned(), value)).collect();
            object.insert("nothing".to_owned(), Value::Null);
            Value::Object(object)
        });
    let document = prop_oneof![12 => document.boxed(), 1 => list().boxed(), 1 => scalar().boxed()].boxed();
    (
        prop::sample::select(vec![Kind::Consume, Kind::Invoke, Kind::Produce]),
        prop::option::weighted(0.9, document.clone()),
        document,
        any::<[bool; 2]>(),
    )
        .prop_map(|(kind, value, arguments, [pretty, placed])| {
            let write =
                |value: &Value| if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
            let usual = World::default();
            World {
                kind,
                value: value.map(|value| write(&value).unwrap()),
                arguments: write(&arguments).unwrap(),
                position: usual.position.filter(|_| placed),
                ..usual
            }
        })
}

/// Doubles beside integers beyond 2^53, and NaN, on which the interpreter departs from the specification.
fn departs(text: &str, worlds: &[World]) -> bool {
    let big = ["9223372036854775807", "9223372036854775808", "18446744073709551615"];
    let has_big = big.iter().any(|number| text.contains(number))
        || worlds.iter().any(|world| {
            let text = String::from_utf8_lossy(world.value.as_deref().unwrap_or_default()).into_owned();
            big.iter().any(|number| text.contains(number) || String::from_utf8_lossy(&world.arguments).contains(number))
        });
    let divides = text.contains('/');
    (has_big && (text.contains("double(") || text.contains("9223372036854775808.0")))
        || (divides && text.contains(".0"))
}

fn cases() -> u32 {
    std::env::var("CHIO_ORACLE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn engine_and_interpreter_give_the_same_answers(
        text in (0..4_u32).prop_flat_map(|depth| condition(None, depth)),
        worlds in prop::collection::vec(worlds(), 8),
    ) {
        prop_assume!(!departs(&text, &worlds));
        let Ok(condition) = Condition::compile(&text) else {
            // What is refused here is refused by name in `refusals.rs`; the generator only rarely gets there.
            return Err(TestCaseError::reject("refused"));
        };
        let program = Program::compile(&text).unwrap();
        let roots = ["event.", "output.", "arguments", "identity.", "tool"];
        let reads: usize = roots.iter().map(|root| text.matches(root).count()).sum();
        // Where several operands fail, CEL leaves open which failure is seen.
        let one_error = reads <= 1 && !["&&", "||", "?", "(", "["].iter().any(|operator| text.contains(operator));
        for world in worlds {
            let ours = ours(world.env(|env| condition.eval(env, &mut Scratch::new())));
            let theirs = theirs(program.execute(&context(&world)));
            let same = match (ours, theirs) {
                (Answer::Bool(ours), Answer::Bool(theirs)) => ours == theirs,
                (Answer::Bool(_), _) | (_, Answer::Bool(_)) => false,
                (ours, theirs) => ours == theirs || !one_error,
            };
            let value = String::from_utf8_lossy(world.value.as_deref().unwrap_or(b"(null)")).into_owned();
            prop_assert!(same, "`{text}` over {value} at {:?}: engine {ours:?}, interpreter {theirs:?}", world.kind);
        }
    }
}
